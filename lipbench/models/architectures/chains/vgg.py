"""Blocks of convolutions with a pool between them."""

from collections.abc import Sequence

from torch import nn

from lipbench.models.architectures.layers import Layers
from lipbench.models.architectures.parts import Chain, Shape, convolution, dense, halved, planes, pool_layer, refuse_odd


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
    c, h, w = planes(input_shape)
    chain: Chain = []
    for number, block in enumerate(blocks):
        refuse_odd("channels of a block", block)
        if number:
            chain.append(pool_layer(layers, pool, 2))
            h, w = halved(input_shape, h, w)
        for size in block:
            chain += convolution(layers, c, size, padding, batch_norm)
            c = size
    return [*chain, pool_layer(layers, pool, (h, w)), nn.Flatten(), *dense(layers, c, widths, num_classes, batch_norm)]
