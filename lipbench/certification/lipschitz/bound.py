"""The Lipschitz bound of a whole network."""

import operator
from collections.abc import Sequence

from torch import nn

from lipbench.certification.lipschitz.tracing import trace
from lipbench.errors import LipbenchError, quoted


def lipschitz_bound(module: nn.Module, input_shape: Sequence[int]) -> float:
    """An upper bound of the L2 Lipschitz constant of a network that ``torch.fx`` can trace, in eval mode.

    module: any network of layers and functions with rules, parametrised layers (deel-torchlip, orthogonium) included;
    input_shape: of one input, without the batch, such as (1, 28, 28). Bounds multiply along a chain and add up over a
    sum; side by side, their squares add up. Everything is rounded up. Raises UnsupportedError for a network that has a
    layer or function without a rule, or that cannot be traced; LipbenchError for weights that are not finite, and for
    inputs that do not fit.
    """
    try:
        shape = tuple(operator.index(size) for size in input_shape)
        if any(isinstance(size, bool) for size in input_shape):
            raise TypeError("a size is a whole number")
    except TypeError as error:
        raise LipbenchError(
            f"expected the shape of one input, such as (1, 28, 28), got {quoted(input_shape)}"
        ) from error
    return trace(module, shape).output.lipschitz
