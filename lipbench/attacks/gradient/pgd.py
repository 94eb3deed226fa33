"""``gradient/pgd``: projected gradient ascent on the margin, with a radius for each sample."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lipbench.attacks.base import ANY_RANK, Attack, AttackCall
from lipbench.attacks.gradient.ascent import MOMENTUM, TARGETS, TINY, Goal, batches, step_size
from lipbench.attacks.norm import Norm
from lipbench.attacks.parameters import MOST_RESTARTS, MOST_STEPS, Parameter


class PGD(Attack):
    """See ``within``. Deterministic on one device, but for the random starts, which are drawn from the seed."""

    name = "gradient/pgd"
    summary = "PGD on the margin, from x against each target, then from random points; eps may differ by sample"
    ranks = ANY_RANK
    per_sample_eps = True
    exact = True
    steps = Parameter(40, "gradient steps of each run", at_least=1, at_most=MOST_STEPS)
    targets = Parameter(3, f"a run from x towards each of {TARGETS}", at_least=0)
    restarts = Parameter(0, "runs from random points", at_least=0, at_most=MOST_RESTARTS)

    def obstacle(
        self, arguments: Mapping[str, Any], num_classes: int, input_shape: tuple[int, ...], norm: Norm
    ) -> str | None:
        """Without targets and without restarts there is no run."""
        if arguments["targets"] or arguments["restarts"]:
            return None
        return "needs targets or restarts above 0: without, it has no run"

    def run(self, call: AttackCall) -> Tensor:
        """Adversarial points within eps, x itself where none was found: float32 (n, ...)."""
        found = [within(goal, call.radii[part], **call.arguments) for goal, part in batches(call)]
        return torch.cat(found).float()


def within(goal: Goal, eps: Tensor, *, steps: int, targets: int, restarts: int) -> Tensor:
    """Adversarial points within eps: float64 (n,) where found: float64 (n, ...) holding float32 values,
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
            start = noise * part.column(radius / scale)
        points, success = _ascend(part, radius, steps, start, None if wrong is None else wrong[still_open])
        hits = still_open.clone()
        hits[still_open] = success
        found[hits] = points[success]
        still_open = still_open & ~hits
        if not still_open.any():
            break
    return found


def _ascend(goal: Goal, eps: Tensor, steps: int, delta: Tensor, targets: Tensor | None) -> tuple[Tensor, Tensor]:
    """PGD with momentum from x + delta; (points, success), the points being the first that succeeded."""
    best, success = goal.place(delta), torch.zeros_like(goal.labels, dtype=torch.bool)
    velocity = torch.zeros_like(delta)
    for step in range(steps + 1):
        points = goal.place(delta)
        adversarial, _, gradient = goal.evaluate(points, targets)
        best = torch.where(goal.column(adversarial & ~success), points, best)
        success = success | adversarial
        if success.all():
            break
        velocity = MOMENTUM * velocity + gradient / goal.column(goal.slope(gradient))
        delta = delta + goal.steepest(velocity) * goal.column(step_size(step, steps).to(eps) * eps)
        delta = goal.inside(goal.x + goal.project(delta, eps)) - goal.x
    return best, success


ATTACK = PGD()
