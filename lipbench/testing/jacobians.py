"""Lower bounds of the Lipschitz constant of a layer or network: Jacobians and slopes, in float64."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from lipbench.certification.lipschitz import frozen

SCALES = (1.0, 1e-3, 30.0)  # of inputs
SLACK = 1e-9  # relative: roundings of the decomposition, and of differences of outputs


@torch.enable_grad()
def steepest(module: nn.Module, input_shape: tuple[int, ...], points: int = 6, seed: int = 0) -> float:
    """The largest spectral norm of the Jacobian, and the steepest slope between two points, at random points.

    module: in eval mode; a copy with its weights as they are in float32 is run in float64. input_shape: of one input.
    At most the Lipschitz constant, up to roundings.
    """
    double = frozen(module).double()
    generator = torch.Generator().manual_seed(seed)
    found = 0.0
    for scale in SCALES:
        x = scale * torch.randn(points, *input_shape, generator=generator, dtype=torch.float64)
        found = max(found, *_norms(double, x), *_slopes(double, x, scale))
    return found


def _norms(module: nn.Module, x: Tensor) -> Iterator[float]:
    def flat(one: Tensor) -> Tensor:
        out: Tensor = module(one.reshape(1, *x.shape[1:]))
        return out.flatten()

    for point in x:
        jacobian = torch.autograd.functional.jacobian(flat, point.flatten())
        yield float(torch.linalg.matrix_norm(jacobian, ord=2))


@torch.no_grad()
def _slopes(module: nn.Module, x: Tensor, scale: float) -> Iterator[float]:
    generator = torch.Generator().manual_seed(1)
    for distance in (1e-2 * scale, scale):
        direction = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        moved = x + distance * direction / direction.flatten(1).norm(dim=1).view(-1, *[1] * (x.ndim - 1))
        apart = (moved - x).flatten(1).norm(dim=1)
        yield float(((module(moved) - module(x)).flatten(1).norm(dim=1) / apart).max())
