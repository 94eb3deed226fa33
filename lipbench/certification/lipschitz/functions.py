"""Rules of functions and operators between tensors, and of the libraries' residual blocks."""

import math
import operator
from collections.abc import Sequence
from typing import Any

import torch
from deel import torchlip
from torch import Tensor, nn
from torch.nn import functional as F

from lipbench.certification.lipschitz.linear import constant, convolution
from lipbench.certification.lipschitz.norms import rounded_up, spectral_norm
from lipbench.certification.lipschitz.rules import (
    EXACT,
    Effect,
    Flow,
    Rounding,
    Shape,
    broadcast,
    is_moderate,
    repeats,
    rule,
)
from lipbench.certification.lipschitz.selections import selects
from lipbench.errors import LipbenchError, UnsupportedError
from lipbench.models.architectures import ConvexCombination

selects(
    torchlip.InvertibleDownSampling, torchlip.InvertibleUpSampling,
    "orthogonium.layers.channel_shuffle.ChannelShuffle",
)  # fmt: skip

# --- sums ------------------------------------------------------------------------------------------------------------


@rule(operator.add, operator.iadd, torch.add, "add", "add_")
def _add(input: Any, other: Any, alpha: float = 1) -> Effect:
    """a + alpha b; where one is broadcast, its numbers are repeated."""
    return _weighted([input, other], [1.0, float(alpha)], broadcast(input, other))


@rule(operator.sub, operator.isub, torch.sub, torch.subtract, "sub", "sub_", "subtract")
def _sub(input: Any, other: Any, alpha: float = 1) -> Effect:
    return _weighted([input, other], [1.0, float(alpha)], broadcast(input, other))


@rule(torch.rsub, "rsub")
def _rsub(input: Any, other: Any, alpha: float = 1) -> Effect:
    return _weighted([input, other], [float(alpha), 1.0], broadcast(input, other))


@rule(torch.lerp, "lerp")
def _lerp(input: Any, end: Any, weight: Any) -> Effect:
    """(1 - w) a + w b."""
    constant(weight)
    w = _held(weight)
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
            held = _held(value)
            offset += rounded_up(held.norm().item() * factor, held.numel() + 10)
    rounding = Rounding(3, tuple(factors), offset, 2 * math.sqrt(math.prod(out)))
    return Effect(tuple(factors), rounding if is_moderate(torch.tensor(weights)) else None)


def _held(value: Any) -> Tensor:
    """A constant, a tensor or a number, in float64."""
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
    held = _held(factor)
    out = broadcast(flow, held)
    largest = rounded_up(size(held) * repeats(flow, out))
    if not math.isfinite(largest):
        raise UnsupportedError("a division by 0 has no Lipschitz constant")
    # rounded to the arithmetic, as a reciprocal or not
    rounding = Rounding(4, (largest,), 0.0, 2 * math.sqrt(math.prod(out)))
    return Effect((largest,), rounding if is_moderate(held) else None)


# --- side by side ----------------------------------------------------------------------------------------------------


@rule(torch.cat, torch.concat, torch.concatenate)
def _cat(tensors: Sequence[Any], dim: int = 0) -> Effect:
    """The squares add up; parts of one tensor that share no number keep its constant (see ``graph``)."""
    flows = [tensor for tensor in tensors if isinstance(tensor, Flow)]
    flows[0].dim(dim)
    return Effect((1.0,) * len(flows), Rounding(0, (0.0,) * len(flows)), stacked=True)


@rule(torch.stack)
def _stack(tensors: Sequence[Any], dim: int = 0) -> Effect:
    """Along a new dimension."""
    flows = [tensor for tensor in tensors if isinstance(tensor, Flow)]
    Flow((*flows[0].shape, len(tensors))).dim(dim)
    return Effect((1.0,) * len(flows), Rounding(0, (0.0,) * len(flows)), stacked=True)


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


@rule(F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout)
def _dropout(input: Flow, p: float = 0.5, training: bool = True, inplace: bool = False) -> Effect:
    if training:
        raise UnsupportedError("dropout is active: give it training=self.training and put the network in eval mode")
    return Effect((1.0,), EXACT)


@rule("detach")
def _detach(input: Flow) -> Effect:
    return Effect((1.0,), EXACT)


@rule("float", "double", "to", "type_as")
def _cast(input: Any, *args: Any, **kwargs: Any) -> float:
    """The same numbers; how they are rounded is not known here."""
    constant(*args, *kwargs.values())
    return 1.0


# --- residual blocks -------------------------------------------------------------------------------------------------


@rule(torchlip.LipResidual)
def _lip_residual(layer: Any, first: Shape, second: Shape) -> Effect:
    """a x + (1 - a) y with a = sigmoid(alpha): a convex combination."""
    if first != second:
        raise LipbenchError(f"LipResidual needs two inputs of one shape, got {first} and {second}")
    weight = torch.sigmoid(layer.alpha.detach().double()).item()
    return Effect((rounded_up(weight), rounded_up(1 - weight, 4 + int(4 * weight / max(1e-300, 1 - weight)))))


@rule(ConvexCombination)
def _convex_combination(layer: ConvexCombination, first: Shape, second: Shape) -> Effect:
    """w x + (1 - w) y, each term after three roundings: of 1 - w, of the product, of the sum."""
    if first != second:
        raise LipbenchError(f"ConvexCombination needs two inputs of one shape, got {first} and {second}")
    weight = layer.weight.detach().double()
    factors = (abs(weight.item()), rounded_up(abs(1 - weight.item())))
    rounding = Rounding(3, factors, 0.0, 3 * math.sqrt(math.prod(first)))
    return Effect(factors, rounding if is_moderate(weight) else None)


@rule("orthogonium.layers.conv.SLL.sll_layer.SDPBasedLipschitzResBlock")
def _sll_block(layer: Any, input_shape: Shape) -> float:
    """x - 2 K^T relu(K x + b)."""
    _needs_relu(layer)
    effect = convolution(
        Flow(input_shape), layer.kernel, None, (1, 1), lambda x: F.pad(x, (layer.padding,) * 4), "zeros", (1, 1),
        layer.groups,
    )  # fmt: skip
    return _sll(effect.lipschitz[0])


@rule("orthogonium.layers.conv.SLL.sll_layer.SDPBasedLipschitzDense")
def _sll_dense(layer: Any, input_shape: Shape) -> float:
    """x - 2 W^T T relu(W x + b), T >= 0 diagonal: K = T^(1/2) W."""
    _needs_relu(layer)
    scale = layer.compute_t().detach().double()
    return _sll(spectral_norm(scale.sqrt()[:, None] * layer.weight.detach().double()))


def _needs_relu(layer: Any) -> None:
    if type(layer.activation) is not nn.ReLU:
        raise UnsupportedError(f"no Lipschitz rule for {type(layer).__name__} with another activation than ReLU")


def _sll(norm: float) -> float:
    """relu's slopes D lie in [0, 1], so that 0 <= K^T D K <= |K|^2 and I - 2 K^T D K lies between 1 - 2 |K|^2 and 1
    (Araujo, Havens, Delattre, Allauzen, Hu, ICLR 2023, arXiv 2303.03169, theorem 3).
    """
    return max(1.0, rounded_up(2 * norm**2, 4) - 1)
