"""Rules of the libraries' residual blocks."""

import math
from typing import Any

import torch
from deel import torchlip
from torch import nn
from torch.nn import functional as F

from lipbench.certification.lipschitz.effects import Effect, Flow, Rounding, Shape, is_moderate
from lipbench.certification.lipschitz.norms import rounded_up, spectral_norm
from lipbench.certification.lipschitz.rules.convolutions import convolution
from lipbench.certification.lipschitz.table import rule
from lipbench.errors import LipbenchError, UnsupportedError
from lipbench.models.architectures import ConvexCombination


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
