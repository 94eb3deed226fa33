"""Attacks on samples, inside their certified radii."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from lipbench._internal.arrays import Bools, Floats
from lipbench.attacks import guard
from lipbench.attacks.network import Network
from lipbench.attacks.norm import Norm
from lipbench.attacks.suites import AttackSpec
from lipbench.verification.measurements import distances, won

MINIMAL_NORM = (  # from the cheapest to the most expensive
    AttackSpec(name="gradient/bisection"),
    AttackSpec(name="autoattack/fab-t"),
)
INSIDE = (  # at each sample's own radius
    AttackSpec(name="gradient/pgd", args={"restarts": 1}),
    AttackSpec(name="autoattack/apgd-ce"),
    AttackSpec(name="autoattack/apgd-t"),
)
SANDWICH = AttackSpec(name="gradient/pgd")
SANDWICH_ROUNDS = 2


class AttackedSamples:
    """Samples, and the smallest adversarial perturbation of each that the attacks have found so far.

    x: float32 (n, ...) in [0, 1]; classes: int64 (n,), which the certificates are for. A sample of another class,
    or with a tie, is its own adversarial input, at distance 0.
    """

    def __init__(self, network: Network, x: Tensor, classes: Tensor, seed: int):
        self.network, self.x, self.classes, self.seed = network, x, classes, seed
        self.right = won(network, x, classes).numpy()  # bool (n,): of its class, without a tie
        self.distance = np.where(self.right, np.inf, 0.0)  # float64 (n,), L2: proven upper bounds
        self.best = x.clone()  # the adversarial inputs at those distances, where there is one
        self.sample_attacks = np.zeros(len(x), dtype=np.int64)  # how many attacks each sample has seen

    def attack(self, spec: AttackSpec, radius: Floats | None = None) -> None:
        """Run an attack on all samples, or inside the given radii (n,) on those where the radius is above 0."""
        wanted = self.right if radius is None else self.right & (radius > 0)
        rows = np.flatnonzero(wanted)
        if len(rows) == 0:
            return
        index = torch.from_numpy(rows).to(self.x.device)
        x, labels = self.x[index], self.classes[index]
        # no input is farther away than the diameter of [0, 1]^d; a (false) radius may be larger
        eps = None if radius is None else torch.from_numpy(radius[rows].clip(max=x[0].numel() ** 0.5)).to(x.device)
        candidates = guard.search(spec, self.network, x, labels, norm=Norm.L2, eps=eps, seed=self.seed)
        adversarial, _, _ = guard.check_candidates(self.network, x, labels, candidates, Norm.L2)
        distance = np.where(adversarial, distances(x, candidates)[1], np.inf)
        self.sample_attacks[rows] += 1
        better = distance < self.distance[rows]
        self.distance[rows[better]] = distance[better]
        self.best[index[torch.from_numpy(better)]] = candidates[torch.from_numpy(better).to(x.device)]

    def narrow(self, radius: Floats) -> None:
        """Attack once more, halfway between the certified radius and the distance found: float64 (n,)."""
        found = np.isfinite(self.distance) & (self.distance > radius)
        self.attack(SANDWICH, np.where(found, (radius + np.where(found, self.distance, 0)) / 2, 0.0))

    def broken(self, radius: Floats) -> Bools:
        """Where an adversarial input lies inside the radius: bool (n,)."""
        return (radius > 0) & (self.distance < radius)


def attack_inside(
    samples: AttackedSamples, radii: Mapping[str, Floats], done: Callable[[], object] = lambda: None
) -> None:
    """Attack inside the radii of each grade, float64 (n,), the widest first; ``done`` is called after each grade.

    Radii inside others that all hold are not attacked again: whatever broke them would have broken the wider ones.
    """
    attacked: list[Floats] = []
    for radius in sorted(radii.values(), key=lambda one: -float(one.sum())):
        covered = any((radius <= wider * (1 + 1e-9)).all() and not samples.broken(wider).any() for wider in attacked)
        if not covered:
            for _ in range(SANDWICH_ROUNDS):
                samples.narrow(radius)
            for spec in INSIDE:
                samples.attack(spec, radius)
            attacked.append(radius)
        done()
