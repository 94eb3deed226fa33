"""Norms of convolutions from their kernels: of padded inputs on a torus, of circular ones, and of |W|."""

import math

import torch
from torch import Tensor

from lipbench.certification.lipschitz.effects import Shape
from lipbench.certification.lipschitz.norms import UNIT_ROUNDOFF, rounded_up, spectral_norm, torus_norm


def rounding_of_taps(kernel: Tensor, gain: float) -> float:
    """The rounding errors of a convolution's dense matrix, in the operator norm; gain: bound of the norm of |W|.

    An entry is a sum of taps where the padding repeats a number.
    """
    return rounded_up(2 * math.prod(kernel.shape[2:]) * UNIT_ROUNDOFF * gain)


def padded_norm(
    kernel: Tensor, padded: tuple[int, ...], stride: tuple[int, int], dilation: tuple[int, int], groups: int
) -> float:
    """The norm on a torus that holds the padded input (height, width).

    A convolution of the padded input is the circular one restricted to some of its outputs (and, for zeros, to inputs
    that vanish on the padding), so its norm is not larger. Where a number comes c times, the padding's norm is sqrt(c).
    """
    torus = (-(-padded[0] // stride[0]) * stride[0], -(-padded[1] // stride[1]) * stride[1])
    return max(torus_norm(part, torus, stride, dilation) for part in kernel.chunk(groups))


def circular_norm(
    kernel: Tensor, shape: Shape, padded: tuple[int, ...], stride: tuple[int, int], dilation: tuple[int, int],
    groups: int,
) -> float | None:  # fmt: skip
    """The norm on the input's own torus; None where an output of that convolution would come more than once."""
    for size, full, step, spacing, taps in zip(shape[1:], padded, stride, dilation, kernel.shape[2:], strict=True):
        if size % step or (full - spacing * (taps - 1) - 1) // step + 1 > size // step:
            return None
    return max(torus_norm(part, (shape[1], shape[2]), stride, dilation) for part in kernel.chunk(groups))


def norm_of_absolute_kernel(kernel: Tensor, stride: tuple[int, int], dilation: tuple[int, int], groups: int) -> float:
    """A bound of the norm of |W|, for a convolution on any torus.

    Perron and Frobenius: no Fourier block of |W| is larger than the one at frequency 0, the sum over the taps.
    """
    return max(_at_frequency_zero(part.abs(), stride, dilation) for part in kernel.chunk(groups))


def _at_frequency_zero(weight: Tensor, stride: tuple[int, int], dilation: tuple[int, int]) -> float:
    """Norm of a kernel >= 0 (out, in, kh, kw) as a convolution on any torus: its taps summed, phase by phase."""
    phases: dict[tuple[int, int], Tensor] = {}
    for i in range(weight.shape[2]):
        for j in range(weight.shape[3]):
            phase = (i * dilation[0] % stride[0], j * dilation[1] % stride[1])
            phases[phase] = phases.get(phase, 0) + weight[:, :, i, j]
    return rounded_up(spectral_norm(torch.cat(list(phases.values()), dim=1)), math.prod(weight.shape[2:]))
