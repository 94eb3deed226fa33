"""Rules of activations. A constant with a decimal expansion is rounded up; the tests maximise each derivative."""

import math
import operator
from typing import Any

import torch
from deel import torchlip
from torch import Tensor, nn
from torch.nn import functional as F

from lipbench.certification.lipschitz.effects import (
    EXACT,
    Effect,
    Flow,
    Rounding,
    Shape,
    broadcast,
    constants_rounded,
    repeats,
    side_by_side,
)
from lipbench.certification.lipschitz.norms import rounded_up
from lipbench.certification.lipschitz.table import rule
from lipbench.errors import LipbenchError, UnsupportedError
from lipbench.models.fast_layers import SortPairs

# --- exact: comparing, choosing, changing signs ----------------------------------------------------------------------

_CHOOSING = Effect((1.0,), EXACT)


@rule(
    nn.ReLU, nn.ReLU6, SortPairs, "orthogonium.layers.custom_activations.Abs",
    "orthogonium.layers.custom_activations.MaxMin",
)  # fmt: skip
def _choosing(layer: nn.Module, input_shape: Shape) -> Effect:
    """Sorting does not increase distances (rearrangement inequality): Anil, Lucas, Grosse, ICML 2019, section 4.1."""
    return _CHOOSING


@rule(
    F.relu, F.relu_, torch.relu, torch.relu_, "relu", "relu_", F.relu6, torch.abs, "abs", "abs_", torch.neg, "neg",
    operator.abs, operator.neg,
)  # fmt: skip
@rule(torch.positive, operator.pos, may_return_its_input=True)
def _choosing_function(input: Flow, inplace: bool = False) -> Effect:
    return _CHOOSING


@rule(torch.sort, "sort")
def _sort_function(input: Flow, dim: int = -1, descending: bool = False, stable: bool = False) -> Effect:
    input.dim(dim)
    return _CHOOSING


@rule(nn.Hardtanh)
def _hardtanh(layer: nn.Hardtanh, input_shape: Shape) -> Effect:
    return Effect((1.0,), constants_rounded(math.prod(input_shape), layer.min_val, layer.max_val))


@rule(
    F.hardtanh,
    torch.clamp,
    torch.clip,
    "clamp",
    "clamp_",
    "clip",
    torch.clamp_min,
    torch.clamp_max,
    "clamp_min",
    "clamp_max",
)
def _clamp(
    input: Flow, min: Any = None, max: Any = None, *, min_val: Any = None, max_val: Any = None, inplace: bool = False
) -> Effect:
    bounds = (min, max, min_val, max_val)
    if any(isinstance(bound, Flow) for bound in bounds):
        raise UnsupportedError("no Lipschitz rule for clamp with bounds that depend on the input")
    out = broadcast(input, *bounds)
    return Effect((repeats(input, out),), constants_rounded(math.prod(out), *bounds))


@rule(torchlip.GroupSort, torchlip.GroupSort2, torchlip.FullSort, torchlip.MaxMin)
def _torchlip_sort(layer: Any, input_shape: Shape) -> Effect:
    """Sorting, or (max(x, 0), max(-x, 0)), which keeps distances or shrinks them; times a coefficient."""
    coefficient = abs(float(layer._coefficient_lip))
    return _CHOOSING if coefficient == 1 else _multiplied(coefficient, (2, *input_shape))


@rule(
    torch.maximum,
    torch.minimum,
    torch.max,
    torch.min,
    torch.fmax,
    torch.fmin,
    "max",
    "min",
    "maximum",
    "minimum",
    torch.amax,
    torch.amin,
    "amax",
    "amin",
)
def _larger(input: Any, other: Any = None, dim: Any = None, keepdim: bool = False) -> Effect:
    """Of two tensors: |max(a, b) - max(c, d)|^2 <= |a - c|^2 + |b - d|^2. Along a dimension: chooses one number."""
    if isinstance(other, Flow | Tensor):
        out = broadcast(input, other)
        return side_by_side(tuple(repeats(value, out) for value in (input, other) if isinstance(value, Flow)))
    along = dim if other is None else other
    if along is None:
        raise UnsupportedError("a maximum over the whole batch makes samples depend on each other")
    for one in (along,) if isinstance(along, int) else along:
        input.dim(one)
    return _CHOOSING


# --- scaled ----------------------------------------------------------------------------------------------------------


def _multiplied(constant: float, shape: Shape, operations: int = 2) -> Effect:
    """Numbers times constants up to ``constant``, which are rounded to the dtype themselves."""
    return Effect((constant,), Rounding(operations, (constant,), underflows=2 * math.sqrt(math.prod(shape))))


@rule(nn.LeakyReLU)
def _leaky_relu(layer: nn.LeakyReLU, input_shape: Shape) -> Effect:
    return _multiplied(max(1.0, abs(layer.negative_slope)), input_shape)


@rule(F.leaky_relu, F.leaky_relu_)
def _leaky_relu_function(input: Flow, negative_slope: float = 0.01, inplace: bool = False) -> Effect:
    return _multiplied(max(1.0, abs(negative_slope)), input.shape)


@rule(nn.RReLU)
def _rrelu(layer: nn.RReLU, input_shape: Shape) -> Effect:
    return _multiplied(max(1.0, abs(layer.lower + layer.upper) / 2), input_shape, 4)


@rule(nn.PReLU)
def _prelu(layer: nn.PReLU, input_shape: Shape) -> Effect:
    return _multiplied(max(1.0, layer.weight.detach().double().abs().max().item()), input_shape)


@rule(torchlip.LPReLU)
def _lprelu(layer: Any, input_shape: Shape) -> Effect:
    limit = float(layer._coefficient_lip)
    return _multiplied(max(1.0, layer.weight.detach().double().clamp(-limit, limit).abs().max().item()), input_shape)


@rule(torchlip.HouseHolder, "orthogonium.layers.custom_activations.HouseHolder")
def _householder(layer: Any, input_shape: Shape) -> float:
    """The identity on one side of a line, the reflection at that line on the other: Singla, Singla, Feizi, ICLR 2022.

    orthogonium's divides by sqrt(2), and its angles are of shape (1, c, 1, 1).
    """
    if layer.theta.numel() not in (1, input_shape[0] // 2):
        raise LipbenchError(f"HouseHolder has {layer.theta.numel()} angles for inputs of shape {input_shape}")
    return 1.0 if isinstance(layer, torchlip.HouseHolder) else rounded_up(1 / math.sqrt(2))


# --- smooth: the largest slope ---------------------------------------------------------------------------------------

_SLOPES = {
    nn.Sigmoid: 0.25,
    nn.Tanh: 1.0,
    nn.Tanhshrink: 1.0,
    nn.LogSigmoid: 1.0,
    nn.Softsign: 1.0,
    nn.Softshrink: 1.0,
    nn.SELU: 1.7580993408473766 + 1e-15,  # scale * alpha, the slope at 0 from the left
    nn.SiLU: 1.09983932012887,
    nn.Mish: 1.08849816125173,
    nn.Hardsigmoid: 1 / 6 + 1e-16,
    nn.Hardswish: 1.5,
}
_FUNCTIONS = {
    nn.Sigmoid: (torch.sigmoid, F.sigmoid, "sigmoid"),
    nn.Tanh: (torch.tanh, F.tanh, "tanh"),
    nn.SiLU: (F.silu,),
    nn.Mish: (F.mish,),
    nn.Softsign: (F.softsign,),
    nn.SELU: (F.selu, torch.selu),
    nn.Hardsigmoid: (F.hardsigmoid,),
    nn.Hardswish: (F.hardswish,),
}
for _kind, _slope in _SLOPES.items():
    rule(_kind)(lambda layer, input_shape, slope=_slope: slope)
    rule(*_FUNCTIONS.get(_kind, ()))(lambda input, inplace=False, slope=_slope: slope)
_GELU = {"none": 1.12890414518516, "tanh": 1.12899306865878}  # at sqrt(2): Phi + x phi; and at 1.4185 for tanh


@rule(nn.GELU)
def _gelu(layer: nn.GELU, input_shape: Shape) -> float:
    return _GELU[layer.approximate]


@rule(F.gelu)
def _gelu_function(input: Flow, approximate: str = "none") -> float:
    return _GELU[approximate]


@rule(nn.ELU)
def _elu(layer: nn.ELU, input_shape: Shape) -> float:
    return max(1.0, abs(layer.alpha))


@rule(F.elu)
def _elu_function(input: Flow, alpha: float = 1.0, inplace: bool = False) -> float:
    return max(1.0, abs(alpha))


@rule(nn.CELU)
def _celu(layer: nn.CELU, input_shape: Shape) -> float:
    return _celu_function(Flow(input_shape), layer.alpha)


@rule(F.celu, torch.celu)
def _celu_function(input: Flow, alpha: float = 1.0, inplace: bool = False) -> float:
    """Below 0 the slope is exp(x / alpha)."""
    if not alpha > 0:
        raise UnsupportedError(f"CELU with alpha={alpha} has no Lipschitz constant: alpha must be above 0")
    return 1.0


@rule("orthogonium.layers.custom_activations.SoftHuber")
def _soft_huber(layer: Any, input_shape: Shape) -> float:
    """delta (sqrt(1 + (z / delta)^2) - 1): its slope is below 1."""
    return 1.0
