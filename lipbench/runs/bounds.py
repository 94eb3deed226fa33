"""The bounds of a sample: certified_radius <= distance to the decision boundary <= adversarial_distance.

Certificates raise the lower bound, attacks lower the upper one; nothing else writes either.

What a radius promises: no input closer than ``certified_radius`` has another class, or a tie. An input at exactly that
distance may have one, since the margin that the Lipschitz bound leaves there is 0. An attack at eps may go as far as
eps. So a sample is certified at eps where its radius is above eps, broken where its adversarial distance is at most
eps, and a certificate is false where the adversarial distance is below the radius: no sample is both certified and
broken unless its certificate is false.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lipbench._internal.arrays import Bools, Floats, Ints
from lipbench.attacks.norm import Norm
from lipbench.errors import LipbenchError
from lipbench.runs.records import AttackRecord, CertifyRecord


@dataclass
class Bounds:
    """Two bounds per sample for one model and one norm. All arrays have shape (n,), or (m, n) of m models."""

    correct: Bools  # predicted class equals the label
    certified_radius: (
        Floats  # >= 0, of one grade; 0 where misclassified or tied; NaN without a certificate: it closes none
    )
    adversarial_distance: Floats  # 0 where misclassified, inf where no adversarial input is known
    first: int = 0  # row of the test set that the first sample is; the others follow it

    @classmethod
    def start(cls, correct: Any, certified_radius: Any, first: int = 0) -> "Bounds":
        """The bounds before any attack. ``correct``: bool (n,); ``certified_radius``: float (n,)."""
        correct = np.asarray(correct, dtype=bool)
        radius = np.where(correct, np.asarray(certified_radius, dtype=np.float64), 0.0)
        return cls(correct, radius, np.where(correct, np.inf, 0.0), first)

    @classmethod
    def certify(cls, record: CertifyRecord, norm: Norm, grade: str) -> "Bounds":
        """The bounds before any attack, in ``norm``, with the radii of one grade."""
        scale = norm.radius_from_l2(1.0, record.facts.dimension)
        first = int(record.sample[0]) if len(record.sample) else 0
        return cls.start(record.correct, record.radius(grade) * scale, first)

    def copy(self) -> "Bounds":
        """The same bounds, to be lowered separately."""
        return Bounds(self.correct, self.certified_radius, self.adversarial_distance.copy(), self.first)

    def replay(self, records: Iterable[AttackRecord]) -> "Bounds":
        """Lower the upper bounds to what the records of attacks say; returns these bounds."""
        for record in records:
            self.attacked(record.sample, record.adversarial_distance)
        return self

    def attacked(self, samples: Ints, distances: Floats) -> None:
        """Lower the upper bound of ``samples`` to ``distances`` where those are smaller.

        ``samples``: rows of the test set, which may repeat. Raises LipbenchError for NaN, which is above no eps and at
        most none: the sample would stay robust for ever.
        """
        if np.isnan(distances).any():
            raise LipbenchError(f"an adversarial distance is NaN, at sample {samples[np.isnan(distances)][0]}")
        np.minimum.at(self.adversarial_distance, samples - self.first, distances)

    def broken(self, eps: float) -> Bools:
        """Misclassified, or an adversarial input within eps is known."""
        return self.adversarial_distance <= eps

    def certified(self, eps: float) -> Bools:
        """Correct, and no perturbation of norm <= eps can change the class."""
        return self.correct & (self.certified_radius > eps)

    def open(self, eps: float) -> Bools:
        """Neither bound decides the sample at eps: the samples that an attack can still win."""
        return ~self.broken(eps) & ~self.certified(eps)

    def violations(self) -> Bools:
        """adversarial_distance < certified_radius: the certificate is false."""
        return self.adversarial_distance < self.certified_radius

    def comparable(self) -> Bools:
        """The samples that have a tightness: correct, with a certificate and a known adversarial input."""
        found: Bools = (
            self.correct
            & ~np.isnan(self.certified_radius)
            & np.isfinite(self.adversarial_distance)
            & (self.adversarial_distance > 0)
        )
        return found

    def tightness(self) -> Floats:
        """certified_radius / adversarial_distance of the samples that ``comparable`` names."""
        known = self.comparable()
        return self.certified_radius[known] / self.adversarial_distance[known]

    def between(self, eps_max: float) -> Floats:
        """How much of 0 .. eps_max lies between the bounds of each sample: 0 where misclassified."""
        ends = [np.minimum(bound, eps_max) for bound in (self.adversarial_distance, self.certified_radius)]
        return np.where(self.correct, ends[0] - ends[1], 0.0)
