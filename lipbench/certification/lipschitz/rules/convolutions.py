"""Rules of convolutions, with each padding of torch and deel-torchlip. One of signals is one of images of height 1."""

import math
from dataclasses import replace
from typing import Any

import torch
from deel import torchlip
from torch import Tensor, nn
from torch.nn import functional as F

from lipbench.certification.lipschitz.affine import affine_rounding, refuse_flows
from lipbench.certification.lipschitz.effects import Effect, Flow, Shape
from lipbench.certification.lipschitz.kernels import (
    circular_norm,
    norm_of_absolute_kernel,
    padded_norm,
    rounding_of_taps,
)
from lipbench.certification.lipschitz.norms import dense_norm, rounded_up
from lipbench.certification.lipschitz.rules.padding import (
    Pad,
    padding_of,
    sides_of,
    sides_of_line,
    zero_padding,
)
from lipbench.certification.lipschitz.settings import pair, single
from lipbench.certification.lipschitz.table import rule

# --- images ----------------------------------------------------------------------------------------------------------


@rule(nn.Conv2d, torchlip.SpectralConv2d, torchlip.FrobeniusConv2d, torchlip.PadConv2d)
def _conv2d_layer(layer: nn.Conv2d, input_shape: Shape) -> Effect:
    stride, dilation = pair(layer.stride), pair(layer.dilation)
    sides = sides_of(layer.padding, layer.weight.shape[2:], dilation)
    mode, pad = padding_of(layer, sides, tuple(layer._reversed_padding_repeated_twice))
    return convolution(Flow(input_shape), layer.weight, layer.bias, stride, pad, mode, dilation, layer.groups)


@rule(torch.conv2d, F.conv2d)
def _conv2d(
    input: Flow, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Effect:  # fmt: skip
    refuse_flows(weight, bias)
    pad = zero_padding(sides_of(padding, weight.shape[2:], pair(dilation)))
    return convolution(input, weight, bias, pair(stride), pad, "zeros", pair(dilation), groups)


def convolution(
    input: Flow, weight: Tensor, bias: Tensor | None, stride: tuple[int, int], pad: Pad, mode: str,
    dilation: tuple[int, int], groups: int,
) -> Effect:  # fmt: skip
    """The effect of a convolution of inputs (c, h, w); mode: "zeros", "circular", or any other that repeats numbers."""
    kernel = weight.detach().double()
    shift = None if bias is None else bias.detach().double()

    def apply(h: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        moved = None if bias is None else bias.to(h.device)
        return F.conv2d(pad(h), weight.to(h.device), moved, stride, 0, dilation, groups)

    shape = input.planes()
    padded, repeated = _padded(pad, shape)
    out = apply(torch.zeros(1, *shape, dtype=torch.float64), kernel.cpu())
    gain = rounded_up(norm_of_absolute_kernel(kernel, stride, dilation, groups) * repeated)
    on_torus = circular_norm(kernel, shape, padded, stride, dilation, groups) if mode == "circular" else None
    costly = mode != "zeros" and on_torus is None  # else the norm on a torus is nearly as good
    norm = dense_norm(lambda h: apply(h, kernel.cpu()), shape, error=rounding_of_taps(kernel, gain), costly=costly)
    if norm is None:
        norm = on_torus
    if norm is None:
        norm = rounded_up(padded_norm(kernel, padded, stride, dilation, groups) * repeated)
    return Effect(
        (norm,),
        affine_rounding(
            terms=math.prod(kernel.shape[1:]),
            outputs=out.numel(),
            gain=gain,
            bias=shift,
            positions=math.prod(out.shape[2:]),
            apply=lambda h: apply(h, kernel.abs(), None if shift is None else shift.abs()),
        ),
    )


def _padded(pad: Pad, shape: Shape) -> tuple[tuple[int, ...], float]:
    """The (height, width) of the padded input, and the padding's norm: the root of how often it repeats a number."""
    places = pad(torch.arange(1, 1 + math.prod(shape[1:]), dtype=torch.float64).view(1, 1, *shape[1:]))
    copies = int(torch.bincount(places.flatten().long())[1:].max())  # 0 is a zero
    return tuple(places.shape[2:]), 1.0 if copies == 1 else rounded_up(math.sqrt(copies))


# --- signals ---------------------------------------------------------------------------------------------------------


@rule(nn.Conv1d, torchlip.SpectralConv1d, torchlip.PadConv1d)
def _conv1d_layer(layer: nn.Conv1d, input_shape: Shape) -> Effect:
    stride, dilation = (1, single(layer.stride)), (1, single(layer.dilation))
    sides = sides_of_line(layer.padding, layer.weight.shape[2], dilation)
    mode, pad = padding_of(layer, sides, (*layer._reversed_padding_repeated_twice, 0, 0))
    weight, image = layer.weight[:, :, None], as_image(Flow(input_shape))
    return of_signals(convolution(image, weight, layer.bias, stride, pad, mode, dilation, layer.groups))


@rule(torch.conv1d, F.conv1d)
def _conv1d(
    input: Flow, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Effect:  # fmt: skip
    refuse_flows(weight, bias)
    spacing = (1, single(dilation))
    pad = zero_padding(sides_of_line(padding, weight.shape[2], spacing))
    image, step = as_image(input), (1, single(stride))
    return of_signals(convolution(image, weight[:, :, None], bias, step, pad, "zeros", spacing, groups))


def as_image(input: Flow) -> Flow:
    """A signal (c, l) as an image (c, 1, l)."""
    channels, length = input.planes(1)
    return Flow((channels, 1, length))


def of_signals(effect: Effect) -> Effect:
    """The effect of a layer of images (n, c, 1, l) as one of signals (n, c, l)."""
    rounding = effect.rounding
    if rounding is None or rounding.magnitude is None:
        return effect
    magnitude = rounding.magnitude
    return replace(effect, rounding=replace(rounding, magnitude=lambda h: magnitude(h[:, :, None])))
