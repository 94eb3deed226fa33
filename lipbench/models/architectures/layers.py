"""The sets of layers that architectures are built from, and the modules of our own in them.

A set is a ``Layers`` object, or a function without arguments that returns one, registered under its name in the entry
point group ``lipbench.layers``.

Zero and circular padding, and pools without ceil_mode only: other paddings and ``ceil_mode=True`` have operator norms
above 1.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from deel import torchlip as deel_torchlip
from torch import Tensor, nn

from lipbench._internal.registry import LAYERS, SHOWN
from lipbench.errors import LipbenchError
from lipbench.models.architectures.bjorck import BjorckBy, with_quick_bjorck
from lipbench.models.fast_layers import L2Pool, SortPairs

Window = int | tuple[int, int]


@dataclass(frozen=True)
class Layers:
    """The layers that an architecture is built from.

    A trained network is stored in its plain form: each layer as its plain counterpart, see ``exporting``, in the places
    where an architecture that is built from ``exported`` has its own. By default these are torch's own layers and
    MaxMin. A set whose activations or pools are others gives its own ``exported``, which is then needed to load what
    was trained with it.
    """

    linear: Callable[[int, int], nn.Module]  # (in features, out features)
    conv: Callable[..., nn.Module]  # (in channels, out channels, kernel size, padding=..., padding_mode=...)
    activation: Callable[[], nn.Module]
    pools: dict[str, Callable[[Window], nn.Module]]  # by name, (kernel size); stride = kernel size
    shortcut: Callable[[], nn.Module]  # called with x and g(x), what a residual block combines
    batch_norms: dict[int, Callable[[int], nn.Module]] | None = None  # by the dimensions of a batch, (channels)
    # the plain form of layers that ``exporting`` does not know, by their exact type without parametrisations
    plain_forms: Mapping[type[nn.Module], Callable[[nn.Module], nn.Module]] = field(default_factory=dict)
    exported: "Layers | None" = None  # of what plain networks are built; None: ``EXPORTED``
    claimed_over_1: float = 0.0  # how far roundings may lift the constant of a whole network above 1
    name: str = ""  # needed only where the object itself is given in place of a name


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


_ACTIVATIONS_AND_POOLS = (SortPairs, {"average": deel_torchlip.ScaledAvgPool2d, "l2norm": _quick_l2_norm_pool})

CONSTRAINED = Layers(
    with_quick_bjorck(deel_torchlip.SpectralLinear),
    with_quick_bjorck(deel_torchlip.SpectralConv2d),
    *_ACTIVATIONS_AND_POOLS,
    shortcut=deel_torchlip.LipResidual,
)
EXPORTED = Layers(
    nn.Linear,
    nn.Conv2d,
    deel_torchlip.GroupSort2,
    {"average": deel_torchlip.ScaledAvgPool2d, "l2norm": _l2_norm_pool},
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


def torchlip() -> Layers:
    """deel-torchlip's layers: spectral normalisation and Björck orthogonalisation."""
    return CONSTRAINED


def groupsort8() -> Layers:
    """deel-torchlip's layers with GroupSort on groups of 8 in place of pairs: more pieces from as many neurons."""
    return _sorting(8)


def fullsort() -> Layers:
    """deel-torchlip's layers with FullSort, which sorts all neurons of a layer (Anil, Lucas, Grosse 2019)."""
    return _sorting(None)


def _sorting(group: int | None) -> Layers:
    sort = partial(deel_torchlip.GroupSort, group)
    return replace(CONSTRAINED, activation=sort, exported=replace(EXPORTED, activation=sort))


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
    return Layers(
        linear,
        AdaptiveOrthoConv2d,
        *_ACTIVATIONS_AND_POOLS,
        shortcut=deel_torchlip.LipResidual,
        claimed_over_1=1e-4,  # an AOC net of 8 layers ended at 1 + 8.7e-6
    )


def layers_of(layers: str, constrained: bool) -> Layers:
    """The set of layers to train with: ``layers`` as cards and recipes name it, or the unconstrained twin's.

    Raises LipbenchError for an unknown name, for a library that is not installed, and for a plugin that gives no
    ``Layers``.
    """
    found = LAYERS.get(layers)
    if not constrained:
        return UNCONSTRAINED
    if not isinstance(found, Layers) and callable(found):
        with LAYERS.calling(layers):
            found = found()
    if not isinstance(found, Layers):
        raise LipbenchError(
            f"{LAYERS.said(layers)} must be a Layers object, or a function without arguments that returns one; "
            f"got {repr(found)[:SHOWN]}"
        )
    return found


def stored_layers(stored_as: str | None, constrained: bool) -> Layers:
    """The layers that a stored network is built from; ``stored_as``: the set whose own exported form it has, or None.

    Raises LipbenchError as ``layers_of`` does.
    """
    if stored_as is None or not constrained:
        return EXPORTED if constrained else UNCONSTRAINED
    return layers_of(stored_as, True).exported or EXPORTED
