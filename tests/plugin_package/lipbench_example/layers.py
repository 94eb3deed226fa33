"""Almost-orthogonal layers (Prach and Lampert 2022, arXiv 2208.03160)."""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from lipbench.models.architectures import CONSTRAINED, Layers


class AlmostOrthogonal(nn.Module):
    """W = P D with D_ii = (sum over j of |P^T P|_ij)^(-1/2): the norm of W is at most 1 (theorem 1). P: (m, n)."""

    def forward(self, weight: Tensor) -> Tensor:
        """weight: (m, n), same shape out."""
        sums = (weight.t() @ weight).abs().sum(dim=1)
        return weight * torch.where(sums > 0, sums, 1.0).rsqrt()

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The stored form of an assigned weight: the weight itself."""
        return weight


def almost_orthogonal_linear(inputs: int, outputs: int) -> nn.Module:
    """A dense layer of norm at most 1, which begins with orthogonal rows or columns."""
    layer = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(layer.weight)
    return parametrize.register_parametrization(layer, "weight", AlmostOrthogonal())


def aol() -> Layers:
    """AOL: almost-orthogonal convolutions of orthogonium, and dense layers of the same kind."""
    from orthogonium.layers.conv.AOL import AOLConv2D

    return Layers(
        almost_orthogonal_linear,
        AOLConv2D,
        CONSTRAINED.activation,
        CONSTRAINED.pools,
        CONSTRAINED.shortcut,
        claimed_over_1=1e-6,
    )
