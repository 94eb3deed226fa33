"""Rules of dense layers and of products with constant matrices."""

import math
import operator
from typing import Any

import torch
from deel import torchlip
from torch import Tensor, nn
from torch.nn import functional as F

from lipbench.certification.lipschitz.affine import affine_rounding, refuse_flows
from lipbench.certification.lipschitz.effects import Effect, Flow, Shape
from lipbench.certification.lipschitz.norms import spectral_norm
from lipbench.certification.lipschitz.table import rule
from lipbench.errors import UnsupportedError


@rule(nn.Linear, torchlip.SpectralLinear, torchlip.FrobeniusLinear)
def _linear_layer(layer: nn.Linear, input_shape: Shape) -> Effect:
    return _linear(Flow(input_shape), layer.weight, layer.bias)


@rule(F.linear)
def _linear(input: Flow, weight: Tensor, bias: Tensor | None = None) -> Effect:
    refuse_flows(weight, bias)
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
