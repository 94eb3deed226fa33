"""The check of an attack."""

import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lipbench._internal.registry import ATTACKS
from lipbench.attacks.base import Attack
from lipbench.attacks.norm import Norm
from lipbench.testing import check_attack


@pytest.fixture(autouse=True)
def nothing_given(monkeypatch):
    monkeypatch.setattr(ATTACKS, "given", {})


@pytest.mark.parametrize(
    ("name", "args"),
    [("gradient/pgd", {}), ("gradient/bisection", {}), ("art/fgm", {}), ("autoattack/square", {"queries": 50})],
)
def test_bundled_attacks_pass(name, args):
    check_attack(name, {key: value for key, value in args.items() if key in ATTACKS.get(name).parameters}, samples=6)


def step(model, x, labels, eps, *, norm):
    """One step along the gradient."""
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(model(x), labels), x)
    if norm == "Linf":
        return (x + eps * gradient.sign()).clamp(0, 1).detach()
    length = gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    return (x + eps * gradient / length).clamp(0, 1).detach()


def outside(model, x, labels, eps, *, norm):
    return step(model, x, labels, eps, norm=norm) - 0.5 * eps


def too_far(model, x, labels, eps, *, norm):
    return step(model, x, labels, 1.5 * eps, norm=norm)


def of_another_shape(model, x, labels, eps):
    return x.flatten(1)


def nothing(model, x, labels, eps):
    return x


def seeds(model, x, labels, eps):
    torch.manual_seed(0)
    return x + 0.1 * eps * (torch.rand_like(x) < 0.1) * (x < 0.5)


def seeds_numpy(model, x, labels, eps):
    np.random.seed(0)  # noqa: NPY002
    return x


def seeds_python(model, x, labels, eps):
    random.seed(0)
    return x


def trains(model, x, labels, eps, *, norm):
    model.train()
    return step(model, x, labels, eps, norm=norm)


def learns(model, x, labels, eps, *, norm):
    for parameter in model.parameters():
        parameter.requires_grad_()
    return step(model, x, labels, eps, norm=norm)


def accumulates(model, x, labels, eps, *, norm):
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    return step(model, x, labels, eps, norm=norm)


def changes_weights(model, x, labels, eps, *, norm):
    for parameter in model.parameters():
        parameter.data.mul_(1.001)
    return step(model, x, labels, eps, norm=norm)


def in_place(model, x, labels, eps):
    return x.mul_(0.5)


def sets_precision(model, x, labels, eps):
    torch.set_default_dtype(torch.float64)
    return x


class Remembers(Attack):
    name = "remembers"
    summary = "other candidates after each call"
    norms = frozenset({Norm.L2})
    calls = 0

    def run(self, call):
        self.calls += 1
        return step(call.network, call.x, call.labels, call.radius * (1 - 0.01 * self.calls), norm="L2")


@pytest.mark.parametrize(
    ("attack", "said"),
    [
        (outside, r"leaves the range \[0, 1\]: the smallest value is -"),
        (too_far, "further than eps = "),
        (of_another_shape, r"returns shape \(\d+, 64\), expected"),
        (nothing, "finds no adversarial input"),
        (seeds, "seeds the global random numbers of torch"),
        (seeds_numpy, "seeds the global random numbers of NumPy"),
        (seeds_python, "seeds the global random numbers of random"),
        (trains, "changes the network's training mode"),
        (learns, "changes requires_grad"),
        (accumulates, "leaves a gradient behind, of module"),
        (changes_weights, "changes .*weight of the network"),
        (in_place, "changes its inputs in place"),
        (sets_precision, "changes the default dtype"),
        (Remembers(), "gives other candidates from the same seed"),
    ],
    ids=lambda value: getattr(value, "__name__", "") if callable(value) else "",
)
def test_what_is_wrong_is_named(attack, said):
    before = torch.get_rng_state()
    with pytest.raises(AssertionError, match=said):
        check_attack(attack, samples=6)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_default_dtype() is torch.float32


def test_a_sound_function_passes():
    check_attack(step, samples=6)
    check_attack(nothing, samples=6, finds=False)
