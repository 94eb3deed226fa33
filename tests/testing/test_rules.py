"""The check of a rule."""

import math

import pytest
import torch
from deel import torchlip
from torch import nn

import lipbench
from lipbench.certification.lipschitz.norms import spectral_norm
from lipbench.certification.lipschitz.table import RULES
from lipbench.errors import UnsupportedError
from lipbench.testing import check_rule


class Scaled(nn.Module):
    """scale * x, or sin(scale * x)."""

    def __init__(self, scale: float = 2.0, curved: bool = False):
        super().__init__()
        self.scale, self.curved = nn.Parameter(scale * torch.rand(())), curved

    def forward(self, x):
        return torch.sin(self.scale * x) if self.curved else self.scale * x


@pytest.fixture
def rule(monkeypatch):
    """Register a rule of Scaled for one test."""

    def register(function):
        monkeypatch.setitem(RULES, Scaled, function)

    return register


@pytest.mark.parametrize(
    ("make", "shape", "tight"),
    [
        (lambda: nn.Linear(8, 5), (8,), 1.001),
        (lambda: nn.Conv2d(2, 3, 3, padding=1), (2, 5, 5), 1.5),
        (lambda: nn.Sequential(nn.Linear(6, 6), torchlip.GroupSort2(), nn.Linear(6, 2)), (6,), None),
        (lambda: nn.LPPool2d(2, 2), (2, 4, 4), 1.001),
    ],
)
def test_rules_of_lipbench_pass(make, shape, tight):
    check_rule(make, shape, tight=tight, instances=4)


@pytest.mark.parametrize("curved", [False, True])
def test_a_rule_that_holds_passes(rule, curved):
    rule(lambda layer, shape: math.nextafter(abs(float(layer.scale)), math.inf))
    check_rule(lambda: Scaled(curved=curved), (3,))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda layer, shape: 0.999 * abs(float(layer.scale)),
        lambda layer, shape: (1 - 1e-8) * abs(float(layer.scale)),  # which roundings hide where a network is traced
        lambda layer, shape: 1.0,  # as if every layer were 1-Lipschitz
        lambda layer, shape: float(layer.scale) ** 2 if abs(float(layer.scale)) < 1 else abs(float(layer.scale)),
    ],
)
def test_a_rule_that_is_too_low_is_named(rule, wrong):
    rule(wrong)
    with pytest.raises(AssertionError, match=r"the rule is below the Lipschitz|moves further than the"):
        check_rule(Scaled, (3,))


def test_a_loose_rule_is_named_where_it_should_be_tight(rule):
    rule(lambda layer, shape: 3 * abs(float(layer.scale)))
    check_rule(Scaled, (3,))
    with pytest.raises(AssertionError, match="3 times the largest factor found"):
        check_rule(Scaled, (3,), tight=2)


def test_a_layer_without_a_rule_is_refused():
    class Unknown(nn.Module):
        def forward(self, x):
            return torch.special.erf(x)

    with pytest.raises(UnsupportedError, match="no Lipschitz rule"):
        check_rule(Unknown, (3,))


def test_steepest_finds_the_constant_of_a_matrix():
    from lipbench.testing.jacobians import steepest

    torch.manual_seed(0)
    layer = nn.Linear(7, 4)
    assert steepest(layer, (7,)) == pytest.approx(spectral_norm(layer.weight), rel=1e-9)
    assert lipbench.lipschitz_bound(layer, (7,)) >= steepest(layer, (7,)) * (1 - 1e-12)
