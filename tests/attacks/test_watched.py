"""Gradients and logits that are not finite: no attack takes them for robustness."""

import copy
import math

import numpy as np
import pytest
import torch
from attacking import served, shortened
from gradients import Detached, Root, Spoilt
from torch import nn

from lipbench.attacks import base, guard
from lipbench.attacks.gradient.pgd import PGD
from lipbench.attacks.network import Network
from lipbench.attacks.norm import Norm
from lipbench.attacks.suites import AttackSpec
from lipbench.errors import LipbenchError
from tests.attacks.conftest import Case

QUICK = {
    "n_iter": 10,
    "n_queries": 60,
    "max_iter": 10,
    "targets": 2,
    "steps": 10,
    "rounds": 2,
    "patience": True,
    "num_steps": 10,
}
ATTACKS = base.names()
EPS = {Norm.L2: 2.0, Norm.Linf: 0.3}


@pytest.fixture
def spoilt(case):
    """``spoilt(layer)``: 16 samples of the digits' network behind the layer."""

    def make(layer):
        digits = case(10, 16, scale=10.0)
        network = Network(nn.Sequential(layer, *copy.deepcopy(digits.network.module)), (1, 8, 8))
        return Case(network, digits.x, digits.labels)

    return make


def broken(case, name, norm, eps=None, **args):
    """The share of the samples that the attack breaks, within eps."""
    spec = shortened(name, {**QUICK, **args})
    eps = EPS[norm] if eps is None else eps
    given = None if base.named(name).minimal_norm else eps
    found = guard.search(spec, case.network, case.x, case.labels, norm=norm, eps=given, seed=0)
    return np.mean(guard.check_candidates(case.network, case.x, case.labels, found, norm)[1] <= eps)


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("pixel", [20, 27])  # of the middle of the image, where the network looks
@pytest.mark.parametrize("name", ATTACKS)
def test_a_pixel_without_a_gradient_hides_no_other(spoilt, name, norm, pixel):
    served(name, norm)
    plain, masked = spoilt(Detached([pixel])), spoilt(Spoilt(math.nan, [pixel]))
    assert broken(masked, name, norm) == broken(plain, name, norm) > 0.3


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("autoattack/standard", {}),  # its Square sees what the other three have not broken
        ("autoattack/square", {}),
        ("art/square", {}),
        ("gradient/pgd", {"restarts": 20}),
    ],
)
@pytest.mark.parametrize("layer", [Spoilt(math.nan), Root(), Detached()])
def test_what_needs_no_gradient_finds_what_is_there(spoilt, name, args, norm, layer):
    plain = broken(
        spoilt(nn.Identity()), name if name != "autoattack/standard" else "autoattack/square", norm, 2 * EPS[norm]
    )
    assert broken(spoilt(layer), name, norm, 2 * EPS[norm], **args) >= min(plain, 0.5) > 0.3


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ATTACKS)
def test_no_attack_moves_along_a_gradient_that_is_not_finite(spoilt, name, norm, value):
    served(name, norm)
    if name == "art/square":
        pytest.skip("follows no gradient; in tiles of one pixel ART divides by zero and leaves out what is NaN")
    masked = spoilt(nn.Sequential(nn.Identity(), Spoilt(value)))
    points = []
    for network in (masked.network, masked.network.surrogate):
        network.module.register_forward_hook(lambda module, inputs, out: points.append(inputs[0].detach()))
    broken(masked, name, norm)
    assert all(seen.isfinite().all() for seen in points)


def slope(network, x):
    points = x.clone().requires_grad_()
    return torch.autograd.grad(network(points).sum(), points)[0]


def test_gradients_are_changed_only_inside_an_attack_also_after_an_error(spoilt, monkeypatch):
    masked = spoilt(Spoilt(math.nan))
    spec = AttackSpec(name="gradient/pgd")
    monkeypatch.setattr(PGD, "run", lambda self, call: 1 / 0)
    with pytest.raises(LipbenchError, match="ZeroDivisionError"):
        guard.search(spec, masked.network, masked.x, masked.labels, norm=Norm.L2, eps=1.0, seed=0)
    for network in (masked.network, masked.network.surrogate):
        assert slope(network, masked.x).isnan().all()
        with network.watched("mine"):
            assert (slope(network, masked.x) == 0).all()
        assert slope(network, masked.x).isnan().all()
        assert not network.module._forward_pre_hooks
        assert not network.module._forward_hooks


class Undefined(nn.Module):
    """Two logits and more of the mean pixel; ``value`` in the last where an input lies further than 0.01 from 1/2."""

    def __init__(self, value, label):
        super().__init__()
        self.value, self.label = value, label

    def forward(self, x):
        away = (x - 0.5).flatten(1).norm(dim=1)
        mean = x.flatten(1).mean(dim=1)
        logits = torch.stack([0 * mean, 0.1 * mean, 0.2 * mean, 0.3 * mean], dim=1)
        logits = logits + 4 * torch.eye(4, dtype=x.dtype)[self.label]
        far = (away > 0.01)[:, None] & (torch.arange(4) == 3)
        return torch.where(far, self.value, logits)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize(("value", "label"), [(math.nan, 0), (math.nan, 3), (math.inf, 0), (-math.inf, 0)])
@pytest.mark.parametrize("name", ATTACKS)
def test_an_input_without_a_class_is_an_error(name, norm, value, label):
    served(name, norm)
    network = Network(Undefined(value, label), (1, 8, 8))
    some = Case(network, torch.full((3, 1, 8, 8), 0.5), torch.full((3,), label))
    message = rf"^{name} found inputs in \[0, 1\] where the network's logits are not finite in float(32|64): "
    if name == "art/fgm":  # evaluates the network at the sample only
        message = "^the network's logits are not finite: "
    with pytest.raises(LipbenchError, match=message):
        broken(some, name, norm)


class OfTheRange(nn.Module):
    """The same on [0, 1], NaN outside."""

    def forward(self, x):
        return x + torch.where((x < 0) | (x > 1), math.nan, 0.0)


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("name", ATTACKS)
def test_a_network_may_be_undefined_outside_the_input_range(spoilt, name, norm):
    served(name, norm)
    assert broken(spoilt(OfTheRange()), name, norm) == broken(spoilt(nn.Identity()), name, norm)
