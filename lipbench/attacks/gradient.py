"""lipbench's own attacks: gradient ascent on the margin max_{j != y} f_j - f_y, in float64, at float32
points.

The margin does not depend on the scale of the logits, as cross-entropy does. Every point that is tried is a
float32 input, so what is adversarial here stays so when it is stored.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lipbench.attacks.batch import AttackBatch
from lipbench.attacks.guard import Attack
from lipbench.attacks.network import Network
from lipbench.attacks.norm import Norm
from lipbench.attacks.parameters import MOST_RESTARTS, MOST_STEPS, Parameter

BATCH = 1000
MOMENTUM = 0.75
NEWTON_STEPS = 8  # towards each target, for the first upper bound of bisection
STRETCHES = (1.0, 1 + 1e-6, 1 + 1e-4, 1.01, 1.1)  # of what the surrogate found, until the network agrees
SETTLED = 0.005  # of the distance: where less lies between the two bounds, bisection has ended
LINE_STEPS = 12  # halvings of the segment between x and the candidate
TINY = 1e-300  # against 0 / 0 where a gradient vanishes
TIE = 1e-12  # of the largest logit: nearer to the boundary, another batch size may round to the other class
TARGETS = "so many wrong classes, those with the largest logits; where there are fewer, at all of them"


def _no_run(args: Mapping[str, Any], num_classes: int, input_shape: tuple[int, ...], norm: Norm) -> str | None:
    return None if args["targets"] or args["restarts"] else "needs targets or restarts above 0: without, it has no run"


ATTACKS = (
    Attack(
        "bisection",
        "bisection over eps of PGD on the margin, for the smallest perturbation; at most rounds * steps gradients",
        frozenset(Norm),
        minimal_norm=True,
        exact=True,
        arguments={
            "rounds": Parameter(8, "radii of the bisection; each round halves its interval", at_least=1, at_most=1000),
            "steps": Parameter(20, "gradient steps at each radius", at_least=1, at_most=MOST_STEPS),
            "targets": Parameter(3, f"Newton's method aims at {TARGETS}", at_least=1),
        },
    ),
    Attack(
        "pgd",
        "PGD on the margin, from x against each target, then from random points; eps may differ by sample",
        frozenset(Norm),
        arguments={
            "steps": Parameter(40, "gradient steps of each run", at_least=1, at_most=MOST_STEPS),
            "targets": Parameter(3, f"a run from x towards each of {TARGETS}", at_least=0),
            "restarts": Parameter(0, "runs from random points", at_least=0, at_most=MOST_RESTARTS),
        },
        per_sample_eps=True,
        exact=True,
        obstacle=_no_run,
    ),
)


@dataclass(frozen=True)
class GradientBackend:
    """``bisection`` and ``pgd``. Deterministic on one device, but for the random starts of pgd, drawn from
    the seed.
    """

    name: str
    attacks: Mapping[str, Attack]

    def run(
        self,
        attack: str,
        network: Network,
        x: Tensor,
        labels: Tensor,
        *,
        norm: Norm,
        eps: float | Tensor | None,
        seed: int,
        args: Mapping[str, Any],
        rows: AttackBatch,
    ) -> Tensor:
        """Candidates: float32 (n, c, h, w), x itself where none was found; see ``Backend.run``."""
        radii = None
        if eps is not None:
            radii = torch.as_tensor(eps, dtype=torch.float64, device=x.device).expand(len(x))
        found = []
        for start in range(0, len(x), BATCH):
            batch = slice(start, start + BATCH)
            goal = _Goal(network, x[batch].double(), labels[batch], norm)
            found.append(bisection(goal, **args) if radii is None else pgd(goal, radii[batch], **args))
        return torch.cat(found).float()


@dataclass(frozen=True)
class _Goal:
    """A batch to attack: x: float64 (n, c, h, w) holding float32 values, labels: int64 (n,)."""

    network: Network
    x: Tensor
    labels: Tensor
    norm: Norm

    def of(self, keep: Tensor) -> "_Goal":
        """The samples where ``keep``: bool (n,) is True."""
        return _Goal(self.network, self.x[keep], self.labels[keep], self.norm)

    def place(self, delta: Tensor) -> Tensor:
        """The float32 points of [0, 1] nearest to x + delta, as float64."""
        return (self.x + delta).clamp(0, 1).float().double()

    def size(self, delta: Tensor) -> Tensor:
        """The norm of each perturbation: (n,)."""
        return torch.linalg.vector_norm(delta.flatten(1), ord=2 if self.norm is Norm.L2 else math.inf, dim=1)

    def slope(self, gradient: Tensor) -> Tensor:
        """The dual norm of each gradient: the growth of the margin for each unit of the norm: (n,)."""
        order = 2 if self.norm is Norm.L2 else 1
        return torch.linalg.vector_norm(gradient.flatten(1), ord=order, dim=1).clamp_min(TINY)

    def steepest(self, gradient: Tensor) -> Tensor:
        """The unit perturbation along which the margin grows fastest."""
        return gradient.sign() if self.norm is Norm.Linf else gradient / _column(self.slope(gradient))

    def project(self, delta: Tensor, eps: Tensor) -> Tensor:
        """The point of the ball of radius eps: (n,) nearest to delta."""
        if self.norm is Norm.Linf:
            return torch.minimum(torch.maximum(delta, -_column(eps)), _column(eps))
        return delta * _column((eps / self.size(delta).clamp_min(TINY)).clamp_max(1))

    def targets(self, count: int) -> list[Tensor]:
        """The ``count`` wrong classes with the largest logits at x, largest first: int64 (n,) each."""
        with torch.no_grad():
            logits = self.network.logits(self.x).scatter(1, self.labels[:, None], -math.inf)
        return list(logits.argsort(dim=1, descending=True).T[: min(count, self.network.num_classes - 1)])

    def evaluate(self, points: Tensor, targets: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """(adversarial: bool (n,), margin: (n,), its gradient) at the points; the margin is to ``targets`` if
        given.

        Components of the gradient that lead out of [0, 1] are 0. Ties do not count as adversarial.
        """
        points = points.detach().requires_grad_()
        with torch.enable_grad():
            logits, own, margin = self._margin(points)
            aim = margin if targets is None else logits.gather(1, targets[:, None])[:, 0] - own
            (gradient,) = torch.autograd.grad(aim.sum(), points)
        blocked = ((points <= 0) & (gradient < 0)) | ((points >= 1) & (gradient > 0))
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
class _Best:
    """The nearest adversarial point so far of each sample: point (n, c, h, w), distance (n,) or inf."""

    goal: _Goal
    point: Tensor
    distance: Tensor

    @classmethod
    def none(cls, goal: _Goal) -> "_Best":
        return cls(goal, goal.x.clone(), torch.full_like(goal.x[:, 0, 0, 0], math.inf))

    def offer(self, points: Tensor, adversarial: Tensor) -> None:
        """Keep the points that are adversarial and nearer."""
        distance = self.goal.size(points - self.goal.x)
        better = adversarial & (distance < self.distance)
        self.distance = torch.where(better, distance, self.distance)
        self.point = torch.where(_column(better), points, self.point)

    def of(self, keep: Tensor) -> "_Best":
        """The samples where ``keep``: bool (n,) is True."""
        return _Best(self.goal.of(keep), self.point[keep], self.distance[keep])

    def take(self, rows: Tensor, part: "_Best") -> None:
        """What was found for some of the samples, at indices ``rows``: (k,)."""
        self.point[rows], self.distance[rows] = part.point, part.distance

    @property
    def found(self) -> Tensor:
        """Where there is one: bool (n,)."""
        return self.distance.isfinite()


def _column(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)


def _step_size(step: Tensor | int, steps: int) -> Tensor:
    """From half of eps down to a fiftieth, along a cosine."""
    return 0.02 + 0.24 * (1 + torch.cos(torch.as_tensor(step) * (math.pi / steps)))


def bisection(goal: _Goal, *, rounds: int, steps: int, targets: int) -> Tensor:
    """The nearest adversarial points found: float64 (n, c, h, w) holding float32 values, x where none.

    First a few Newton steps to the boundary with each of the ``targets`` largest wrong logits give an upper
    bound of the distance (as DeepFool: Moosavi-Dezfooli et al. 2016, algorithm 2). Then PGD (Madry et al.
    2018, eq. 1) at a radius below it, for each sample until it succeeds, which lowers the upper bound, or for
    ``steps`` steps, which raises the lower bound; the next radius lies midway, until the bounds of the sample are
    SETTLED. All that goes through the surrogate. At last the point is brought across the network's own boundary, and
    the segment to x halved. A sample costs at most rounds * steps gradients and LINE_STEPS + len(STRETCHES) + 1
    further forward passes; twice the gradients where the surrogate's point cannot be brought across, a few roundings
    from the boundary.
    """
    rough = _approach(replace(goal, network=goal.network.surrogate), rounds, steps, targets)
    best = _across(goal, rough)
    lost = rough.found & ~best.found
    if lost.any():  # nearer to the boundary than the surrogate is to the network
        exact = _approach(goal.of(lost), rounds, steps, targets)
        best.point[lost], best.distance[lost] = exact.point, exact.distance
    _shorten(goal, best)
    return best.point


def _approach(goal: _Goal, rounds: int, steps: int, targets: int) -> _Best:
    """The Newton steps and the bisection through one network."""
    best = _Best.none(goal)
    classes = goal.targets(targets)
    for wrong in classes:
        _newton(goal, best, wrong)
    _bisect(goal, best, max(steps, rounds * steps - NEWTON_STEPS * len(classes)), steps)
    return best


def _across(goal: _Goal, rough: _Best) -> _Best:
    """What the surrogate's best points are to the network: stretched until they are adversarial there too."""
    best = _Best.none(goal)
    for stretch in STRETCHES:
        left = rough.found & ~best.found
        if left.any():
            part = goal.of(left)
            points = part.place((rough.point[left] - part.x) * stretch)
            reached = left.clone()
            reached[left] = part.adversarial(points)
            stretched = goal.x.clone()
            stretched[left] = points
            best.offer(stretched, reached)
    return best


def _newton(goal: _Goal, best: _Best, targets: Tensor) -> None:
    """Steps of length margin / slope, 2 % further than the linearised boundary, until across."""
    part, points, rows = replace(best), goal.x, torch.arange(len(goal.x), device=goal.x.device)
    for _ in range(NEWTON_STEPS):
        adversarial, margin, gradient = part.goal.evaluate(points, targets)
        part.offer(points, adversarial)
        if adversarial.any():
            short = ~adversarial
            best.take(rows, part)
            part, points, rows = part.of(short), points[short], rows[short]
            margin, gradient, targets = margin[short], gradient[short], targets[short]
        if not len(rows):
            return
        x, length = part.goal.x, (-margin).clamp_min(0) / part.goal.slope(gradient) * 1.02
        points = part.goal.place(points - x + part.goal.steepest(gradient) * _column(length.clamp_max(1e6)))


def _bisect(goal: _Goal, best: _Best, gradients: int, steps: int) -> None:
    part, rows = replace(best), torch.arange(len(goal.x), device=goal.x.device)
    diameter = goal.size(torch.ones_like(goal.x))
    lower = torch.zeros_like(best.distance)  # the largest radius that PGD failed at
    radius = torch.where(best.found, 0.9 * best.distance, diameter / 8)
    delta = goal.project(best.point - goal.x, radius)
    velocity, step = torch.zeros_like(delta), torch.zeros_like(lower)
    for _ in range(gradients):
        points = goal.place(delta)
        success, _, gradient = goal.evaluate(points)
        part.offer(points, success)
        velocity = MOMENTUM * velocity + gradient / _column(goal.slope(gradient))
        ahead = delta + goal.steepest(velocity) * _column(_step_size(step, steps) * radius)
        step = step + 1
        failed = ~success & (step >= steps)
        lower = torch.where(failed, radius, lower)
        middle = torch.where(lower > 0, (lower + part.distance) / 2, 0.9 * part.distance)
        following = torch.where(part.found, middle, (2 * radius).minimum(diameter))
        over = success | failed
        radius = torch.where(over, following, radius)
        # After a success start again from the best point, after a failure go on where the ascent has led.
        delta = torch.where(_column(success), part.point - goal.x, ahead)
        delta = (goal.x + goal.project(delta, radius)).clamp(0, 1) - goal.x
        velocity = velocity.masked_fill(_column(over), 0)
        step = step.masked_fill(over, 0)
        unsettled = lower < (1 - SETTLED) * part.distance
        if not unsettled.all():
            best.take(rows, part)
            part, rows = part.of(unsettled), rows[unsettled]
            if not len(rows):
                return
            goal = part.goal
            diameter, lower, radius, delta, velocity, step = (
                values[unsettled] for values in (diameter, lower, radius, delta, velocity, step)
            )
    best.take(rows, part)


def _shorten(goal: _Goal, best: _Best) -> None:
    """Halve the segment from x to the best point, which ends on the boundary."""
    delta = best.point - goal.x
    low, high = torch.zeros_like(best.distance), torch.ones_like(best.distance)
    for _ in range(LINE_STEPS):
        middle = (low + high) / 2
        points = goal.place(delta * _column(middle))
        adversarial = goal.adversarial(points)
        best.offer(points, adversarial & best.found)
        low, high = torch.where(adversarial, low, middle), torch.where(adversarial, middle, high)


def pgd(goal: _Goal, eps: Tensor, *, steps: int, targets: int, restarts: int) -> Tensor:
    """Adversarial points within eps: float64 (n,) where found: float64 (n, c, h, w) holding float32 values,
    else x.

    One run of ``steps`` steps from x towards each of the ``targets`` largest wrong logits, then ``restarts``
    runs on the margin from random points of the ball (Madry et al. 2018, section 3); each on the samples
    still open.
    """
    found = goal.x.clone()
    still_open = torch.ones_like(goal.labels, dtype=torch.bool)
    runs: list[Tensor | None] = [*goal.targets(targets), *[None] * restarts]
    for wrong in runs:
        part, radius = goal.of(still_open), eps[still_open]
        start = torch.zeros_like(part.x)
        if wrong is None:
            noise = torch.rand_like(part.x) * 2 - 1 if goal.norm is Norm.Linf else torch.randn_like(part.x)
            scale = 1 if goal.norm is Norm.Linf else part.size(noise).clamp_min(TINY)
            start = noise * _column(radius / scale)
        points, success = _ascend(part, radius, steps, start, None if wrong is None else wrong[still_open])
        hits = still_open.clone()
        hits[still_open] = success
        found[hits] = points[success]
        still_open = still_open & ~hits
        if not still_open.any():
            break
    return found


def _ascend(goal: _Goal, eps: Tensor, steps: int, delta: Tensor, targets: Tensor | None) -> tuple[Tensor, Tensor]:
    """PGD with momentum from x + delta; (points, success), the points being the first that succeeded."""
    best, success = goal.place(delta), torch.zeros_like(goal.labels, dtype=torch.bool)
    velocity = torch.zeros_like(delta)
    for step in range(steps + 1):
        points = goal.place(delta)
        adversarial, _, gradient = goal.evaluate(points, targets)
        best = torch.where(_column(adversarial & ~success), points, best)
        success = success | adversarial
        if success.all():
            break
        velocity = MOMENTUM * velocity + gradient / _column(goal.slope(gradient))
        delta = delta + goal.steepest(velocity) * _column(_step_size(step, steps).to(eps) * eps)
        delta = (goal.x + goal.project(delta, eps)).clamp(0, 1) - goal.x
    return best, success


BACKEND = GradientBackend("gradient", {attack.name: attack for attack in ATTACKS})
