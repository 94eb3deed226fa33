"""Architectures: chains of layers, written once and built from one of three sets of layers.

* ``CONSTRAINED``: deel-torchlip's 1-Lipschitz layers, which are trained;
* ``EXPORTED``: the same network in plain torch layers, which are stored, certified and attacked;
* ``UNCONSTRAINED``: the twin of the same shape, plain layers and ReLU.

Zero padding and pools without ceil_mode only: other paddings and ``ceil_mode=True`` have operator norms above 1.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from deel import torchlip
from torch import Tensor, nn

from lipbench.errors import LipbenchError
from lipbench.registry import ARCHITECTURES

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Layers:
    """The layers that an architecture is built from."""

    linear: Callable[[int, int], nn.Module]  # (in features, out features)
    conv: Callable[..., nn.Module]  # (in channels, out channels, kernel size, padding=..., stride=...)
    activation: Callable[[], nn.Module]
    pools: dict[str, Callable[[int], nn.Module]]  # by name, (kernel size); stride = kernel size
    sequential: Callable[..., nn.Sequential] = nn.Sequential


def _l2_norm_pool(kernel_size: int) -> nn.Module:
    return nn.LPPool2d(2, kernel_size)


CONSTRAINED = Layers(
    torchlip.SpectralLinear,
    torchlip.SpectralConv2d,
    torchlip.GroupSort2,
    {"average": torchlip.ScaledAvgPool2d, "l2norm": torchlip.ScaledL2NormPool2d},
    torchlip.Sequential,
)
EXPORTED = Layers(
    nn.Linear,
    nn.Conv2d,
    torchlip.GroupSort2,
    {"average": torchlip.ScaledAvgPool2d, "l2norm": _l2_norm_pool},
)
UNCONSTRAINED = Layers(nn.Linear, nn.Conv2d, nn.ReLU, {"average": nn.AvgPool2d, "l2norm": _l2_norm_pool})


class Normalize(nn.Module):
    """(x - mean) / std per channel, for x: (n, c, h, w); mean, std: one number per channel. Lipschitz: 1 / min std."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float64).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float64).view(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """x: (n, c, h, w), same shape out."""
        return (x - self.mean.to(x.dtype)) / self.std.to(x.dtype)


def build(name: str, layers: Layers, input_shape: Shape, num_classes: int, args: dict[str, Any]) -> nn.Sequential:
    """The architecture called ``name``, from one set of layers.

    ``num_classes``: outputs of the head (1 for a single-logit head). Raises LipbenchError for an unknown name or
    argument, and for arguments that do not fit the input.
    """
    factory = ARCHITECTURES.get(name)
    known = [p.name for p in inspect.signature(factory).parameters.values() if p.kind is p.KEYWORD_ONLY]
    unknown = sorted(set(args) - set(known))
    if unknown:
        raise LipbenchError(f"architecture {name!r} has no argument {unknown[0]!r}: it takes {', '.join(known)}")
    try:
        return layers.sequential(*factory(layers, tuple(input_shape), num_classes, **args))
    except (TypeError, ValueError, RuntimeError) as error:
        raise LipbenchError(
            f"architecture {name!r} cannot be built with {args}: {str(error).splitlines()[0]}"
        ) from error


def _even(kind: str, sizes: Sequence[int]) -> None:
    if any(size < 2 or size % 2 for size in sizes):
        raise LipbenchError(f"{kind} must be even numbers, since GroupSort2 sorts pairs; got {list(sizes)}")


def _dense(layers: Layers, features: int, widths: Sequence[int], num_classes: int) -> list[nn.Module]:
    chain: list[nn.Module] = []
    for width in widths:
        chain += [layers.linear(features, width), layers.activation()]
        features = width
    return [*chain, layers.linear(features, num_classes)]


def mlp(layers: Layers, input_shape: Shape, num_classes: int, *, widths: Sequence[int] = (128, 64)) -> list[nn.Module]:
    """Dense layers of ``widths`` with an activation after each, then the head."""
    _even("widths", widths)
    c, h, w = input_shape
    return [nn.Flatten(), *_dense(layers, c * h * w, widths, num_classes)]


def cnn(
    layers: Layers,
    input_shape: Shape,
    num_classes: int,
    *,
    channels: Sequence[int] = (16, 32),
    widths: Sequence[int] = (64,),
    pool: str = "l2norm",
) -> list[nn.Module]:
    """For each of ``channels`` a 3x3 convolution (zero padding), an activation and a 2x2 pool; then dense layers."""
    _even("channels", channels)
    _even("widths", widths)
    if pool not in layers.pools:
        raise LipbenchError(f"unknown pool {pool!r}: expected one of {', '.join(layers.pools)}")
    c, h, w = input_shape
    chain: list[nn.Module] = []
    for size in channels:
        chain += [layers.conv(c, size, 3, padding=1), layers.activation(), layers.pools[pool](2)]
        c, h, w = size, h // 2, w // 2
    if min(h, w) < 1:
        raise LipbenchError(
            f"{len(channels)} pools of 2x2 are too many for inputs of {input_shape[1]}x{input_shape[2]}"
        )
    return [*chain, nn.Flatten(), *_dense(layers, c * h * w, widths, num_classes)]


@torch.no_grad()
def export(model: nn.Sequential, sample: Tensor) -> nn.Sequential:
    """The plain torch form of a trained model, in eval mode; ``sample``: a batch of inputs.

    deel-torchlip serves the weight of the last training forward in eval mode, so one train-mode forward comes first;
    the container that ``vanilla_export`` returns is in train mode. Raises RuntimeError if the two forms differ.
    """
    model.train()
    model(sample)
    model.eval()
    if not isinstance(model, torchlip.Sequential):
        return model
    plain: nn.Sequential = model.vanilla_export().eval()
    if not torch.equal(plain(sample), model(sample)):
        raise RuntimeError("the exported network differs from the trained one")
    return plain
