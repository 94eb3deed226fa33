"""Convolutions with residual blocks."""

from collections.abc import Sequence

from torch import nn

from lipbench.models.architectures.layers import Layers, Residual
from lipbench.models.architectures.parts import Chain, Shape, convolution, dense, halved, planes, pool_layer, refuse_odd


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
    refuse_odd("channels", channels)
    c, h, w = planes(input_shape)
    chain: Chain = []
    for number, size in enumerate(channels):
        if number:
            chain.append(pool_layer(layers, pool, 2))
            h, w = halved(input_shape, h, w)
        chain += convolution(layers, c, size, padding, batch_norm)
        for _ in range(blocks):
            first = convolution(layers, size, size, padding, batch_norm)
            second = convolution(layers, size, size, padding, batch_norm)[:-1]
            chain += [Residual(nn.Sequential(*first, *second), layers.shortcut()), layers.activation()]
        c = size
    return [*chain, pool_layer(layers, pool, (h, w)), nn.Flatten(), *dense(layers, c, widths, num_classes, batch_norm)]
