"""Norms as users write them."""

import numpy as np
import pytest

from lipbench.attacks.norm import Norm
from lipbench.attacks.suites import Suite
from lipbench.errors import LipbenchError

L2 = ["L2", "l2", "L_2", "2", 2, 2.0, np.float32(2), np.int64(2), Norm.L2]
LINF = ["Linf", "linf", "LInf", "L_inf", "l_inf", "inf", np.inf, float("inf"), np.float32(np.inf), Norm.Linf]


@pytest.mark.parametrize("given", L2)
def test_l2(given):
    assert Norm.parse(given) is Norm.L2


@pytest.mark.parametrize("given", LINF)
def test_linf(given):
    assert Norm.parse(given) is Norm.Linf


@pytest.mark.parametrize("given", ["L1", "1", 1, 0, 3, "L0", "", "l", None, True, -np.inf, np.nan, [2], 2j, "fro"])
def test_other_norms_are_refused_with_those_that_are_known(given):
    with pytest.raises(LipbenchError, match=r"^unknown norm .*known are L2, Linf$"):
        Norm.parse(given)


def test_a_suite_reads_norms_in_the_same_way():
    content = {"name": "s", "eps": [0.1], "attack": [{"name": "gradient/bisection"}]}
    assert Suite.model_validate({**content, "norm": 2}).norm is Norm.L2
    assert Suite.model_validate({**content, "norm": "L_inf"}).norm is Norm.Linf


def test_a_recipe_reads_norms_in_the_same_way():
    from lipbench.training.recipes import PGDTraining

    assert PGDTraining(norm="linf", eps=0.1).model_dump()["norm"] == "Linf"
    with pytest.raises(ValueError, match="unknown norm 1: known are L2, Linf"):
        PGDTraining(norm=1, eps=0.1)


def test_diameters():
    assert (Norm.L2.diameter(64), Norm.Linf.diameter(64)) == (8.0, 1.0)
