import re

import pytest
import torch
from deel import torchlip
from torch import nn

from lipbench.certification.lipschitz import lipschitz_bound
from lipbench.errors import LipbenchError
from lipbench.models.fast_layers import L2Pool, SortPairs, quickened


def seeded(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


def gradient(layer, x, cotangent):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(layer(x), x, cotangent)[0]


def second_gradient(layer, x):
    x = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(layer(x).pow(3).sum(), x, create_graph=True)
    return torch.autograd.grad(slope.square().sum(), x)[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(5, 2), (5, 12), (3, 8, 7), (3, 6, 5, 4)])
def test_sort_pairs_is_groupsort2_bit_for_bit(shape, dtype):
    x, cotangent = seeded(2, *shape, dtype=dtype)
    assert torch.equal(SortPairs()(x), torchlip.GroupSort2()(x))
    assert torch.equal(gradient(SortPairs(), x, cotangent), gradient(torchlip.GroupSort2(), x, cotangent))
    assert torch.equal(second_gradient(SortPairs(), x), second_gradient(torchlip.GroupSort2(), x))


def test_sort_pairs_with_channels_innermost():
    x, cotangent = (part.contiguous(memory_format=torch.channels_last) for part in seeded(2, 3, 6, 5, 4))
    found = gradient(SortPairs(), x, cotangent)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(found, gradient(torchlip.GroupSort2(), x, cotangent))


@pytest.mark.parametrize("pair", [(1.0, 1.0), (0.0, -0.0), (torch.inf, 1.0), (-torch.inf, torch.inf)])
def test_sort_pairs_of_ties_and_infinities(pair):
    """At a tie torchlip may give both gradients to one of the two; here each has one, so that the norm is kept."""
    x = torch.tensor([pair])
    assert torch.equal(SortPairs()(x), torchlip.GroupSort2()(x))
    assert sorted(gradient(SortPairs(), x, torch.tensor([[3.0, 5.0]]))[0].tolist()) == [3.0, 5.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("kernel", "stride", "ceil_mode"),
    [
        (2, None, False),
        (3, None, False),
        (3, 2, False),
        ((2, 3), None, False),
        ((1, 2), (2, 1), False),
        (2, None, True),
    ],
)
def test_l2_pool_is_torchs(kernel, stride, ceil_mode, dtype):
    """On 5 x 7 pixels: windows that are left out at the border, that overlap, or that are cut off (ceil_mode)."""
    torchs = nn.LPPool2d(2, kernel, stride, ceil_mode)
    x = seeded(3, 2, 5, 7, dtype=dtype)
    x[:, 0, :3] = 0.0
    expected = torchs(x)
    assert torch.equal(L2Pool(torchs)(x), expected)
    cotangent = torch.randn_like(expected)
    slack = {"rtol": 1e-5, "atol": 1e-6} if dtype is torch.float32 else {"rtol": 1e-12, "atol": 1e-14}
    assert torch.allclose(gradient(L2Pool(torchs), x, cotangent), gradient(torchs, x, cotangent), **slack)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("small", [0.0, 1e-30, 1e-200])
def test_a_window_of_zeros_has_no_gradient_and_spoils_no_other(small, dtype):
    """Black corners of an image; squares that vanish in floating point are as good as zeros."""
    x = torch.full((1, 1, 2, 4), small, dtype=dtype)
    x[..., 2:] = torch.tensor([3.0, 4.0])
    pool = L2Pool(nn.LPPool2d(2, 2))
    assert pool(x).flatten().tolist() == pytest.approx([0.0, 50**0.5])
    found = gradient(pool, x, torch.ones(1, 1, 1, 2, dtype=dtype))
    assert torch.isfinite(found).all()
    assert found[..., 2:].flatten().tolist() == pytest.approx([value / 50**0.5 for value in (3, 4, 3, 4)])
    # the true gradient is at most 1 for each pixel; at exactly 0 there is none
    assert (found[..., :2].abs() <= 1 + 1e-6).all()
    assert small or not found[..., :2].any()


@pytest.mark.parametrize("shape", [(4, 3), (4, 1), (2, 5, 6, 6), (4,)])
def test_pairs_need_an_even_number_of_channels(shape):
    with pytest.raises(LipbenchError, match=rf"even c, got {re.escape(str(shape))}"):
        SortPairs()(torch.zeros(shape))


@pytest.mark.parametrize(
    ("layer", "slow"),
    [
        (SortPairs(), torchlip.GroupSort2()),
        (L2Pool(nn.LPPool2d(2, 3, 2)), nn.LPPool2d(2, 3, 2)),
        (L2Pool(nn.LPPool2d(2, 2, ceil_mode=True)), nn.LPPool2d(2, 2, ceil_mode=True)),
    ],
)
def test_they_have_the_bounds_of_what_they_stand_for(layer, slow):
    assert lipschitz_bound(layer, (2, 5, 7)) == lipschitz_bound(slow, (2, 5, 7))


class Branches(nn.Module):
    """Layers held by name, in a list, twice, and one that is left out."""

    def __init__(self):
        super().__init__()
        self.sort = torchlip.GroupSort2()
        self.several = nn.ModuleList([nn.Sequential(nn.LPPool2d(2, 2)), nn.ReLU()])
        self.register_module("nothing", None)


def test_slow_layers_are_exchanged_wherever_they_are():
    network = Branches()
    assert quickened(network) is network
    assert type(network.sort) is SortPairs
    assert type(network.several[0][0]) is L2Pool
    assert type(network.several[1]) is nn.ReLU
    assert network.nothing is None
    assert type(quickened(torchlip.GroupSort2())) is SortPairs


class Sorted(torchlip.GroupSort2):
    def forward(self, x):
        return -super().forward(x)


class Pool(nn.LPPool2d):
    def forward(self, x):
        return 2 * super().forward(x)


@pytest.mark.parametrize(
    "layer",
    [
        torchlip.GroupSort2(k_coef_lip=2.0),
        torchlip.GroupSort(2),
        torchlip.GroupSort(4),
        torchlip.FullSort(),
        nn.LPPool2d(1, 2),
        nn.LPPool2d(3, 2),
        nn.LPPool1d(2, 2),
        nn.AvgPool2d(2),
        Sorted(),
        Pool(2, 2),
    ],
    ids=lambda layer: f"{type(layer).__name__}-{layer.extra_repr()}",
)
def test_other_layers_are_left_alone(layer):
    """Among them subclasses, whose forward may be another."""
    assert quickened(layer) is layer
    assert quickened(nn.Sequential(layer))[0] is layer
