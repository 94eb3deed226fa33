"""Losses on adversarial inputs, which training computes for each batch: PGD adversarial training, and TRADES."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from lipbench.training.recipes import PGDTraining, Trades

TINY = 1e-12  # of an L2 norm
LEAST = torch.finfo(torch.float32).tiny  # of a gradient's largest entry, whose square may underflow


@dataclass(frozen=True)
class AdversarialLoss:
    """A loss of a model on inputs x: float32 (n, ...) in [0, 1] and labels: int64 (n,).

    PGD (Madry et al. 2018, arXiv 1706.06083, eq. 2): the loss at the point of the ball around x that ``steps`` steps of
    gradient ascent on it find from a random one; of a share ``ratio`` of the batch, at x itself for the rest.
    TRADES (Zhang et al. 2019, arXiv 1901.08573, eq. 5): the loss at x, plus beta times KL(p(x) | p(x')), x' maximising
    that divergence. The model is in eval mode during the search for x', as in the TRADES authors' code, so that the
    search does not change running means.
    """

    how: PGDTraining | Trades
    loss: nn.Module
    generator: Generator  # on the device of x

    def __call__(self, model: nn.Module, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The mean over the batch, to be differentiated, and the logits (n, K) at the adversarial inputs."""
        if isinstance(self.how, Trades):
            with torch.no_grad():
                target = model.eval()(x).float()
            found = self._ascend(model, x, lambda logits: divergence(logits, target))
            clean, moved = model(x).float(), model(found).float()
            value = self.loss(clean, labels) + self.how.beta * divergence(moved, clean)
            return value, moved
        count = max(1, round(self.how.ratio * len(x)))
        found = self._ascend(model, x[:count], lambda logits: self.loss(logits, labels[:count]))
        logits = model(torch.cat([found, x[count:]])).float()
        return self.loss(logits, labels), logits

    def _ascend(self, model: nn.Module, x: Tensor, value: Callable[[Tensor], Tensor]) -> Tensor:
        eps, step = self.how.eps, 2.5 * self.how.eps / self.how.steps
        delta = self.random_start(x) * eps
        model.eval()
        for _ in range(self.how.steps):
            delta = ((x + delta).clamp(0, 1) - x).requires_grad_()
            (gradient,) = torch.autograd.grad(value(model(x + delta).float()), delta)
            delta = delta.detach()
            if self.how.norm == "L2":
                gradient = gradient / gradient.abs().amax(dim=_axes(x), keepdim=True).clamp_min(LEAST)
                delta = delta + step * gradient / _norm(gradient)
                delta = delta * (eps / _norm(delta)).clamp_max(1)
            else:
                delta = (delta + step * gradient.sign()).clamp(-eps, eps)
        model.train()
        return (x + delta).clamp(0, 1).detach()

    def random_start(self, x: Tensor) -> Tensor:
        """Points drawn uniformly from the unit ball of the norm, in the shape of x: (n, ...)."""
        if self.how.norm == "Linf":
            return torch.rand(x.shape, device=x.device, generator=self.generator) * 2 - 1
        noise = torch.randn(x.shape, device=x.device, generator=self.generator)
        ones = [1] * (x.ndim - 1)
        radius = torch.rand(len(x), *ones, device=x.device, generator=self.generator) ** (1 / x[0].numel())
        return noise / _norm(noise) * radius


def _norm(x: Tensor) -> Tensor:
    """L2 of each sample: (n, 1, ...)."""
    return torch.linalg.vector_norm(x, dim=_axes(x), keepdim=True).clamp_min(TINY)


def _axes(x: Tensor) -> tuple[int, ...]:
    """The axes of an input in a batch."""
    return tuple(range(1, x.ndim))


def divergence(logits: Tensor, target: Tensor) -> Tensor:
    """KL(softmax(target) | softmax(logits)), mean over the batch: a scalar. logits, target: float (n, K)."""
    return F.kl_div(logits.log_softmax(dim=1), target.log_softmax(dim=1), reduction="batchmean", log_target=True)
