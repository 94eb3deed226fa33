"""Steps that only choose, move, repeat or drop numbers, or put zeros beside them.

Such a step needs no formula: it is run on the places of the numbers instead of the numbers. The result shows which
numbers it takes, and how often it repeats each one.
"""

import math
import operator
from collections.abc import Callable
from typing import Any

import torch
from deel import torchlip
from torch import Tensor, fx, nn

from lipbench.certification.lipschitz.effects import EXACT, Effect
from lipbench.certification.lipschitz.norms import rounded_up
from lipbench.certification.lipschitz.table import dotted
from lipbench.errors import UnsupportedError

BATCH = 3  # samples that are traced: enough to notice a step that mixes or drops the batch
SAMPLE = 2.0**40  # distance between the places of one sample and those of the next
SELECTIONS = {
    "view", "reshape", "flatten", "unflatten", "permute", "transpose", "t", "contiguous", "clone", "squeeze",
    "unsqueeze", "chunk", "split", "unbind", "narrow", "select", "expand", "repeat", "flip", "roll", "tile",
    "swapaxes", "movedim", "tensor_split",
    torch.reshape, torch.flatten, torch.permute, torch.transpose, torch.squeeze, torch.unsqueeze, torch.chunk,
    torch.split, torch.unbind, torch.narrow, torch.select, torch.flip, torch.roll, torch.tile, torch.clone,
    torch.tensor_split, torch.movedim, torch.swapaxes, torch.pixel_shuffle, torch.pixel_unshuffle,
    torch.channel_shuffle, nn.functional.pixel_shuffle, nn.functional.pixel_unshuffle, nn.functional.unfold,
    operator.getitem,
}  # fmt: skip
SELECTING_ATTRIBUTES = {"T", "mT", "values"}  # the last one of torch.max(x, dim) and torch.sort(x)
SELECTING_LAYERS: set[Any] = {
    nn.Flatten, nn.Unflatten, nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout,
    nn.PixelShuffle, nn.PixelUnshuffle, nn.ChannelShuffle, nn.ReflectionPad1d, nn.ReflectionPad2d,
    nn.ReplicationPad1d, nn.ReplicationPad2d, nn.ZeroPad1d, nn.ZeroPad2d, nn.CircularPad1d, nn.CircularPad2d,
    nn.Unfold, torchlip.InvertibleDownSampling, torchlip.InvertibleUpSampling,
    "orthogonium.layers.channel_shuffle.ChannelShuffle",
}  # fmt: skip


def selects(*types: Any) -> None:
    """Declare layer types (or their dotted names) that only choose, move or repeat numbers, or add zeros."""
    SELECTING_LAYERS.update(types)


def is_selecting_layer(layer: nn.Module) -> bool:
    """True for a layer of one of these types."""
    return type(layer) in SELECTING_LAYERS or dotted(type(layer)) in SELECTING_LAYERS


def is_selecting(node: fx.Node) -> bool:
    """True for a call of one of these functions, methods or attributes."""
    return node.target in SELECTIONS or (node.target is getattr and node.args[1] in SELECTING_ATTRIBUTES)


def selection(again: Callable[[Any], Any], values: list[Any], given: Any, name: str) -> tuple[Effect, Tensor]:
    """The effect of a step that only moves numbers, and which numbers it takes: bool, one for each of a sample.

    Its constant is the root of how often it repeats a number. The step is run on the numbers' own places, 1, 2, ...;
    0 stands for a zero that it puts in. again: runs it on other values; values: its inputs; given: its result for
    them. Raises UnsupportedError for a step that moves or mixes the batch dimension, or depends on the data.
    """
    if len(values) != 1:
        raise UnsupportedError(f"no Lipschitz rule for {name} with an index that depends on the data")
    value = values[0]
    tensors = _tensors(value)
    each, start, places = [], 1, []
    for tensor in tensors:
        count = tensor[0].numel()
        index = torch.arange(start, start + count, dtype=torch.float64, device=tensor.device)
        places.append((index + _apart(tensor)).view(tensor.shape))
        start += count
    result = _tensors(again(places[0] if isinstance(value, Tensor) else type(value)(places)))
    for tensor, original in zip(result, _tensors(given), strict=True):
        if not isinstance(tensor, Tensor) or tensor.ndim == 0 or len(tensor) != BATCH:
            raise UnsupportedError(f"{name} moves the batch dimension")
        if tensor.shape != original.shape:  # x.view(dtype)
            raise UnsupportedError(f"no Lipschitz rule for {name}: it reads the bits of numbers as others")
        rows = tensor.reshape(BATCH, -1)
        if not torch.equal(rows, torch.where(rows[0] == 0, 0.0, rows[0] + _apart(tensor))):
            raise UnsupportedError(f"{name} mixes the samples of a batch")
        each.append(rows[0])
    chosen = torch.cat(each).long()
    counts = torch.bincount(chosen, minlength=start)[1:].cpu()
    most = int(counts.max()) if len(counts) else 0
    return Effect((1.0 if most <= 1 else rounded_up(math.sqrt(most)),), EXACT), counts > 0


def _apart(tensor: Tensor) -> Tensor:
    """The offset that is added to the places of each sample: (BATCH, 1)."""
    return torch.arange(BATCH, dtype=torch.float64, device=tensor.device)[:, None] * SAMPLE


def _tensors(value: Any) -> list[Any]:
    return list(value) if isinstance(value, tuple | list) else [value]
