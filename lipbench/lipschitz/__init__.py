"""Upper bounds of Lipschitz constants (L2 to L2), from the weights as they are stored, in float64.

graph.py          a network as steps, and the bound of the whole
freezing.py       its weights as plain tensors        tracing.py    its torch.fx graph
agreement.py      whether network, copies and graph compute the same
state.py          what moves while a network runs     batch.py      what depends on the number of samples
calls.py          calls, bound to the signatures of functions and rules
rules.py          the table of rules, and what a rule gives
linear.py  activations.py  pools.py  normalization.py  functions.py      the rules
selections.py     steps that only move numbers: they are run on the numbers' places
norms.py          norms of matrices and convolutions, rounded up; cache.py keeps them on disk
"""

import operator
from collections.abc import Sequence

from torch import nn

from lipbench.errors import LipbenchError
from lipbench.lipschitz import activations, functions, linear, normalization, pools  # noqa: F401  they register
from lipbench.lipschitz.freezing import frozen
from lipbench.lipschitz.graph import trace
from lipbench.lipschitz.rules import Effect, Flow, Rounding, layer_effect, rule
from lipbench.lipschitz.selections import selects

__all__ = ["Effect", "Flow", "Rounding", "frozen", "layer_effect", "lipschitz_bound", "rule", "selects", "trace"]


def lipschitz_bound(module: nn.Module, input_shape: Sequence[int]) -> float:
    """An upper bound of the L2 Lipschitz constant of a network that ``torch.fx`` can trace, in eval mode.

    module: any network of layers and functions with rules; parametrised layers (deel-torchlip, orthogonium) go in as
    they are. input_shape: one input, without the batch, such as (1, 28, 28). Along a chain bounds multiply, over a sum
    they add up, side by side their squares do; everything is rounded up. Raises UnsupportedError for what has no rule
    or cannot be traced, LipbenchError for weights that are not finite or inputs that do not fit.
    """
    try:
        shape = tuple(operator.index(size) for size in input_shape)
        if any(isinstance(size, bool) for size in input_shape):
            raise TypeError("a size is a whole number")
    except TypeError as error:
        raise LipbenchError(f"expected the shape of one input, such as (1, 28, 28), got {input_shape!r}") from error
    return trace(module, shape).output.lipschitz
