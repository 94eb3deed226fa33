"""An architecture with a layer of its own."""

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from lipbench.models.architectures import Layers
from lipbench_example.layers import AlmostOrthogonal


class Reflection(nn.Module):
    """x - 2 W^T relu(W x + b), the convex potential layer (Meunier et al. 2022, arXiv 2110.12690, eq. 8).

    ``weight``: (m, n). The layer is 1-Lipschitz where the norm of the weight is at most 1. x: (batch, n), same out.
    """

    def __init__(self, features: int):
        super().__init__()
        self.weight = nn.Parameter(nn.init.orthogonal_(nn.Linear(features, features).weight.detach()))
        self.bias = nn.Parameter(self.weight.new_zeros(features))
        parametrize.register_parametrization(self, "weight", AlmostOrthogonal())

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, n), same shape out."""
        weight = self.weight
        return x - 2 * F.linear(F.relu(F.linear(x, weight, self.bias)), weight.t())


def reflections(layers: Layers, input_shape, num_classes: int, *, width: int = 32, depth: int = 2) -> list[nn.Module]:
    """A dense layer, ``depth`` convex potential layers of ``width``, and the head."""
    c, h, w = input_shape
    steps = [Reflection(width) for _ in range(depth)]
    return [nn.Flatten(), layers.linear(c * h * w, width), *steps, layers.linear(width, num_classes)]
