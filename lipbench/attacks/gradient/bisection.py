"""``gradient/bisection``: the smallest adversarial perturbation, by bisection over the radius of PGD."""

from dataclasses import replace

import torch
from torch import Tensor

from lipbench.attacks.base import ANY_RANK, Attack, AttackCall
from lipbench.attacks.gradient.ascent import MOMENTUM, TARGETS, Best, Goal, batches, step_size
from lipbench.attacks.parameters import MOST_STEPS, Parameter

NEWTON_STEPS = 8  # towards each target, for the first upper bound
STRETCHES = (1.0, 1 + 1e-6, 1 + 1e-4, 1.01, 1.1)  # of the surrogate's perturbation, until the network agrees
SETTLED = 0.005  # of the distance: where less lies between the two bounds, bisection has ended
LINE_STEPS = 12  # halvings of the segment between x and the candidate


class Bisection(Attack):
    """See ``nearest``. Deterministic on one device."""

    name = "gradient/bisection"
    summary = "bisection over eps of PGD on the margin, for the smallest perturbation; at most rounds * steps gradients"
    ranks = ANY_RANK
    minimal_norm = True
    exact = True
    rounds = Parameter(8, "radii of the bisection; each round halves its interval", at_least=1, at_most=1000)
    steps = Parameter(20, "gradient steps at each radius", at_least=1, at_most=MOST_STEPS)
    targets = Parameter(3, f"Newton's method aims at {TARGETS}", at_least=1)

    def run(self, call: AttackCall) -> Tensor:
        """The nearest adversarial points, x itself where none was found: float32 (n, ...)."""
        return torch.cat([nearest(goal, **call.arguments) for goal, _ in batches(call)]).float()


def nearest(goal: Goal, *, rounds: int, steps: int, targets: int) -> Tensor:
    """The nearest adversarial points found: float64 (n, ...) holding float32 values, x where none.

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


def _approach(goal: Goal, rounds: int, steps: int, targets: int) -> Best:
    """The Newton steps and the bisection through one network."""
    best = Best.none(goal)
    classes = goal.targets(targets)
    for wrong in classes:
        _newton(goal, best, wrong)
    _bisect(goal, best, max(steps, rounds * steps - NEWTON_STEPS * len(classes)), steps)
    return best


def _across(goal: Goal, rough: Best) -> Best:
    """What the surrogate's best points are to the network: stretched until they are adversarial there too."""
    best = Best.none(goal)
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


def _newton(goal: Goal, best: Best, targets: Tensor) -> None:
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
        points = part.goal.place(points - x + part.goal.steepest(gradient) * part.goal.column(length.clamp_max(1e6)))


def _bisect(goal: Goal, best: Best, gradients: int, steps: int) -> None:
    part, rows = replace(best), torch.arange(len(goal.x), device=goal.x.device)
    diameter = goal.diameter.expand(len(goal.x))
    lower = torch.zeros_like(best.distance)  # the largest radius that PGD failed at
    radius = torch.where(best.found, 0.9 * best.distance, diameter / 8)
    delta = goal.project(best.point - goal.x, radius)
    velocity, step = torch.zeros_like(delta), torch.zeros_like(lower)
    for _ in range(gradients):
        points = goal.place(delta)
        success, _, gradient = goal.evaluate(points)
        part.offer(points, success)
        velocity = MOMENTUM * velocity + gradient / goal.column(goal.slope(gradient))
        ahead = delta + goal.steepest(velocity) * goal.column(step_size(step, steps) * radius)
        step = step + 1
        failed = ~success & (step >= steps)
        lower = torch.where(failed, radius, lower)
        middle = torch.where(lower > 0, (lower + part.distance) / 2, 0.9 * part.distance)
        following = torch.where(part.found, middle, (2 * radius).minimum(diameter))
        over = success | failed
        radius = torch.where(over, following, radius)
        # After a success start again from the best point, after a failure continue from where the ascent ended.
        delta = torch.where(goal.column(success), part.point - goal.x, ahead)
        delta = goal.inside(goal.x + goal.project(delta, radius)) - goal.x
        velocity = velocity.masked_fill(goal.column(over), 0)
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


def _shorten(goal: Goal, best: Best) -> None:
    """Halve the segment from x to the best point, which ends on the boundary."""
    delta = best.point - goal.x
    low, high = torch.zeros_like(best.distance), torch.ones_like(best.distance)
    for _ in range(LINE_STEPS):
        middle = (low + high) / 2
        points = goal.place(delta * goal.column(middle))
        adversarial = goal.adversarial(points)
        best.offer(points, adversarial & best.found)
        low, high = torch.where(adversarial, low, middle), torch.where(adversarial, middle, high)


ATTACK = Bisection()
