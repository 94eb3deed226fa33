"""The architectures, each written once, as a chain of layers from any set of layers.

An architecture is a function of (layers, input shape, number of outputs, *, its arguments).
"""

import inspect
from collections.abc import Sequence
from typing import Any

from torch import nn

from lipbench._internal.registry import ARCHITECTURES
from lipbench.errors import LipbenchError, unknown_name
from lipbench.models.architectures.layers import Layers, Residual, Window

Shape = tuple[int, int, int]
Chain = list[nn.Module]
PADDINGS = ("zeros", "circular")  # others have operator norms above 1


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
        return nn.Sequential(*factory(layers, tuple(input_shape), num_classes, **args))
    except (TypeError, ValueError, RuntimeError) as error:
        raise LipbenchError(
            f"architecture {name!r} cannot be built with {args}: {str(error).splitlines()[0]}"
        ) from error


def mlp(
    layers: Layers,
    input_shape: Shape,
    num_classes: int,
    *,
    widths: Sequence[int] = (128, 64),
    batch_norm: bool = False,
) -> Chain:
    """Dense layers of ``widths`` with an activation after each, then the head."""
    c, h, w = input_shape
    return [nn.Flatten(), *_dense(layers, c * h * w, widths, num_classes, batch_norm)]


def cnn(
    layers: Layers,
    input_shape: Shape,
    num_classes: int,
    *,
    channels: Sequence[int] = (16, 32),
    widths: Sequence[int] = (64,),
    pool: str = "l2norm",
    padding: str = "zeros",
    batch_norm: bool = False,
) -> Chain:
    """For each of ``channels`` a 3x3 convolution, an activation and a 2x2 pool; then dense layers."""
    _even("channels", channels)
    c, h, w = input_shape
    chain: Chain = []
    for size in channels:
        chain += [*_convolution(layers, c, size, padding, batch_norm), _pool(layers, pool, 2)]
        c, h, w = size, *_halved(input_shape, h, w)
    return [*chain, nn.Flatten(), *_dense(layers, c * h * w, widths, num_classes, batch_norm)]


def vgg(
    layers: Layers,
    input_shape: Shape,
    num_classes: int,
    *,
    blocks: Sequence[Sequence[int]] = ((32, 32), (64, 64, 64), (128, 128, 128)),
    widths: Sequence[int] = (128,),
    pool: str = "l2norm",
    padding: str = "zeros",
    batch_norm: bool = False,
) -> Chain:
    """Blocks of 3x3 convolutions with a 2x2 pool between them and a global pool at the end; then dense layers.

    By default the VGG of Béthune et al. (NeurIPS 2022, arXiv 2104.05097), 0.49 M parameters for 3x32x32 and 10 classes.
    """
    c, h, w = input_shape
    chain: Chain = []
    for number, block in enumerate(blocks):
        _even("channels of a block", block)
        if number:
            chain.append(_pool(layers, pool, 2))
            h, w = _halved(input_shape, h, w)
        for size in block:
            chain += _convolution(layers, c, size, padding, batch_norm)
            c = size
    return [*chain, _pool(layers, pool, (h, w)), nn.Flatten(), *_dense(layers, c, widths, num_classes, batch_norm)]


def resnet(
    layers: Layers,
    input_shape: Shape,
    num_classes: int,
    *,
    channels: Sequence[int] = (32, 64, 128),
    blocks: int = 1,
    widths: Sequence[int] = (128,),
    pool: str = "l2norm",
    padding: str = "zeros",
    batch_norm: bool = False,
) -> Chain:
    """For each of ``channels`` a 3x3 convolution and residual ``blocks``, pools as in vgg; then dense layers.

    A block is a x + (1 - a) g(x) with a learned a in [0, 1], or x + g(x) in the unconstrained twin, then an activation;
    g is a convolution, an activation and a convolution.
    """
    _even("channels", channels)
    c, h, w = input_shape
    chain: Chain = []
    for number, size in enumerate(channels):
        if number:
            chain.append(_pool(layers, pool, 2))
            h, w = _halved(input_shape, h, w)
        chain += _convolution(layers, c, size, padding, batch_norm)
        for _ in range(blocks):
            first = _convolution(layers, size, size, padding, batch_norm)
            second = _convolution(layers, size, size, padding, batch_norm)[:-1]
            chain += [Residual(nn.Sequential(*first, *second), layers.shortcut()), layers.activation()]
        c = size
    return [*chain, _pool(layers, pool, (h, w)), nn.Flatten(), *_dense(layers, c, widths, num_classes, batch_norm)]


# --- parts -----------------------------------------------------------------------------------------------------------


def _dense(layers: Layers, features: int, widths: Sequence[int], num_classes: int, batch_norm: bool) -> Chain:
    _even("widths", widths)
    chain: Chain = []
    for width in widths:
        chain += [layers.linear(features, width), *_batch_norm(layers, batch_norm, width, 2), layers.activation()]
        features = width
    return [*chain, layers.linear(features, num_classes)]


def _convolution(layers: Layers, inputs: int, outputs: int, padding: str, batch_norm: bool) -> Chain:
    """A 3x3 convolution that keeps the size of the planes, and the activation."""
    if padding not in PADDINGS:
        raise unknown_name("padding", padding, PADDINGS)
    conv = layers.conv(inputs, outputs, 3, padding=1, padding_mode=padding)
    return [conv, *_batch_norm(layers, batch_norm, outputs, 4), layers.activation()]


def _batch_norm(layers: Layers, wanted: bool, channels: int, dimensions: int) -> Chain:
    if not isinstance(wanted, bool):
        raise LipbenchError(f"batch_norm is true or false, got {wanted!r}")
    if not wanted:
        return []
    if layers.batch_norms is None:
        raise LipbenchError(
            "batch_norm = true is for unconstrained twins only (constrained = false): batch norm is not 1-Lipschitz"
        )
    return [layers.batch_norms[dimensions](channels)]


def _pool(layers: Layers, pool: str, window: Window) -> nn.Module:
    if pool not in layers.pools:
        raise unknown_name("pool", pool, layers.pools)
    return layers.pools[pool](window)


def _halved(input_shape: Shape, h: int, w: int) -> tuple[int, int]:
    """The planes behind a 2x2 pool."""
    if min(h, w) < 2:
        raise LipbenchError(f"too many pools of 2x2 for inputs of {input_shape[1]}x{input_shape[2]}")
    return h // 2, w // 2


def _even(kind: str, sizes: Sequence[int]) -> None:
    if any(size < 2 or size % 2 for size in sizes):
        raise LipbenchError(f"{kind} must be even numbers, since GroupSort2 sorts pairs; got {list(sizes)}")
