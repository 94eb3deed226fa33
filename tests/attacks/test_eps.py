"""Radii as users write them."""

import json
import logging
import pickle
from fractions import Fraction

import numpy as np
import pytest

from lipbench.attacks import suites
from lipbench.attacks.eps import Eps, parse_grid, refuse_absent, refuse_unreachable
from lipbench.attacks.norm import Norm
from lipbench.errors import LipbenchError


@pytest.mark.parametrize(
    ("given", "value", "shown"),
    [
        ("8/255", 8 / 255, "8/255"),
        (" 1/2 ", 0.5, "1/2"),
        ("0.14117647", 0.14117647, "0.1412"),
        (0.1, 0.1, "0.1"),
        (1, 1.0, "1"),
        (np.float32(0.5), 0.5, "0.5"),
        (np.int64(2), 2.0, "2"),
        (Fraction(1, 4), 0.25, "0.25"),
        ("1e-3", 0.001, "0.001"),
    ],
)
def test_an_eps_is_the_number_and_prints_as_it_was_given(given, value, shown):
    eps = Eps(given)
    assert (eps, eps.shown) == (value, shown)
    assert json.dumps([eps]) == json.dumps([value])  # what digests are made of does not depend on how it was given
    for copy in (pickle.loads(pickle.dumps(eps)), Eps(eps), Eps(eps.plain), Eps(eps.given)):
        assert (type(copy), copy, copy.shown) == (Eps, value, shown)


@pytest.mark.parametrize(
    "wrong", ["a", "8/", "1/0", "8/255/2", "", "nan", "inf", "1e999", None, True, np.True_, [0.1], 1j]
)
def test_what_is_no_eps(wrong):
    with pytest.raises(LipbenchError, match=r"^eps must be a number, or text such as '36/255', got "):
        Eps(wrong)


@pytest.mark.parametrize(
    ("given", "grid"),
    [
        ("8/255,16/255", [8 / 255, 16 / 255]),
        ("8/255, 0.5,", [8 / 255, 0.5]),
        (["8/255", 0.5], [8 / 255, 0.5]),
        (0.5, [0.5]),
        (np.array([0.25, 0.5]), [0.25, 0.5]),
    ],
)
def test_a_grid_is_one_eps_or_several(given, grid):
    assert parse_grid(given) == grid


@pytest.mark.parametrize("wrong", ["", ",", [], {}])
def test_a_grid_is_not_empty(wrong):
    with pytest.raises(LipbenchError, match=r"or several of them, such as \[0.1, 0.2\], got"):
        parse_grid(wrong)


def test_a_suite_keeps_fractions():
    suite = suites.load("quick").with_grid("36/255,0.5,0.5")
    assert suite.eps == (36 / 255, 0.5)
    assert suite.plain()["eps"] == ["36/255", 0.5]
    again = suites.parse(suite.plain(), "test")
    assert [eps.shown for eps in again.eps] == ["36/255", "0.5"]
    with pytest.raises(LipbenchError, match=r"eps 1: input should be a number, or text such as '36/255', got 'x'"):
        suites.parse({**suite.plain(), "eps": ["x"]}, "test")


def test_a_recipe_takes_fractions():
    from lipbench.training.recipes import History, PGDTraining

    assert History(eps=["36/255"]).eps == (36 / 255,)
    assert PGDTraining(eps="8/255").eps == 8 / 255


@pytest.mark.parametrize(
    ("norm", "eps", "said"),
    [
        (Norm.L2, "9", r"^eps 9 is larger than the L2 distance of any two inputs, 8: .* divide by 255: 9/255$"),
        (Norm.Linf, "8", r"^eps 8 is larger than the Linf distance of any two inputs, 1: .* divide by 255: 8/255$"),
        (Norm.Linf, "512/255", r"^eps 512/255 is larger .* divide by 255: 2.00784/255$"),
    ],
)
def test_an_eps_in_units_of_pixels_is_refused(norm, eps, said):
    with pytest.raises(LipbenchError, match=said):
        refuse_unreachable([Eps("0.1"), Eps(eps)], norm, 64)


def test_an_eps_that_only_pixels_would_have_is_a_warning(caplog):
    refuse_unreachable([Eps(8), Eps(5)], Norm.L2, 64)
    refuse_unreachable([Eps(1), Eps(0.5)], Norm.Linf, 64)
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert caplog.messages[0] == (
        "eps 8 is large in L2 for inputs in [0, 1]; if it is meant for pixels 0..255, write 8/255"
    )


def test_an_eps_that_a_run_lacks():
    grid = [Eps("36/255"), Eps(0.5)]
    refuse_absent(Eps(0.14117647), grid)
    with pytest.raises(LipbenchError, match=r"the run has no eps 0.142; it has 36/255, 0.5: choose one"):
        refuse_absent(Eps(0.142), grid)
