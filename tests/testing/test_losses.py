"""The check of a loss accepts what is bundled, and names what is wrong with others."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lipbench._internal.registry import LOSSES
from lipbench.errors import LipbenchError
from lipbench.testing import check_loss

HYPERPARAMETERS = {
    "tau": [0.1, 4, 100], "min_margin": [0.05, 1], "alpha": [0, 0.5, 1], "gamma": [0.1], "offset": [0.1, 2],
    "alpha_mean": [0.2], "penalty": [0.5], "temperature": [0.1, 2],
}  # fmt: skip


def of(name) -> dict:
    from lipbench.training.losses.build import hyperparameters_of

    return {key: HYPERPARAMETERS[key] for key in hyperparameters_of(name)}


@pytest.fixture(autouse=True)
def nothing_given(monkeypatch):
    monkeypatch.setattr(LOSSES, "given", {})


@pytest.mark.parametrize("name", list(LOSSES.bundled))
def test_bundled_losses_pass(name):
    check_loss(name, of(name), slopes=name != "soft_hkr_multiclass")  # whose sharpness has no gradient, as documented


def good(logits, labels, *, tau):
    if not 0 < tau < 1e30:
        raise LipbenchError("tau must be above 0")
    return F.cross_entropy(tau * logits, labels) / tau


def per_sample(logits, labels):
    return F.cross_entropy(logits, labels, reduction="none")


def total(logits, labels):
    return F.cross_entropy(logits, labels, reduction="sum")


def overflows(logits, labels):
    return -(logits.exp()[torch.arange(len(labels)), labels] / logits.exp().sum(1)).log().mean()


def detached(logits, labels):
    return F.cross_entropy(logits.detach(), labels)


def flipped(logits, labels):
    return -F.cross_entropy(logits, labels)


def wrong_gradient(logits, labels):
    value = F.cross_entropy(logits, labels)
    return 0.5 * value + 0.5 * value.detach()


def steep(logits, labels):
    return 1e4 * F.cross_entropy(logits, labels)


def ordered(logits, labels):
    return F.cross_entropy(logits, labels, reduction="none").cummax(0).values.mean()


def in_place(logits, labels):
    logits.data.mul_(1.5)
    return F.cross_entropy(logits, labels)


def draws(logits, labels):
    return F.cross_entropy(logits, labels) + 0 * torch.rand(())


class Unlimited(nn.Module):
    def __init__(self, tau):
        super().__init__()
        self.tau = tau

    def forward(self, logits, labels):
        return F.cross_entropy(self.tau * logits, labels) / self.tau


class Remembers(nn.Module):
    name = "remembers"

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, logits, labels):
        self.calls += 1
        return F.cross_entropy(logits, labels) * (1 + 0.1 * self.calls)


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (per_sample, r"returns shape \(24,\), expected a scalar"),
        (total, "for the same samples twice: it must be a mean"),
        (overflows, r"is (nan|inf) at logits of size 1000"),
        (detached, "has no gradient: something in it detaches"),
        (flipped, "when the logits of the labels rise: is its sign wrong"),
        (wrong_gradient, "along a direction, its gradient says"),
        (steep, "has a gradient of .* for one sample, above 100"),
        (ordered, "depends on the order of the samples"),
        (in_place, "changes the logits in place"),
        (draws, "draws from the global random numbers"),
        (Remembers(), "where training is resumed: it keeps something"),
    ],
    ids=lambda value: getattr(value, "__name__", "") if callable(value) else "",
)
def test_what_is_wrong_is_named(loss, said):
    with pytest.raises(AssertionError, match=said):
        check_loss(loss)


def test_limits_of_hyperparameters():
    check_loss(good, {"tau": [0.5, 8]}, refused=[{"tau": 0}, {"tau": -1}])
    with pytest.raises(AssertionError, match=r"accepts \{'tau': nan\}: declare the limits"):
        check_loss(Unlimited, {"tau": 1})
    with pytest.raises(AssertionError, match=r"accepts \{'tau': 3\}"):
        check_loss(good, {"tau": 1}, refused=[{"tau": 3}])
    with pytest.raises(AssertionError, match=r"cannot be made with .*takes tau; got none"):
        check_loss(good)
