"""Indicators of attack failure (Pintor et al., NeurIPS 2022, arXiv 2106.09947), in the form that needs few passes."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from lipbench._internal.arrays import Bools
from lipbench.attacks.batch import column
from lipbench.attacks.network import Network
from lipbench.attacks.norm import Norm

STEPS = 10


@dataclass(frozen=True)
class FailureIndicators:
    """Where gradients mislead, for n samples. Both bool (n,)."""

    # the gradient of cross-entropy at x, in the float32 that attack libraries see, gives no direction: every entry is
    # zero, or an entry is NaN or infinite
    zero_gradient: Bools
    # none of STEPS steps of eps / 4 along the finite entries of the gradient, inside eps, raises the cross-entropy to a
    # larger finite number
    loss_stuck: Bools


def failure_indicators(network: Network, x: Tensor, labels: Tensor, *, norm: Norm, eps: float) -> FailureIndicators:
    """The indicators of each sample.

    x: float32 (n, ...) in [0, 1], classified correctly; labels: int64 (n,); eps: in units of the input range.
    """
    zero = [torch.zeros(0, dtype=torch.bool)]
    stuck = [torch.zeros(0, dtype=torch.bool)]
    for points, classes in zip(x.split(network.batch_size), labels.split(network.batch_size), strict=True):
        loss, gradient = _ascent(network, points, classes)
        zero.append(~_gives_direction(gradient).cpu())
        first, raised, moved = loss, torch.zeros_like(loss, dtype=torch.bool), points
        for _ in range(STEPS):
            moved = _step(points, moved, gradient, norm, eps)
            loss, gradient = _ascent(network, moved, classes)
            raised |= (loss > first) & loss.isfinite()  # false for NaN
        stuck.append(~raised.cpu())
    return FailureIndicators(torch.cat(zero).numpy(), torch.cat(stuck).numpy())


def _ascent(network: Network, points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy (n,) and its gradient (n, ...): zero where a network cuts it off from its input."""
    points = points.detach().requires_grad_()
    with torch.enable_grad():
        loss = F.cross_entropy(network(points), labels, reduction="none")
        if not loss.requires_grad:
            return loss, torch.zeros_like(points)
        (gradient,) = torch.autograd.grad(loss.sum(), points, allow_unused=True)
    return loss.detach(), torch.zeros_like(points) if gradient is None else gradient


def _gives_direction(gradient: Tensor) -> Tensor:
    """Whether every entry is finite, and not all are zero: bool (n,)."""
    entries = gradient.flatten(1)
    return entries.isfinite().all(dim=1) & (entries != 0).any(dim=1)


def _step(x: Tensor, moved: Tensor, gradient: Tensor, norm: Norm, eps: float) -> Tensor:
    gradient = gradient.nan_to_num(0, 0, 0)
    if norm is Norm.Linf:
        ahead = moved + eps / 4 * gradient.sign()
        return torch.clamp(torch.min(torch.max(ahead, x - eps), x + eps), 0, 1)
    ahead = moved + eps / 4 * F.normalize(gradient.flatten(1)).view_as(gradient)
    delta = ahead - x
    size = column(delta.flatten(1).norm(dim=1).clamp_min(1e-12), x)
    return torch.clamp(x + delta * (eps / size).clamp_max(1), 0, 1)
