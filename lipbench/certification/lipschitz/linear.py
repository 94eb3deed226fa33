"""Rules of linear layers: dense, convolutions with each padding of torch and deel-torchlip, transposed convolutions."""

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from deel import torchlip
from deel.torchlip.functional import SymmetricPad
from torch import Tensor, nn
from torch.nn import functional as F

from lipbench.certification.lipschitz.norms import (
    CHEAP,
    COSTLY,
    UNIT_ROUNDOFF,
    dense_norm,
    rounded_up,
    spectral_norm,
    torus_norm,
)
from lipbench.certification.lipschitz.rules import Effect, Flow, Rounding, Shape, constants_rounded, rule
from lipbench.errors import UnsupportedError

# --- dense layers ----------------------------------------------------------------------------------------------------


@rule(nn.Linear, torchlip.SpectralLinear, torchlip.FrobeniusLinear)
def _linear_layer(layer: nn.Linear, input_shape: Shape) -> Effect:
    return _linear(Flow(input_shape), layer.weight, layer.bias)


@rule(F.linear)
def _linear(input: Flow, weight: Tensor, bias: Tensor | None = None) -> Effect:
    constant(weight, bias)
    if not input.shape:  # torch then multiplies the batch
        raise UnsupportedError("a matrix product along the batch dimension makes samples depend on each other")
    positions = math.prod(input.shape[:-1])  # the layer acts on the last dimension
    matrix = weight.detach().double().reshape(-1, weight.shape[-1])  # a vector is one row
    shift = None if bias is None else bias.detach().double()
    return Effect(
        (spectral_norm(matrix),),
        affine_rounding(
            terms=matrix.shape[1],
            outputs=matrix.shape[0] * positions,
            gain=spectral_norm(matrix.abs()),
            bias=shift,
            positions=positions,
            apply=lambda h: F.linear(h, matrix.abs().to(h.device), None if shift is None else shift.abs().to(h.device)),
        ),
    )


@rule(operator.matmul, torch.matmul, torch.mm, "matmul", "mm")
def _matmul(input: Any, other: Any = None, mat2: Any = None) -> Effect:
    matrix = mat2 if other is None else other
    if not isinstance(input, Flow) or not isinstance(matrix, Tensor) or matrix.ndim > 2:
        raise UnsupportedError("no Lipschitz rule for a matrix product but x @ constant matrix")
    return _linear(input, matrix if matrix.ndim == 1 else matrix.T)


def constant(*values: Any) -> None:
    """Raise UnsupportedError if a weight depends on the network's input."""
    if any(isinstance(value, Flow) for value in values):
        raise UnsupportedError("no Lipschitz rule for a product of two tensors that both depend on the input")


def affine_rounding(
    *,
    terms: int,
    outputs: int,
    gain: float,
    bias: Tensor | None,
    positions: int,
    apply: Callable[[Tensor], Tensor],
) -> Rounding:
    """Rounding of W h + b: sums of ``terms`` products and the bias.

    gain: bound of the norm of |W|; bias: float64 (channels,) used at ``positions`` places; apply: h to |W| h + |b|.
    """
    offset = 0.0 if bias is None else rounded_up(bias.norm().item() * math.sqrt(positions), terms)
    return Rounding(
        operations=terms + 1,
        gains=(gain,),
        offset=offset,
        underflows=terms * math.sqrt(outputs),
        magnitude=lambda h: norms(apply(h.abs())),
    )


def norms(values: Tensor) -> Tensor:
    """L2 norms (n,) of float64 (n, ...), rounded up."""
    flat = values.reshape(len(values), -1)
    lost = 2e-154 * math.sqrt(flat.shape[1])  # squares of smaller numbers vanish
    return flat.norm(dim=1) * (1 + 2 * (flat.shape[1] + 10) * 2.0**-53) + lost


# --- convolutions ----------------------------------------------------------------------------------------------------


Sides = tuple[int, int, int, int]  # of a padding: left, right, top, bottom
Pad = Callable[[Tensor], Tensor]  # (n, c, h, w) to the same with its padding


@rule(nn.Conv2d, torchlip.SpectralConv2d, torchlip.FrobeniusConv2d, torchlip.PadConv2d)
def _conv2d_layer(layer: nn.Conv2d, input_shape: Shape) -> Effect:
    stride, dilation = pair(layer.stride), pair(layer.dilation)
    sides = _sides(layer.padding, layer.weight.shape[2:], dilation)
    mode, pad = _layer_padding(layer, sides, tuple(layer._reversed_padding_repeated_twice))
    return convolution(Flow(input_shape), layer.weight, layer.bias, stride, pad, mode, dilation, layer.groups)


@rule(nn.Conv1d, torchlip.SpectralConv1d, torchlip.PadConv1d)
def _conv1d_layer(layer: nn.Conv1d, input_shape: Shape) -> Effect:
    """A convolution of images of height 1."""
    stride, dilation = (1, _single(layer.stride)), (1, _single(layer.dilation))
    sides = _line_sides(layer.padding, layer.weight.shape[2], dilation)
    mode, pad = _layer_padding(layer, sides, (*layer._reversed_padding_repeated_twice, 0, 0))
    weight, flow = layer.weight[:, :, None], _line(Flow(input_shape))
    return _of_lines(convolution(flow, weight, layer.bias, stride, pad, mode, dilation, layer.groups))


def _layer_padding(layer: Any, sides: Sides, repeated: Any) -> tuple[str, Pad]:
    """The mode and the padding of a layer, as its forward takes them. sides: for zeros; repeated: for other modes."""
    symmetric = getattr(layer, "pad", None)
    if isinstance(symmetric, SymmetricPad):
        # with padding 0 along one axis only it repeats that whole axis: its own code tells what it does
        return "symmetric", lambda x: F.pad(symmetric(x), sides)
    if layer.padding_mode == "zeros":
        return "zeros", lambda x: F.pad(x, sides)
    return layer.padding_mode, lambda x: F.pad(x, repeated, mode=layer.padding_mode)


@rule(torch.conv2d, F.conv2d)
def _conv2d(
    input: Flow, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Effect:  # fmt: skip
    constant(weight, bias)
    sides = _sides(padding, weight.shape[2:], pair(dilation))
    return convolution(input, weight, bias, pair(stride), lambda x: F.pad(x, sides), "zeros", pair(dilation), groups)


@rule(torch.conv1d, F.conv1d)
def _conv1d(
    input: Flow, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Effect:  # fmt: skip
    constant(weight, bias)
    spacing = (1, _single(dilation))
    sides = _line_sides(padding, weight.shape[2], spacing)
    image, step = _line(input), (1, _single(stride))
    return _of_lines(
        convolution(image, weight[:, :, None], bias, step, lambda x: F.pad(x, sides), "zeros", spacing, groups)
    )


def _line(input: Flow) -> Flow:
    """A signal (c, l) as an image (c, 1, l)."""
    channels, length = input.planes(1)
    return Flow((channels, 1, length))


def _of_lines(effect: Effect) -> Effect:
    """The effect of a layer of images (n, c, 1, l) as one of signals (n, c, l)."""
    rounding = effect.rounding
    if rounding is None or rounding.magnitude is None:
        return effect
    magnitude = rounding.magnitude
    return replace(effect, rounding=replace(rounding, magnitude=lambda h: magnitude(h[:, :, None])))


def pair(value: Any) -> tuple[int, int]:
    """An int or a sequence as (height, width)."""
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[-1]))


def _single(value: Any) -> int:
    return int(value) if isinstance(value, int) else int(value[0])


def _sides(padding: Any, kernel: Sequence[int], dilation: tuple[int, int]) -> Sides:
    """A padding of zeros as torch takes it: numbers, "valid" or "same"."""
    if padding == "valid":
        return (0, 0, 0, 0)
    if padding == "same":
        total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        return (total[1] // 2, total[1] - total[1] // 2, total[0] // 2, total[0] - total[0] // 2)
    height, width = pair(padding)
    return (width, width, height, height)


def _line_sides(padding: Any, kernel: int, dilation: tuple[int, int]) -> Sides:
    return _sides(padding if isinstance(padding, str) else (0, _single(padding)), (1, kernel), dilation)


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
    places = pad(torch.arange(1, 1 + math.prod(shape[1:]), dtype=torch.float64).view(1, 1, *shape[1:]))
    copies = int(torch.bincount(places.flatten().long())[1:].max())  # of one number in the padded input; 0 is a zero
    widest = 1.0 if copies == 1 else rounded_up(math.sqrt(copies))
    out = apply(torch.zeros(1, *shape, dtype=torch.float64), kernel.cpu())
    # Perron and Frobenius: no Fourier block of |W| is larger than the one at frequency 0, the sum over the taps
    at_zero = max(_at_frequency_zero(part.abs(), stride, dilation) for part in kernel.chunk(groups))
    gain = rounded_up(at_zero * widest)
    padded = tuple(places.shape[2:])
    on_torus = _circular_norm(kernel, shape, padded, stride, dilation, groups) if mode == "circular" else None
    limit = CHEAP if mode == "zeros" or on_torus is not None else COSTLY  # a torus is then nearly as good
    norm = dense_norm(lambda h: apply(h, kernel.cpu()), shape, error=_tap_sums(kernel, gain), limit=limit)
    if norm is None:
        norm = on_torus
    if norm is None:
        norm = rounded_up(_padded_norm(kernel, padded, stride, dilation, groups) * widest)
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


def _tap_sums(kernel: Tensor, gain: float) -> float:
    """What a dense matrix rounds: an entry is a sum of taps where a number comes several times."""
    return rounded_up(2 * math.prod(kernel.shape[2:]) * UNIT_ROUNDOFF * gain)


def _padded_norm(
    kernel: Tensor, padded: tuple[int, ...], stride: tuple[int, int], dilation: tuple[int, int], groups: int
) -> float:
    """The norm on a torus that holds the padded input.

    A convolution of the padded input is the circular one restricted to some of its outputs (and, for zeros, to inputs
    that vanish on the padding), so its norm is not larger. Where a number comes c times, the padding's norm is sqrt(c).
    """
    torus = (-(-padded[0] // stride[0]) * stride[0], -(-padded[1] // stride[1]) * stride[1])
    return max(torus_norm(part, torus, stride, dilation) for part in kernel.chunk(groups))


def _circular_norm(
    kernel: Tensor, shape: Shape, padded: tuple[int, ...], stride: tuple[int, int], dilation: tuple[int, int],
    groups: int,
) -> float | None:  # fmt: skip
    """The norm on the input's own torus; None where an output of that convolution would come more than once."""
    for size, full, step, spacing, taps in zip(shape[1:], padded, stride, dilation, kernel.shape[2:], strict=True):
        if size % step or (full - spacing * (taps - 1) - 1) // step + 1 > size // step:
            return None
    return max(torus_norm(part, (shape[1], shape[2]), stride, dilation) for part in kernel.chunk(groups))


def _at_frequency_zero(weight: Tensor, stride: tuple[int, int], dilation: tuple[int, int]) -> float:
    """Norm of a kernel >= 0 (out, in, kh, kw) as a convolution on any torus: its taps summed, phase by phase."""
    phases: dict[tuple[int, int], Tensor] = {}
    for i in range(weight.shape[2]):
        for j in range(weight.shape[3]):
            phase = (i * dilation[0] % stride[0], j * dilation[1] % stride[1])
            phases[phase] = phases.get(phase, 0) + weight[:, :, i, j]
    return rounded_up(spectral_norm(torch.cat(list(phases.values()), dim=1)), math.prod(weight.shape[2:]))


# --- transposed convolutions -----------------------------------------------------------------------------------------


@rule(nn.ConvTranspose2d, torchlip.SpectralConvTranspose2d)
def _conv_transpose2d_layer(layer: nn.ConvTranspose2d, input_shape: Shape) -> Effect:
    return _conv_transpose2d(
        Flow(input_shape), layer.weight, layer.bias, layer.stride, layer.padding, layer.output_padding, layer.groups,
        layer.dilation,
    )  # fmt: skip


@rule(nn.ConvTranspose1d)
def _conv_transpose1d_layer(layer: nn.ConvTranspose1d, input_shape: Shape) -> Effect:
    return _conv_transpose1d(
        Flow(input_shape), layer.weight, layer.bias, layer.stride, layer.padding, layer.output_padding, layer.groups,
        layer.dilation,
    )  # fmt: skip


@rule(torch.conv_transpose1d, F.conv_transpose1d)
def _conv_transpose1d(
    input: Flow, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
    groups: int = 1, dilation: Any = 1,
) -> Effect:  # fmt: skip
    constant(weight, bias)
    return _of_lines(
        _conv_transpose2d(
            _line(input), weight[:, :, None], bias, (1, _single(stride)), (0, _single(padding)),
            (0, _single(output_padding)), groups, (1, _single(dilation)),
        )
    )  # fmt: skip


@rule(torch.conv_transpose2d, F.conv_transpose2d)
def _conv_transpose2d(
    input: Flow, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
    groups: int = 1, dilation: Any = 1,
) -> Effect:  # fmt: skip
    """The transpose of a zero-padded convolution from its outputs to its inputs, which has the same norm."""
    constant(weight, bias)
    stride, padding, output_padding, dilation = pair(stride), pair(padding), pair(output_padding), pair(dilation)
    kernel, shift = weight.detach().double(), None if bias is None else bias.detach().double()

    def apply(h: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        moved = None if bias is None else bias.to(h.device)
        return F.conv_transpose2d(h, weight.to(h.device), moved, stride, padding, output_padding, groups, dilation)

    shape = input.planes()
    out = apply(torch.zeros(1, *shape, dtype=torch.float64), kernel.cpu()).shape[1:]
    # the full output, before the padding is cut off it
    full = tuple(
        max((size - 1) * s + d * (k - 1) + 1, o + 2 * p)
        for size, s, d, k, o, p in zip(shape[1:], stride, dilation, kernel.shape[2:], out[1:], padding, strict=True)
    )
    gain = max(_at_frequency_zero(part.abs(), stride, dilation) for part in kernel.chunk(groups))
    norm = dense_norm(lambda h: apply(h, kernel.cpu()), shape, error=_tap_sums(kernel, gain), limit=CHEAP)
    return Effect(
        (_padded_norm(kernel, full, stride, dilation, groups) if norm is None else norm,),
        affine_rounding(
            terms=math.prod(kernel.shape[2:]) * kernel.shape[0] // groups,
            outputs=math.prod(out),
            gain=gain,
            bias=shift,
            positions=math.prod(out[1:]),
            apply=lambda h: apply(h, kernel.abs(), None if shift is None else shift.abs()),
        ),
    )


@rule(F.pad)
def _pad(input: Flow, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Effect:
    """Constant padding adds constants; the others repeat numbers. Not of the batch."""
    if len(pad) > 2 * len(input.shape):
        raise UnsupportedError("a padding of the batch dimension makes no sense per sample")
    if mode == "constant":
        padded = F.pad(torch.empty(1, *input.shape, device="meta"), list(pad)).numel()
        return Effect((1.0,), constants_rounded(padded, value))
    places = torch.arange(math.prod(input.shape), dtype=torch.float64).view(1, *input.shape)
    counts = torch.bincount(F.pad(places, list(pad), mode=mode).flatten().long())
    return Effect((rounded_up(math.sqrt(int(counts.max()))),), Rounding())
