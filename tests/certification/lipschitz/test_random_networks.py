"""Random small networks: no bound is below what the network does to some difference of inputs."""

import math
from unittest import mock

import pytest
import torch
from deel import torchlip
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from measured import dense_norm, largest_jacobian
from torch import nn

from lipbench.certification.lipschitz import lipschitz_bound, norms

LARGEST = 160  # numbers of an input, and of what layers give: dense matrices stay small
PADDINGS = ["zeros", "zeros", "circular", "reflect", "replicate", "symmetric"]
ACTIVATIONS = [nn.ReLU, nn.Tanh, nn.SiLU, nn.GELU, nn.SELU, torchlip.FullSort, lambda: nn.LeakyReLU(-1.5)]


class Residual(nn.Module):
    """x + factor f(x), in place or not."""

    def __init__(self, branch, factor, augmented):
        super().__init__()
        self.branch, self.factor, self.augmented = branch, factor, augmented

    def forward(self, x):
        if self.augmented:
            out = self.factor * self.branch(x)
            out += x
            return out
        return x + self.factor * self.branch(x)


class Averaged(nn.Module):
    """w f(x) + (1 - w) g(x)."""

    def __init__(self, first, second, weight):
        super().__init__()
        self.first, self.second, self.weight = first, second, nn.Parameter(torch.tensor(weight))

    def forward(self, x):
        return self.weight * self.first(x) + (1 - self.weight) * self.second(x)


class SideBySide(nn.Module):
    """f(x) and x as channels."""

    def __init__(self, branch):
        super().__init__()
        self.branch = branch

    def forward(self, x):
        return torch.cat([self.branch(x), x], dim=1)


class Halves(nn.Module):
    """f of one half of the channels beside the other half."""

    def __init__(self, branch):
        super().__init__()
        self.branch = branch

    def forward(self, x):
        first, second = x.chunk(2, dim=1)
        return torch.cat([first, self.branch(second)], dim=1)


def fits(layer: nn.Module, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """What a layer makes of inputs of this shape, or None where it does not take them or they get too large."""
    try:
        with torch.no_grad():
            out = tuple(layer.double().eval()(torch.zeros(1, *shape, dtype=torch.float64)).shape[1:])
    except (RuntimeError, ValueError):
        return None
    return out if 0 < math.prod(out) <= LARGEST else None


@st.composite
def convolutions(draw, shape, keep=False):
    """A convolution of inputs (c, l) or (c, h, w), one that keeps the shape or any; None if none was found."""
    dimensions = len(shape) - 1

    def each(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(dimensions))

    groups = draw(st.sampled_from([g for g in (1, 1, 2, 3) if shape[0] % g == 0]))
    mode = draw(st.sampled_from(PADDINGS))
    if keep:
        kernel, dilation = draw(st.sampled_from([1, 3, 5])), draw(st.sampled_from([1, 1, 2]))
        padding, stride, out = dilation * (kernel - 1) // 2, 1, shape[0]
    else:
        kernel, dilation, padding, stride = each(1, 4), each(1, 3), each(0, 3), each(1, 4)
        out = groups * draw(st.integers(1, 3))
    kind = {
        (1, False): nn.Conv1d, (2, False): nn.Conv2d, (1, True): torchlip.PadConv1d, (2, True): torchlip.PadConv2d,
    }[dimensions, mode == "symmetric"]  # fmt: skip
    if not keep and draw(st.integers(0, 5)) == 0:
        kind = nn.ConvTranspose1d if dimensions == 1 else nn.ConvTranspose2d
        return kind(shape[0], out, kernel, stride, padding, 0, groups, True, dilation)
    return kind(shape[0], out, kernel, stride, padding, dilation, groups, True, mode)


@st.composite
def layers(draw, shape, nonlinear):
    """One layer or branch for inputs of this shape."""
    if nonlinear and draw(st.booleans()):
        return draw(st.sampled_from([*ACTIVATIONS, torchlip.MaxMin]))()
    kind = draw(st.sampled_from(["any", "any", "residual", "averaged", "beside", "halves", "pool", "norm"]))
    if kind == "any":
        return draw(convolutions(shape))
    if kind == "pool" and len(shape) == 3:
        kernel = draw(st.integers(1, 3))
        pools = [nn.AvgPool2d(kernel, draw(st.integers(1, 3)), kernel // 2, draw(st.booleans()), draw(st.booleans()))]
        if nonlinear:
            pools += [nn.MaxPool2d(kernel, 1), nn.LPPool2d(2, kernel, 2, draw(st.booleans())), nn.AdaptiveMaxPool2d(3)]
        return draw(st.sampled_from([*pools, nn.AdaptiveAvgPool2d(draw(st.integers(1, 5)))]))
    if kind in ("norm", "pool"):
        norm = (nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d)(shape[0])
        norm.running_var.uniform_(0.1, 3)
        norm.weight.data.normal_()
        return draw(st.sampled_from([norm, torchlip.LayerCentering(shape[0], dim=-1)]))
    branch = [draw(convolutions(shape, keep=True))]
    if nonlinear:
        branch.append(draw(st.sampled_from(ACTIVATIONS))())
    if kind == "residual":
        return Residual(nn.Sequential(*branch), draw(st.floats(-2, 2)), draw(st.booleans()))
    if kind == "averaged":
        return Averaged(nn.Sequential(*branch), draw(convolutions(shape, keep=True)), draw(st.floats(-1, 2)))
    if kind == "beside" or shape[0] % 2:
        return SideBySide(nn.Sequential(*branch))
    return Halves(draw(convolutions((shape[0] // 2, *shape[1:]), keep=True)))


@st.composite
def networks(draw, nonlinear):
    """A network, the shape of its inputs, and whether layers are bounded as large ones are."""
    torch.manual_seed(draw(st.integers(0, 2**31)))
    dimensions = draw(st.sampled_from([1, 2, 2]))
    shape = (draw(st.integers(1, 4)), *(draw(st.integers(3, 8 if dimensions == 1 else 6)) for _ in range(dimensions)))
    chain, current = [], shape
    for _ in range(draw(st.integers(1, 4))):
        layer = draw(layers(current, nonlinear))
        out = fits(layer, current)
        if out is not None:
            chain.append(layer)
            current = out
    if not chain or draw(st.booleans()):
        chain += [nn.Flatten(), nn.Linear(math.prod(current), draw(st.integers(1, 4)))]
    return nn.Sequential(*chain).double().eval(), shape, draw(st.booleans())


def bound_of(network, shape, large):
    if not large:
        return lipschitz_bound(network, shape)
    with mock.patch.multiple(norms, CHEAP=0, COSTLY=0):
        return lipschitz_bound(network, shape)


FOUND_BY_CHANCE = {
    "deadline": None,
    "derandomize": True,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}


@settings(max_examples=400, **FOUND_BY_CHANCE)
@given(networks(nonlinear=False))
def test_linear_networks_are_never_below_their_dense_norm(case):
    network, shape, large = case
    assert bound_of(network, shape, large) >= dense_norm(network, shape) * (1 - 1e-13)


@settings(max_examples=400, **FOUND_BY_CHANCE)
@given(networks(nonlinear=True), st.integers(0, 2**31), st.sampled_from([0.1, 1.0, 10.0]))
def test_networks_are_never_below_their_largest_jacobian(case, seed, scale):
    network, shape, large = case
    points = scale * torch.randn(2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    assert bound_of(network, shape, large) >= largest_jacobian(network, points) * (1 - 1e-13)


@settings(max_examples=200, **FOUND_BY_CHANCE)
@given(st.data())
def test_single_convolutions_get_their_dense_norm(data):
    torch.manual_seed(data.draw(st.integers(0, 2**31)))
    shape = data.draw(st.sampled_from([(1, 8), (4, 5), (1, 5, 6), (2, 4, 4), (6, 3, 4)]))
    layer = data.draw(convolutions(shape))
    if fits(layer, shape) is None:
        layer = data.draw(convolutions(shape, keep=True))
    if fits(layer, shape) is None:
        return
    true = dense_norm(layer, shape)
    assert true <= bound_of(layer, shape, large=False) <= true * (1 + 1e-9)


def test_the_networks_are_what_they_are_meant_to_be():
    """Guards the tests above: most examples have several layers, and many have branches."""
    sizes, branches = [], 0

    @settings(max_examples=100, database=None, **FOUND_BY_CHANCE)
    @given(networks(nonlinear=True))
    def collect(case):
        nonlocal branches
        sizes.append(len(case[0]))
        branches += any(isinstance(layer, Residual | Averaged | SideBySide | Halves) for layer in case[0])

    collect()
    assert sum(sizes) / len(sizes) > 2
    assert branches > 30


pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")
