"""Gradient ascent on the margin max_{j != y} f_j - f_y, in float64, at float32 points: what ``bisection`` and ``pgd``
share.

The margin does not depend on the scale of the logits, as cross-entropy does. Every point that is tried is a float32
input, so that an adversarial point stays adversarial when it is stored.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from lipbench.attacks.base import AttackCall
from lipbench.attacks.batch import column
from lipbench.attacks.norm import Norm

BATCH = 1000
MOMENTUM = 0.75
TINY = 1e-300  # against 0 / 0 where a gradient vanishes
TIE = 1e-12  # of the largest logit: nearer to the boundary, another batch size may round to the other class
TARGETS = "so many wrong classes, those with the largest logits; where there are fewer, all of them"


class Logits(Protocol):
    """What a search needs of a classifier: ``lipbench.attacks.network.Network``, or one that ART knows."""

    num_classes: int

    @property
    def surrogate(self) -> "Logits":
        """The same classifier, or one that is cheaper and nearly the same: the search goes through it."""
        ...

    def logits(self, x: Tensor) -> Tensor:
        """Float64 (n, classes) at x: float (n, c, h, w); torch can differentiate their sums by x."""
        ...


@dataclass(frozen=True)
class Goal:
    """A batch to attack: x: float64 (n, ...) holding float32 values, labels: int64 (n,).

    Inputs lie between ``low`` and ``high``: numbers, or a tensor for each that broadcasts to x. ``reach``: the largest
    distance that is searched; None: that of the farthest two inputs.
    """

    network: Logits
    x: Tensor
    labels: Tensor
    norm: Norm
    low: float | Tensor = 0.0
    high: float | Tensor = 1.0
    reach: Tensor | None = None  # ()

    def of(self, keep: Tensor) -> "Goal":
        """The samples where ``keep``: bool (n,) is True."""
        return replace(self, x=self.x[keep], labels=self.labels[keep])

    def without_range(self) -> "Goal":
        """The same batch for inputs that may lie anywhere, within the same distances. No attack of a suite uses it."""
        return replace(self, low=-math.inf, high=math.inf, reach=self.diameter)

    @property
    def diameter(self) -> Tensor:
        """The distance of the farthest two inputs, or that of the farthest ones that are searched: ()."""
        return (
            self.reach if self.reach is not None else self.size((self.high - self.low) * torch.ones_like(self.x[:1]))[0]
        )

    def inside(self, points: Tensor) -> Tensor:
        """The inputs nearest to the points."""
        return points.clamp(self.low, self.high)  # type: ignore[arg-type]  # both numbers, or both tensors

    def place(self, delta: Tensor) -> Tensor:
        """The float32 inputs nearest to x + delta, as float64."""
        return self.inside(self.x + delta).float().double()

    def column(self, values: Tensor) -> Tensor:
        """Values of samples, (n,), as a factor of inputs: (n, 1, ...)."""
        return column(values, self.x)

    def size(self, delta: Tensor) -> Tensor:
        """The norm of each perturbation: (n,)."""
        return torch.linalg.vector_norm(delta.flatten(1), ord=2 if self.norm is Norm.L2 else math.inf, dim=1)

    def slope(self, gradient: Tensor) -> Tensor:
        """The dual norm of each gradient: the growth of the margin for each unit of the norm: (n,)."""
        order = 2 if self.norm is Norm.L2 else 1
        return torch.linalg.vector_norm(gradient.flatten(1), ord=order, dim=1).clamp_min(TINY)

    def steepest(self, gradient: Tensor) -> Tensor:
        """The unit perturbation along which the margin grows fastest."""
        return gradient.sign() if self.norm is Norm.Linf else gradient / self.column(self.slope(gradient))

    def project(self, delta: Tensor, eps: Tensor) -> Tensor:
        """The point of the ball of radius eps: (n,) nearest to delta."""
        if self.norm is Norm.Linf:
            return torch.minimum(torch.maximum(delta, -self.column(eps)), self.column(eps))
        return delta * self.column((eps / self.size(delta).clamp_min(TINY)).clamp_max(1))

    def targets(self, count: int) -> list[Tensor]:
        """The ``count`` wrong classes with the largest logits at x, largest first: int64 (n,) each."""
        with torch.no_grad():
            logits = self.network.logits(self.x).scatter(1, self.labels[:, None], -math.inf)
        return list(logits.argsort(dim=1, descending=True).T[: min(count, self.network.num_classes - 1)])

    def evaluate(self, points: Tensor, targets: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """(adversarial: bool (n,), margin: (n,), its gradient) at the points; the margin is to ``targets`` if
        given.

        Components of the gradient that lead out of the input range are 0. Ties do not count as adversarial.
        """
        points = points.detach().requires_grad_()
        with torch.enable_grad():
            logits, own, margin = self._margin(points)
            aim = margin if targets is None else logits.gather(1, targets[:, None])[:, 0] - own
            (gradient,) = torch.autograd.grad(aim.sum(), points)
        blocked = ((points <= self.low) & (gradient < 0)) | ((points >= self.high) & (gradient > 0))
        adversarial = margin > TIE * logits.abs().amax(1)
        return adversarial.detach(), aim.detach(), gradient.masked_fill(blocked, 0)

    @torch.no_grad()
    def adversarial(self, points: Tensor) -> Tensor:
        """As ``evaluate``, without the gradient: bool (n,)."""
        logits, _, margin = self._margin(points)
        return margin > TIE * logits.abs().amax(1)

    def _margin(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits = self.network.logits(points)
        own = logits.gather(1, self.labels[:, None])[:, 0]
        return logits, own, logits.scatter(1, self.labels[:, None], -math.inf).amax(1) - own


@dataclass
class Best:
    """The nearest adversarial point so far of each sample: point (n, ...), distance (n,) or inf."""

    goal: Goal
    point: Tensor
    distance: Tensor

    @classmethod
    def none(cls, goal: Goal) -> "Best":
        """Before anything was found."""
        return cls(goal, goal.x.clone(), torch.full_like(goal.x.flatten(1)[:, 0], math.inf))

    def offer(self, points: Tensor, adversarial: Tensor) -> None:
        """Keep the points that are adversarial and nearer."""
        distance = self.goal.size(points - self.goal.x)
        better = adversarial & (distance < self.distance)
        self.distance = torch.where(better, distance, self.distance)
        self.point = torch.where(self.goal.column(better), points, self.point)

    def of(self, keep: Tensor) -> "Best":
        """The samples where ``keep``: bool (n,) is True."""
        return Best(self.goal.of(keep), self.point[keep], self.distance[keep])

    def take(self, rows: Tensor, part: "Best") -> None:
        """Keep what ``part`` found for some of the samples, at indices ``rows``: int64 (k,)."""
        self.point[rows], self.distance[rows] = part.point, part.distance

    @property
    def found(self) -> Tensor:
        """Where there is one: bool (n,)."""
        return self.distance.isfinite()


def step_size(step: Tensor | int, steps: int) -> Tensor:
    """From half of eps down to a fiftieth, along a cosine."""
    return 0.02 + 0.24 * (1 + torch.cos(torch.as_tensor(step) * (math.pi / steps)))


def batches(call: AttackCall) -> Iterator[tuple[Goal, slice]]:
    """The samples of a call in batches of at most BATCH, each with its place in the call."""
    for start in range(0, len(call.x), BATCH):
        part = slice(start, start + BATCH)
        yield Goal(call.network, call.x[part].double(), call.labels[part], call.norm), part
