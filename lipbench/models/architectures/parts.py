"""Parts of the chains that architectures are: dense layers, convolutions, pools."""

from collections.abc import Sequence

from torch import nn

from lipbench.errors import LipbenchError, quoted, unknown_name
from lipbench.models.architectures.layers import Layers, Window

Shape = tuple[int, ...]
Chain = list[nn.Module]
PADDINGS = ("zeros", "circular")  # others have operator norms above 1


def planes(input_shape: Shape) -> tuple[int, int, int]:
    """(channels, height, width) of images. Raises LipbenchError for other inputs."""
    if len(input_shape) != 3:
        raise LipbenchError(
            f"its convolutions take images (c, h, w), got inputs of shape {input_shape}: choose another architecture, "
            "such as mlp"
        )
    c, h, w = input_shape
    return c, h, w


def dense(layers: Layers, features: int, widths: Sequence[int], num_classes: int, batch_norm: bool) -> Chain:
    """Dense layers of ``widths`` with an activation after each, then the head."""
    refuse_odd("widths", widths)
    chain: Chain = []
    for width in widths:
        chain += [layers.linear(features, width), *_batch_norm(layers, batch_norm, width, 2), layers.activation()]
        features = width
    return [*chain, layers.linear(features, num_classes)]


def convolution(layers: Layers, inputs: int, outputs: int, padding: str, batch_norm: bool) -> Chain:
    """A 3x3 convolution that keeps the size of the planes, and the activation."""
    if padding not in PADDINGS:
        raise unknown_name("padding", padding, PADDINGS)
    conv = layers.conv(inputs, outputs, 3, padding=1, padding_mode=padding)
    return [conv, *_batch_norm(layers, batch_norm, outputs, 4), layers.activation()]


def _batch_norm(layers: Layers, wanted: bool, channels: int, dimensions: int) -> Chain:
    if not isinstance(wanted, bool):
        raise LipbenchError(f"batch_norm is true or false, got {quoted(wanted)}")
    if not wanted:
        return []
    if layers.batch_norms is None:
        raise LipbenchError(
            "batch_norm = true is for unconstrained twins only (constrained = false): batch norm is not 1-Lipschitz"
        )
    return [layers.batch_norms[dimensions](channels)]


def pool_layer(layers: Layers, pool: str, window: Window) -> nn.Module:
    """The pool of this name; its stride is its window."""
    if pool not in layers.pools:
        raise unknown_name("pool", pool, layers.pools)
    return layers.pools[pool](window)


def halved(input_shape: Shape, h: int, w: int) -> tuple[int, int]:
    """The (height, width) of the planes behind a 2x2 pool. Raises LipbenchError for planes that are too small."""
    if min(h, w) < 2:
        raise LipbenchError(f"too many pools of 2x2 for inputs of {input_shape[1]}x{input_shape[2]}")
    return h // 2, w // 2


def refuse_odd(kind: str, sizes: Sequence[int]) -> None:
    """Raise LipbenchError unless all sizes are even: GroupSort2 sorts pairs."""
    if any(size < 2 or size % 2 for size in sizes):
        raise LipbenchError(f"{kind} must be even numbers, since GroupSort2 sorts pairs; got {list(sizes)}")
