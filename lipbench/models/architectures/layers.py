"""The sets of layers that architectures are built from, and the modules of our own in them.

Zero and circular padding, and pools without ceil_mode only: other paddings and ``ceil_mode=True`` have operator norms
above 1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from deel import torchlip
from torch import Tensor, nn

from lipbench.errors import LipbenchError, unknown_name
from lipbench.models.architectures.bjorck import BjorckBy, with_quick_bjorck
from lipbench.models.fast_layers import L2Pool, SortPairs

Window = int | tuple[int, int]


@dataclass(frozen=True)
class Layers:
    """The layers that an architecture is built from."""

    linear: Callable[[int, int], nn.Module]  # (in features, out features)
    conv: Callable[..., nn.Module]  # (in channels, out channels, kernel size, padding=..., padding_mode=...)
    activation: Callable[[], nn.Module]
    pools: dict[str, Callable[[Window], nn.Module]]  # by name, (kernel size); stride = kernel size
    shortcut: Callable[[], nn.Module]  # called with x and g(x), what a residual block combines
    batch_norms: dict[int, Callable[[int], nn.Module]] | None = None  # by the dimensions of a batch, (channels)


class Normalize(nn.Module):
    """(x - mean) / std per channel, for x: (n, c, ...); mean, std: one number per channel. Lipschitz: 1 / min std."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float64).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float64).view(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """x: (n, c, ...), same shape out."""
        mean, std = (one.to(x.dtype).view(1, -1, *[1] * (x.ndim - 2)) for one in (self.mean, self.std))
        return (x - mean) / std


class ConvexCombination(nn.Module):
    """weight * x + (1 - weight) * y, as stored from deel-torchlip's LipResidual. ``weight``: float32 (), in [0, 1].

    1-Lipschitz in (x, g(x)) for a 1-Lipschitz g, by the triangle inequality.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """x, y: of one shape, which is also that of the output."""
        return self.weight * x + (1 - self.weight) * y


class Sum(nn.Module):
    """x + y, the shortcut of He, Zhang, Ren, Sun (CVPR 2016, arXiv 1512.03385)."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """x, y: of one shape, which is also that of the output."""
        return x + y


class Residual(nn.Module):
    """The shortcut of x and g(x), where ``branch`` is g and keeps the shape of its input."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module):
        super().__init__()
        self.branch, self.shortcut = branch, shortcut

    def forward(self, x: Tensor) -> Tensor:
        """x: (n, c, h, w), same shape out."""
        out: Tensor = self.shortcut(x, self.branch(x))
        return out


def _l2_norm_pool(kernel_size: Window) -> nn.Module:
    return nn.LPPool2d(2, kernel_size)


def _quick_l2_norm_pool(kernel_size: Window) -> nn.Module:
    return L2Pool(nn.LPPool2d(2, kernel_size))


_ACTIVATIONS_AND_POOLS = (SortPairs, {"average": torchlip.ScaledAvgPool2d, "l2norm": _quick_l2_norm_pool})

CONSTRAINED = Layers(
    with_quick_bjorck(torchlip.SpectralLinear),
    with_quick_bjorck(torchlip.SpectralConv2d),
    *_ACTIVATIONS_AND_POOLS,
    shortcut=torchlip.LipResidual,
)
EXPORTED = Layers(
    nn.Linear,
    nn.Conv2d,
    torchlip.GroupSort2,
    {"average": torchlip.ScaledAvgPool2d, "l2norm": _l2_norm_pool},
    ConvexCombination,
)
UNCONSTRAINED = Layers(
    nn.Linear,
    nn.Conv2d,
    nn.ReLU,
    {"average": nn.AvgPool2d, "l2norm": _l2_norm_pool},
    Sum,
    {2: nn.BatchNorm1d, 4: nn.BatchNorm2d},
)


def orthogonium() -> Layers:
    """Orthogonal layers: AOC (Boissin et al. 2025, arXiv 2501.07930) and dense ones orthogonalised by Björck's method.

    Raises LipbenchError where orthogonium is not installed.
    """
    try:
        from orthogonium.layers import AdaptiveOrthoConv2d, OrthoLinear
        from orthogonium.reparametrizers import BatchedBjorckOrthogonalization
    except ImportError as error:
        raise LipbenchError(
            "the layers of orthogonium need that package: pip install 'lipbench[orthogonium]'"
        ) from error
    linear = with_quick_bjorck(OrthoLinear, BatchedBjorckOrthogonalization, BjorckBy)
    return Layers(linear, AdaptiveOrthoConv2d, *_ACTIVATIONS_AND_POOLS, shortcut=torchlip.LipResidual)


SETS: dict[str, Callable[[], Layers]] = {"torchlip": lambda: CONSTRAINED, "orthogonium": orthogonium}


def layers_of(layers: str, constrained: bool) -> Layers:
    """The set of layers to train with: ``layers`` as cards and recipes name it, or the unconstrained twin's.

    Raises LipbenchError for an unknown name, and for a library that is not installed.
    """
    if layers not in SETS:
        raise unknown_name("set of layers", layers, SETS)
    return SETS[layers]() if constrained else UNCONSTRAINED
