"""Dense layers."""

import math
from collections.abc import Sequence

from torch import nn

from lipbench.models.architectures.layers import Layers
from lipbench.models.architectures.parts import Chain, Shape, dense


def mlp(
    layers: Layers,
    input_shape: Shape,
    num_classes: int,
    *,
    widths: Sequence[int] = (128, 64),
    batch_norm: bool = False,
) -> Chain:
    """Dense layers of ``widths`` with an activation after each, then the head; for inputs of any shape."""
    return [nn.Flatten(), *dense(layers, math.prod(input_shape), widths, num_classes, batch_norm)]
