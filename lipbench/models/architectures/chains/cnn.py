"""Convolutions with a pool after each."""

from collections.abc import Sequence

from torch import nn

from lipbench.models.architectures.layers import Layers
from lipbench.models.architectures.parts import Chain, Shape, convolution, dense, halved, planes, pool_layer, refuse_odd


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
    refuse_odd("channels", channels)
    c, h, w = planes(input_shape)
    chain: Chain = []
    for size in channels:
        chain += [*convolution(layers, c, size, padding, batch_norm), pool_layer(layers, pool, 2)]
        c, h, w = size, *halved(input_shape, h, w)
    return [*chain, nn.Flatten(), *dense(layers, c * h * w, widths, num_classes, batch_norm)]
