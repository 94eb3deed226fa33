"""Rules of functions and operators: sums, multiples, tensors side by side, means, and functions that change nothing."""

import math
import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lipbench.certification.lipschitz.affine import refuse_flows
from lipbench.certification.lipschitz.effects import (
    EXACT,
    Effect,
    Flow,
    Rounding,
    Shape,
    broadcast,
    is_moderate,
    repeats,
    side_by_side,
)
from lipbench.certification.lipschitz.norms import rounded_up
from lipbench.certification.lipschitz.table import rule
from lipbench.errors import UnsupportedError

# --- sums ------------------------------------------------------------------------------------------------------------


@rule(
    operator.add, operator.iadd, torch.add, "add", "add_",
    operator.sub, operator.isub, torch.sub, torch.subtract, "sub", "sub_", "subtract",
)  # fmt: skip
def _add(input: Any, other: Any, alpha: float = 1) -> Effect:
    """a + alpha b or a - alpha b; where one is broadcast, its numbers are repeated."""
    return _weighted([input, other], [1.0, float(alpha)], broadcast(input, other))


@rule(torch.rsub, "rsub")
def _rsub(input: Any, other: Any, alpha: float = 1) -> Effect:
    return _weighted([input, other], [float(alpha), 1.0], broadcast(input, other))


@rule(torch.lerp, "lerp")
def _lerp(input: Any, end: Any, weight: Any) -> Effect:
    """(1 - w) a + w b."""
    refuse_flows(weight)
    w = _constant(weight)
    effect = _weighted([input, end], [(1 - w).abs().max().item(), w.abs().max().item()], broadcast(input, end, w))
    return Effect(tuple(rounded_up(factor) for factor in effect.lipschitz), None)


def _weighted(values: list[Any], weights: list[float], out: Shape) -> Effect:
    """A weighted sum of tensors and constants, broadcast to ``out``."""
    offset, factors = 0.0, []
    for value, weight in zip(values, weights, strict=True):
        repeated = repeats(value, out)
        factor = abs(weight) if repeated == 1 else rounded_up(abs(weight) * repeated)
        if isinstance(value, Flow):
            factors.append(factor)
        else:
            held = _constant(value)
            offset += rounded_up(held.norm().item() * factor, held.numel() + 10)
    rounding = Rounding(3, tuple(factors), offset, 2 * math.sqrt(math.prod(out)))
    return Effect(tuple(factors), rounding if is_moderate(torch.tensor(weights)) else None)


def _constant(value: Any) -> Tensor:
    """A constant, given as a tensor or a number, in float64."""
    return value.detach().double() if isinstance(value, Tensor) else torch.tensor(float(value), dtype=torch.float64)


# --- multiples -------------------------------------------------------------------------------------------------------


@rule(operator.mul, operator.imul, torch.mul, torch.multiply, "mul", "mul_", "multiply")
def _mul(input: Any, other: Any) -> Effect:
    if isinstance(input, Flow) and isinstance(other, Flow):
        raise UnsupportedError(
            "no Lipschitz rule for a product of two tensors that both depend on the input: it has no global constant"
        )
    flow, factor = (input, other) if isinstance(input, Flow) else (other, input)
    return _multiplied(flow, factor, lambda held: held.abs().max().item())


@rule(
    operator.truediv,
    operator.itruediv,
    torch.div,
    torch.divide,
    torch.true_divide,
    "div",
    "div_",
    "divide",
    "true_divide",
)
def _div(input: Any, other: Any) -> Effect:
    if not isinstance(input, Flow) or isinstance(other, Flow):
        raise UnsupportedError("no Lipschitz rule for a quotient whose divisor depends on the input")
    return _multiplied(input, other, lambda held: 1 / held.abs().min().item() if held.abs().min() > 0 else math.inf)


def _multiplied(flow: Flow, factor: Any, size: Any) -> Effect:
    held = _constant(factor)
    out = broadcast(flow, held)
    largest = rounded_up(size(held) * repeats(flow, out))
    if not math.isfinite(largest):
        raise UnsupportedError("a division by 0 has no Lipschitz constant")
    # rounded to the dtype, as a reciprocal or not
    rounding = Rounding(4, (largest,), 0.0, 2 * math.sqrt(math.prod(out)))
    return Effect((largest,), rounding if is_moderate(held) else None)


# --- side by side ----------------------------------------------------------------------------------------------------


@rule(torch.cat, torch.concat, torch.concatenate)
def _cat(tensors: Sequence[Any], dim: int = 0) -> Effect:
    """The squares add up; disjoint slices of one tensor inherit its constant (see ``steps``)."""
    flows = [tensor for tensor in tensors if isinstance(tensor, Flow)]
    flows[0].dim(dim)
    return side_by_side((1.0,) * len(flows))


@rule(torch.stack)
def _stack(tensors: Sequence[Any], dim: int = 0) -> Effect:
    """Along a new dimension."""
    flows = [tensor for tensor in tensors if isinstance(tensor, Flow)]
    Flow((*flows[0].shape, len(tensors))).dim(dim)
    return side_by_side((1.0,) * len(flows))


# --- means and sums over dimensions ----------------------------------------------------------------------------------


@rule(torch.mean, "mean")
def _mean(input: Flow, dim: Any = None, keepdim: bool = False) -> Effect:
    """The mean of m numbers: 1 / sqrt(m)."""
    count = _reduced(input, dim)
    return _summed(input, count, rounded_up(1 / math.sqrt(count)))


@rule(torch.sum, "sum")
def _sum(input: Flow, dim: Any = None, keepdim: bool = False) -> Effect:
    """The sum of m numbers: sqrt(m)."""
    count = _reduced(input, dim)
    return _summed(input, count, rounded_up(math.sqrt(count)))


def _reduced(input: Flow, dim: Any) -> int:
    if dim is None:
        raise UnsupportedError("a reduction over the whole batch makes samples depend on each other")
    dims = (dim,) if isinstance(dim, int) else tuple(dim)
    return math.prod(input.shape[input.dim(one)] for one in dims)


def _summed(input: Flow, count: int, norm: float) -> Effect:
    outputs = math.prod(input.shape) / max(1, count)
    return Effect((norm,), Rounding(count + 2, (norm,), 0.0, (count + 1) * math.sqrt(outputs)))


# --- nothing happens -------------------------------------------------------------------------------------------------


@rule(F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, may_return_its_input=True)
def _dropout(input: Flow, p: float = 0.5, training: bool = True, inplace: bool = False) -> Effect:
    if training:
        raise UnsupportedError("dropout is active: give it training=self.training and put the network in eval mode")
    return Effect((1.0,), EXACT)


@rule("detach", may_return_its_input=True)
def _detach(input: Flow) -> Effect:
    return Effect((1.0,), EXACT)


@rule("float", "double", "to", "type_as", may_return_its_input=True)
def _cast(input: Any, *args: Any, **kwargs: Any) -> float:
    """The same numbers; their rounding is not known here."""
    refuse_flows(*args, *kwargs.values())
    return 1.0
