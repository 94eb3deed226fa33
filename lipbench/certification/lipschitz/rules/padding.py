"""Paddings: those of convolutions, as torch and deel-torchlip take them, and the rule of ``F.pad``."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from deel.torchlip.functional import SymmetricPad
from torch import Tensor
from torch.nn import functional as F

from lipbench.certification.lipschitz.effects import Effect, Flow, Rounding, constants_rounded
from lipbench.certification.lipschitz.norms import rounded_up
from lipbench.certification.lipschitz.settings import pair, single
from lipbench.certification.lipschitz.table import rule
from lipbench.errors import UnsupportedError

Sides = tuple[int, int, int, int]  # left, right, top, bottom
Pad = Callable[[Tensor], Tensor]  # (n, c, h, w) to the same with its padding


def zero_padding(sides: Sides) -> Pad:
    """A padding with zeros."""
    return lambda x: F.pad(x, sides)


def padding_of(layer: Any, sides: Sides, repeated: Any) -> tuple[str, Pad]:
    """The mode and the padding of a layer, as its forward takes them. sides: for zeros; repeated: for other modes."""
    symmetric = getattr(layer, "pad", None)
    if isinstance(symmetric, SymmetricPad):
        # with padding 0 along one axis only, it repeats that whole axis: its own code is run
        return "symmetric", lambda x: F.pad(symmetric(x), sides)
    if layer.padding_mode == "zeros":
        return "zeros", zero_padding(sides)
    return layer.padding_mode, lambda x: F.pad(x, repeated, mode=layer.padding_mode)


def sides_of(padding: Any, kernel: Sequence[int], dilation: tuple[int, int]) -> Sides:
    """A padding of zeros as torch takes it: numbers, "valid" or "same". kernel: (height, width)."""
    if padding == "valid":
        return (0, 0, 0, 0)
    if padding == "same":
        total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        return (total[1] // 2, total[1] - total[1] // 2, total[0] // 2, total[0] - total[0] // 2)
    height, width = pair(padding)
    return (width, width, height, height)


def sides_of_line(padding: Any, kernel: int, dilation: tuple[int, int]) -> Sides:
    """The same for a signal, as an image of height 1."""
    return sides_of(padding if isinstance(padding, str) else (0, single(padding)), (1, kernel), dilation)


@rule(F.pad)
def _pad(input: Flow, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Effect:
    """Constant padding adds constants; the others repeat numbers. Not of the batch."""
    if len(pad) > 2 * len(input.shape):
        raise UnsupportedError("a padding of the batch dimension makes no sense per sample")
    if mode == "constant":
        padded = F.pad(torch.empty(1, *input.shape, device="meta"), list(pad)).numel()
        return Effect((1.0,), constants_rounded(padded, value))
    places = torch.arange(math.prod(input.shape), dtype=torch.float64).view(1, *input.shape)
    counts = torch.bincount(F.pad(places, list(pad), mode=mode).flatten().long())
    return Effect((rounded_up(math.sqrt(int(counts.max()))),), Rounding())
