"""Rules of pools. Averages are a product of two small matrices, one per axis, so that their norm is exact."""

import math
from collections.abc import Callable
from typing import Any

import torch
from deel import torchlip
from torch import Tensor, nn
from torch.nn import functional as F

from lipbench.certification.lipschitz.affine import affine_rounding
from lipbench.certification.lipschitz.effects import EXACT, Effect, Flow, Rounding, Shape
from lipbench.certification.lipschitz.norms import rounded_up, spectral_norm
from lipbench.certification.lipschitz.settings import adaptive_sizes, pair
from lipbench.certification.lipschitz.table import rule
from lipbench.errors import UnsupportedError
from lipbench.models.fast_layers import L2Pool

# --- averages --------------------------------------------------------------------------------------------------------


@rule(nn.AvgPool2d)
def _average_pool_layer(layer: nn.AvgPool2d, input_shape: Shape) -> Effect:
    return _average_pool(
        Flow(input_shape), layer.kernel_size, layer.stride, layer.padding, layer.ceil_mode, layer.count_include_pad,
        layer.divisor_override,
    )  # fmt: skip


@rule(F.avg_pool2d)
def _average_pool(
    input: Flow, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Effect:  # fmt: skip
    """A window's weight is the product of one factor per axis, also where ceil_mode or padding cuts it off."""
    kernel, padding = pair(kernel_size), pair(padding)
    step = pair(stride) if stride else kernel

    def axis(place: int) -> Tensor:
        eye = torch.eye(input.planes()[1 + place], dtype=torch.float64)[:, None, None, :]
        return F.avg_pool2d(
            eye, (1, kernel[place]), (1, step[place]), (0, padding[place]), ceil_mode, count_include_pad,
            None if divisor_override is None else 1,
        )[:, 0, 0]  # fmt: skip

    divisor = 1 if divisor_override is None else abs(divisor_override)
    norm = rounded_up(spectral_norm(axis(0)) * spectral_norm(axis(1)) / divisor, 8)

    def apply(h: Tensor) -> Tensor:
        return F.avg_pool2d(h, kernel, step, padding, ceil_mode, count_include_pad, divisor_override)

    return _average(norm, math.prod(kernel), input.shape, apply)


def _average(norm: float, window: int, shape: Shape, apply: Callable[[Tensor], Tensor]) -> Effect:
    """Weights are positive, so that |W| = W; a sum and a division."""
    outputs = apply(torch.zeros(1, *shape, dtype=torch.float64)).numel()
    return Effect(
        (norm,),
        affine_rounding(terms=window + 1, outputs=outputs, gain=norm, bias=None, positions=1, apply=apply),
    )


@rule(torchlip.ScaledAvgPool2d)
def _scaled_average_pool(layer: torchlip.ScaledAvgPool2d, input_shape: Shape) -> Effect:
    return _scaled(
        _average_pool_layer(layer, input_shape), layer.scalingFactor * layer._coefficient_lip, math.prod(input_shape)
    )


def _scaled(effect: Effect, factor: float, outputs: int) -> Effect:
    """The effect of a layer whose result, of at most ``outputs`` numbers, is multiplied by a rounded constant."""
    factor = rounded_up(abs(factor))
    rounding = effect.rounding
    if rounding is not None:
        magnitude = rounding.magnitude
        rounding = Rounding(
            rounding.operations + 3,
            tuple(rounded_up(gain * factor) for gain in rounding.gains),
            rounded_up(rounding.offset * factor),
            rounding.underflows * (factor + 1) + math.sqrt(outputs),
            None if magnitude is None else lambda h: magnitude(h) * factor * (1 + 2.0**-50),
            rounding.roots * factor,
        )
    return Effect((rounded_up(effect.lipschitz[0] * factor),), rounding)


@rule(nn.AdaptiveAvgPool2d)
def _adaptive_average_layer(layer: nn.AdaptiveAvgPool2d, input_shape: Shape) -> Effect:
    return _adaptive_average(Flow(input_shape), layer.output_size)


@rule(F.adaptive_avg_pool2d)
def _adaptive_average(input: Flow, output_size: Any) -> Effect:
    out = adaptive_sizes(output_size, input.planes()[1:])
    norm = 1.0
    for size, whole in zip(out, input.shape[1:], strict=True):
        eye = torch.eye(whole, dtype=torch.float64)[:, None]
        norm *= spectral_norm(F.adaptive_avg_pool1d(eye, size)[:, 0])
    window = math.prod(-(-whole // size) + 1 for size, whole in zip(out, input.shape[1:], strict=True))
    return _average(rounded_up(norm), window, input.shape, lambda h: F.adaptive_avg_pool2d(h, out))


@rule(torchlip.ScaledAdaptiveAvgPool2d)
def _scaled_adaptive_average(layer: Any, input_shape: Shape) -> Effect:
    factor = math.sqrt(math.prod(input_shape[1:])) * layer._coefficient_lip
    return _scaled(_adaptive_average(Flow(input_shape), layer.output_size), factor, math.prod(input_shape))


# --- L2 norms --------------------------------------------------------------------------------------------------------


@rule(nn.LPPool2d)
def _norm_pool_layer(layer: nn.LPPool2d, input_shape: Shape) -> Effect:
    return _norm_pool(Flow(input_shape), layer.norm_type, layer.kernel_size, layer.stride, layer.ceil_mode)


@rule(F.lp_pool2d)
def _norm_pool(input: Flow, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Effect:
    """sqrt(c_o sum_{i in o} x_i^2) for each window o; c_o > 1 where ceil_mode cuts a window off (torch divides by the
    rest of it and multiplies by the whole). So the squared constant is max_i of the sum of c_o over the o that hold i.
    """
    if norm_type != 2:
        raise UnsupportedError(f"no Lipschitz rule for LPPool2d with norm_type={norm_type}: only 2 has one")
    kernel = pair(kernel_size)
    step = pair(stride) if stride else kernel
    square, widest, outputs = 1.0, 1.0, input.planes()[0]
    for size, k, s in zip(input.shape[1:], kernel, step, strict=True):
        eye = torch.eye(size, dtype=torch.float64)[:, None, None, :]
        weights = k * F.avg_pool2d(eye, (1, k), (1, s), ceil_mode=ceil_mode)[:, 0, 0]
        square *= weights.sum(dim=1).max().item()
        widest *= weights.max().item()
        outputs *= weights.shape[1]
    constant = rounded_up(math.sqrt(square), 16)
    window = math.prod(kernel)
    # relative errors of squares, sum, quotient, product and root; a square below the smallest normal number m may
    # vanish, which changes the root of a window by up to sqrt(window m)
    roots = 2 * math.sqrt(window * widest * outputs)
    return Effect((constant,), Rounding(window + 8, (constant,), roots=roots))


@rule(L2Pool)
def _quick_norm_pool(layer: L2Pool, input_shape: Shape) -> float:
    return _norm_pool(Flow(input_shape), 2, layer.window, layer.stride, layer.ceil_mode).lipschitz[0]


@rule(torchlip.ScaledL2NormPool2d)
def _scaled_norm_pool(layer: torchlip.ScaledL2NormPool2d, input_shape: Shape) -> Effect:
    return _scaled(_norm_pool_layer(layer, input_shape), layer._coefficient_lip, math.prod(input_shape))


@rule(torchlip.ScaledAdaptativeL2NormPool2d)
def _scaled_adaptive_norm_pool(layer: Any, input_shape: Shape) -> Effect:
    return _scaled(
        _norm_pool(Flow(input_shape), 2, tuple(input_shape[1:])), layer._coefficient_lip, math.prod(input_shape)
    )


# --- maxima ----------------------------------------------------------------------------------------------------------


@rule(nn.MaxPool2d)
def _max_pool_layer(layer: nn.MaxPool2d, input_shape: Shape) -> Effect:
    return _max_pool(
        Flow(input_shape), layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.ceil_mode,
        layer.return_indices,
    )  # fmt: skip


@rule(F.max_pool2d, torch.max_pool2d)
def _max_pool(
    input: Flow, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Effect:  # fmt: skip
    """The root of how many windows hold one number: max is 1-Lipschitz in its window, and windows may overlap."""
    kernel, padding, dilation = pair(kernel_size), pair(padding), pair(dilation)
    step = pair(stride) if stride else kernel
    most = 1
    for size, k, s, p, d in zip(input.planes()[1:], kernel, step, padding, dilation, strict=True):
        outputs = F.max_pool2d(torch.zeros(1, 1, 1, size), (1, k), (1, s), (0, p), (1, d), ceil_mode).shape[-1]
        places = torch.arange(outputs)[:, None] * s - p + torch.arange(k) * d
        most *= int(torch.bincount(places[(places >= 0) & (places < size)]).max())
    return Effect((1.0 if most == 1 else rounded_up(math.sqrt(most)),), EXACT)


@rule(nn.AdaptiveMaxPool2d)
def _adaptive_max_pool(layer: nn.AdaptiveMaxPool2d, input_shape: Shape) -> Effect:
    return _adaptive_max(Flow(input_shape), layer.output_size)


@rule(F.adaptive_max_pool2d)
def _adaptive_max(input: Flow, output_size: Any, return_indices: bool = False) -> Effect:
    """Windows of one axis start at floor(i n / m) and end at ceil((i + 1) n / m)."""
    planes = input.planes()[1:]
    most = 1
    for out, whole in zip(adaptive_sizes(output_size, planes), planes, strict=True):
        counts = torch.zeros(whole, dtype=torch.long)
        for i in range(out):
            counts[i * whole // out : -(-(i + 1) * whole // out)] += 1
        most *= int(counts.max())
    return Effect((1.0 if most == 1 else rounded_up(math.sqrt(most)),), EXACT)
