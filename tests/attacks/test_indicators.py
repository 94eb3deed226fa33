"""Indicators of attack failure: what masks its gradients is flagged, what does not is not."""

import math

import numpy as np
import pytest
import torch
from bundled import CNN, TAU4, UNCONSTRAINED
from gradients import Detached, Guarded, Root, Spoilt
from torch import nn

from lipbench.attacks import indicators
from lipbench.attacks.network import Network
from lipbench.attacks.norm import Norm
from lipbench.models.stored import load_model

EPS = {Norm.L2: 0.5, Norm.Linf: 0.05}
SHAPE = (1, 8, 8)


class Steps(nn.Module):
    """Logits cut to multiples of 1 / 100: nearly the same classes, and no gradient."""

    def forward(self, x):
        return torch.floor(100 * x) / 100


class _Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return -gradient


class Reversed(nn.Module):
    """The same logits, with a gradient that leads the wrong way."""

    def forward(self, x):
        return _Reversed.apply(x)


class Where(nn.Module):
    """Changes the logits of inputs with more ink than most, and no others."""

    def __init__(self, body, change):
        super().__init__()
        self.body, self.change = body, change

    def forward(self, x):
        logits = self.body(x)
        return torch.where(inky(x)[:, None], self.change(logits), logits)


class Remembers(nn.Module):
    """Keeps every input that it sees."""

    seen: list  # of the class: networks are copied

    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, x):
        Remembers.seen.append(x.detach().clone())
        return self.body(x)


def inky(x):
    """More than 2 in the first row, bool (n,); pixels are multiples of 1 / 16, so none is near."""
    return x[:, 0, 0].sum(dim=1) > 2 + 1 / 32


@pytest.fixture(scope="module")
def body(digits_zoo):
    return load_model(digits_zoo / TAU4).module


def ready(module, digits, device="cpu", samples=100):
    """The network as attacks see it, and the samples that it classifies correctly."""
    network = Network(module.eval(), SHAPE, device)
    x, labels = torch.from_numpy(digits.test.x[:samples]), torch.from_numpy(digits.test.labels[:samples])
    right = network.predict(x).argmax(dim=1) == labels
    assert right.sum() > samples / 2
    return network.surrogate, x[right].to(device), labels[right].to(device)


def flags(network, x, labels, *, norm, eps):
    found = indicators.failure_indicators(network, x, labels, norm=norm, eps=eps)
    return found.zero_gradient, found.loss_stuck


@pytest.mark.parametrize("norm", Norm)
@pytest.mark.parametrize("name", [TAU4, CNN, UNCONSTRAINED])
def test_bundled_networks_are_not_flagged(name, norm, digits, digits_zoo, device):
    network, x, labels = ready(load_model(digits_zoo / name).module, digits, device)
    zero, stuck = flags(network, x, labels, norm=norm, eps=EPS[norm])
    assert zero.shape == stuck.shape == (len(x),)
    assert zero.dtype == stuck.dtype == bool
    assert not zero.any()
    assert not stuck.any()


@pytest.mark.parametrize("norm", Norm)
def test_logits_cut_to_steps_have_no_gradient_and_a_loss_that_is_stuck(norm, digits, body, device):
    network, x, labels = ready(nn.Sequential(body, Steps()), digits, device)
    zero, stuck = flags(network, x, labels, norm=norm, eps=EPS[norm])
    assert zero.all()
    assert stuck.all()


@pytest.mark.parametrize("norm", Norm)
def test_a_gradient_that_leads_the_wrong_way_leaves_the_loss_stuck(norm, digits, body):
    network, x, labels = ready(nn.Sequential(body, Reversed()), digits)
    zero, stuck = flags(network, x, labels, norm=norm, eps=EPS[norm])
    assert not zero.any()
    assert stuck.mean() > 0.9


class Blind(nn.Module):
    """Does not look at the first row of an image."""

    def forward(self, x):
        return torch.cat([0 * x[:, :, :1], x[:, :, 1:]], dim=2)


def test_pixels_that_do_not_matter_are_no_sign(digits, body):
    network, x, labels = ready(nn.Sequential(Blind(), body), digits)
    zero, stuck = flags(network, x, labels, norm=Norm.Linf, eps=0.05)
    assert not zero.any()
    assert not stuck.any()


class Scaled(nn.Module):
    """Logits so small that float32 rounds their loss to log 10."""

    def forward(self, x):
        return 1e-12 * x


def test_a_tiny_gradient_is_one(digits, body):
    network, x, labels = ready(nn.Sequential(body, Scaled()), digits)
    zero, stuck = flags(network, x, labels, norm=Norm.Linf, eps=0.05)
    assert not zero.any()
    assert stuck.all()


class Ridge(nn.Module):
    """The loss of class 0 is highest where the mean pixel is 5 / 256 above one half."""

    def forward(self, x):
        away = (x.flatten(1).mean(dim=1) - (0.5 + 5 / 256)).abs()
        return torch.stack([2 + 20 * away, 0 * away], dim=1)


def test_a_loss_that_rose_and_fell_again_is_not_stuck():
    """Steps of 8 / 256 cross the ridge to its far side, which is higher, and back: after ten the loss is as before."""
    network = Network(Ridge(), SHAPE)
    x, labels = torch.full((1, *SHAPE), 0.5), torch.tensor([0])
    zero, stuck = flags(network, x, labels, norm=Norm.Linf, eps=32 / 256)
    assert zero.tolist() == stuck.tolist() == [False]


@pytest.mark.parametrize("batch_size", [1000, 7])
def test_each_sample_is_told_apart_whatever_the_batches(digits, body, batch_size):
    network, x, labels = ready(Where(body, Steps()), digits)
    network.batch_size = batch_size
    zero, stuck = flags(network, x, labels, norm=Norm.Linf, eps=1e-3)
    flagged = inky(x).numpy()
    assert 10 < flagged.sum() < len(x) - 10
    assert np.array_equal(zero, flagged)
    assert np.array_equal(stuck, flagged)


@pytest.mark.parametrize("norm", Norm)
def test_the_ascent_stays_inside_eps_and_goes_to_its_edge(norm, digits, body):
    Remembers.seen = []
    network, x, labels = ready(Remembers(body), digits, samples=40)
    Remembers.seen.clear()
    before = network.evaluations.total
    flags(network, x, labels, norm=norm, eps=EPS[norm])
    passes = indicators.STEPS + 1
    assert network.evaluations.total - before == 2 * passes * len(x)
    seen = [points for points in Remembers.seen if len(points) == len(x)]  # the others measure the memory of a batch
    assert len(seen) == passes
    assert torch.equal(seen[0], x)
    order = 2 if norm is Norm.L2 else torch.inf
    moved = torch.stack([(points - x).double().flatten(1).norm(dim=1, p=order) for points in seen])
    assert all(points.min() >= 0 and points.max() <= 1 for points in seen)
    assert (moved <= EPS[norm] * (1 + 1e-5)).all()
    assert (moved[1] <= EPS[norm] / 4 * (1 + 1e-5)).all()
    assert (moved[1] > 0).all()
    edge = 0.7 if norm is Norm.L2 else 1 - 1e-4  # in L2 the input range takes something off
    assert (moved[-1] >= edge * EPS[norm]).all()


class SpoiltWhere(nn.Module):
    """Spoils the gradient of inputs with more ink than most, and of no others."""

    def __init__(self, value):
        super().__init__()
        self.spoilt = Spoilt(value)

    def forward(self, x):
        rows = inky(x)
        return x.index_put((rows,), self.spoilt(x[rows]))


NO_DIRECTION = {
    "NaN": Spoilt(math.nan),
    "infinite": Spoilt(math.inf),
    "minus infinite": Spoilt(-math.inf),
    "NaN in one pixel": Spoilt(math.nan, [3]),
    "infinite in one pixel": Spoilt(math.inf, [3]),
    "a root at 0": Root(),
    "a branch that is not taken": Guarded(),
    "zero": Detached(),
}


@pytest.mark.parametrize("norm", Norm)
@pytest.mark.parametrize("name", NO_DIRECTION)
def test_a_gradient_that_is_not_finite_gives_no_direction(name, norm, digits, body):
    network, x, labels = ready(nn.Sequential(NO_DIRECTION[name], body), digits)
    zero, stuck = flags(network, x, labels, norm=norm, eps=EPS[norm])
    assert zero.all()
    if name in ("NaN", "zero", "a root at 0"):  # not one entry is left to follow
        assert stuck.all()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_one_sample_without_a_direction_is_no_sign_for_the_others(digits, body, value):
    network, x, labels = ready(nn.Sequential(SpoiltWhere(value), body), digits)
    zero, stuck = flags(network, x, labels, norm=Norm.L2, eps=1e-3)
    assert np.array_equal(zero, inky(x).numpy())
    assert not stuck[~inky(x)].any()


class Broken(nn.Module):
    """Two logits of the mean pixel; ``value`` for the second wherever an input was moved off one half."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, x):
        mean = x.flatten(1).mean(dim=1)
        logits = torch.stack([2 + mean, 0 * mean], dim=1)
        return torch.where((mean != 0.5)[:, None], logits + torch.tensor([0, self.value]), logits)


@pytest.mark.parametrize("norm", Norm)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_stuck(value, norm):
    network = Network(Broken(value), SHAPE).surrogate
    x, labels = torch.full((3, *SHAPE), 0.5), torch.zeros(3, dtype=torch.int64)
    zero, stuck = flags(network, x, labels, norm=norm, eps=0.1)
    assert not zero.any()
    assert stuck.all()


def test_no_samples(digits, body):
    network, x, labels = ready(body, digits, samples=10)
    zero, stuck = flags(network, x[:0], labels[:0], norm=Norm.L2, eps=0.1)
    assert zero.shape == stuck.shape == (0,)
    assert zero.dtype == stuck.dtype == bool
