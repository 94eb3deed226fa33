"""Rules of transposed convolutions."""

import math
from typing import Any

import torch
from deel import torchlip
from torch import Tensor, nn
from torch.nn import functional as F

from lipbench.certification.lipschitz.affine import affine_rounding, refuse_flows
from lipbench.certification.lipschitz.effects import Effect, Flow, Shape
from lipbench.certification.lipschitz.kernels import norm_of_absolute_kernel, padded_norm, rounding_of_taps
from lipbench.certification.lipschitz.norms import dense_norm
from lipbench.certification.lipschitz.rules.convolutions import as_image, of_signals
from lipbench.certification.lipschitz.settings import pair, single
from lipbench.certification.lipschitz.table import rule


@rule(nn.ConvTranspose2d, nn.ConvTranspose1d, torchlip.SpectralConvTranspose2d)
def _conv_transpose_layer(layer: nn.ConvTranspose2d | nn.ConvTranspose1d, input_shape: Shape) -> Effect:
    function = _conv_transpose1d if isinstance(layer, nn.ConvTranspose1d) else _conv_transpose2d
    return function(
        Flow(input_shape), layer.weight, layer.bias, layer.stride, layer.padding, layer.output_padding, layer.groups,
        layer.dilation,
    )  # fmt: skip


@rule(torch.conv_transpose1d, F.conv_transpose1d)
def _conv_transpose1d(
    input: Flow, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
    groups: int = 1, dilation: Any = 1,
) -> Effect:  # fmt: skip
    refuse_flows(weight, bias)
    return of_signals(
        _conv_transpose2d(
            as_image(input), weight[:, :, None], bias, (1, single(stride)), (0, single(padding)),
            (0, single(output_padding)), groups, (1, single(dilation)),
        )
    )  # fmt: skip


@rule(torch.conv_transpose2d, F.conv_transpose2d)
def _conv_transpose2d(
    input: Flow, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
    groups: int = 1, dilation: Any = 1,
) -> Effect:  # fmt: skip
    """The transpose of a zero-padded convolution from its outputs to its inputs, which has the same norm."""
    refuse_flows(weight, bias)
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
    gain = norm_of_absolute_kernel(kernel, stride, dilation, groups)
    norm = dense_norm(lambda h: apply(h, kernel.cpu()), shape, error=rounding_of_taps(kernel, gain))
    return Effect(
        (padded_norm(kernel, full, stride, dilation, groups) if norm is None else norm,),
        affine_rounding(
            terms=math.prod(kernel.shape[2:]) * kernel.shape[0] // groups,
            outputs=math.prod(out),
            gain=gain,
            bias=shift,
            positions=math.prod(out[1:]),
            apply=lambda h: apply(h, kernel.abs(), None if shift is None else shift.abs()),
        ),
    )
