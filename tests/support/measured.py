"""True constants, or what comes close to them from below, found by other means than the bounds."""

import math

import torch
from torch import Tensor, nn

from lipbench.certification.lipschitz import frozen

Shape = tuple[int, ...]


class Forward(nn.Module):
    """A network whose forward is a given function of itself and x; tensors become buffers."""

    def __init__(self, function, **attributes):
        super().__init__()
        self.function = function
        for name, value in attributes.items():
            if isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
                self.register_buffer(name, value)
            else:
                setattr(self, name, value)

    def forward(self, x):
        return self.function(self, x)


def dense_norm(module: nn.Module, shape: Shape) -> float:
    """The norm of an affine map, by SVD of its dense matrix in float64, with the weights as they are served."""
    module = frozen(module).double()
    size = math.prod(shape)
    with torch.no_grad():
        images = module(torch.eye(size, dtype=torch.float64).view(size, *shape))
        origin = module(torch.zeros(1, *shape, dtype=torch.float64))
    return torch.linalg.matrix_norm((images - origin).reshape(size, -1), ord=2).item()


def scaling(factor: float, size: int = 4) -> nn.Linear:
    """A linear layer of a known constant."""
    layer = nn.Linear(size, size, bias=False)
    layer.weight.data = factor * torch.eye(size)
    return layer


def largest_jacobian(module: nn.Module, points: Tensor) -> float:
    """The largest norm of the Jacobian of a network at some points (n, ...): its constant is at least that."""
    module = frozen(module).double().requires_grad_(False)
    largest = 0.0
    for point in points.double():
        x = point[None].requires_grad_()
        rows = []
        # clone: an in-place operation may not change a leaf
        for value in module(x.clone()).flatten():
            (row,) = torch.autograd.grad(value, x, retain_graph=True, allow_unused=True)
            rows.append(torch.zeros_like(x).flatten() if row is None else row.flatten())
        largest = max(largest, torch.linalg.matrix_norm(torch.stack(rows), ord=2).item())
    return largest


def points(shape: Shape, count: int = 5, scale: float = 1.0) -> Tensor:
    """Random points, the same ones for each call."""
    return scale * torch.randn(count, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
