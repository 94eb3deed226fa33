"""The factors of tightness: why the certificate of a sample is below the distance at which it was broken.

With m = g(x) the margin to the class j that decides the certified radius, L_cj the Lipschitz bound of g,
r the radius of the headline grade and D the adversarial distance, both in the suite's norm, and s the radius of the
largest ball of that norm in the L2 ball of radius 1,

    r / D  =  grade * product of kept * head * norm * box * rest

    grade   (r / s) / (m / L_cj)                        what rounding, and the arithmetic, cost
    kept    of each block, and head: what the layers lose of the gradient of g, see ``certification.gradients``
    norm    s |grad g|_dual / |grad g|_2                what an L2 certificate loses in another norm; 1 in L2
    box     distance without the input range / distance within it, by the same attack
    rest    (m / |grad g|_dual) / D / box               curvature, and what the attacks did not find

The product of all but the last two is the radius over m / |grad g|_dual, the distance to the boundary of a linear
margin. ``box`` is measured on a share of the samples; ``box_and_rest`` is the product of both, known everywhere.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lipbench._internal.arrays import Floats
from lipbench.attacks.norm import Norm
from lipbench.runs.bounds import Bounds
from lipbench.runs.records import BoxRecord, CertifyRecord, FactorRecord

# by norm, the dual norm of the gradient: the growth of g per unit of the norm
DUAL = {"L1": "gradient_linf", "L2": "gradient_l2", "Linf": "gradient_l1"}


@dataclass(frozen=True, eq=False)
class Factors:
    """The factors of each of n samples, all but ``blocks`` float64.

    NaN where the sample is misclassified or tied, has no certificate, or a gradient of 0; ``tightness`` and what is
    computed from it also where no adversarial input was found, ``box`` and ``rest`` outside the share of samples.
    """

    blocks: tuple[str, ...]  # names, from the input on
    grade: Floats  # (n,)
    kept: Floats  # (blocks, n)
    head: Floats  # (n,)
    norm: Floats  # (n,)
    linear: Floats  # (n,), m / |grad g|_dual: the distance to the boundary of a linear margin
    box: Floats  # (n,)
    tightness: Floats  # (n,)
    distance: Floats  # (n,), to the nearest adversarial input found; inf if none

    @cached_property
    def kept_product(self) -> Floats:
        """What all blocks together keep: (n,)."""
        product: Floats = self.kept.prod(axis=0)
        return product

    @cached_property
    def box_and_rest(self) -> Floats:
        """The input range, curvature, and what the attacks did not find: (n,)."""
        return _known(self.linear / self.distance)

    @cached_property
    def rest(self) -> Floats:
        """The same without the input range: (n,)."""
        return self.box_and_rest / self.box


@dataclass(frozen=True, eq=False)
class FactorRecords:
    """The records that the factors of a model under a suite are computed from."""

    certify: CertifyRecord  # of all shards
    blocks: tuple[FactorRecord, ...]  # shard by shard
    boxes: tuple[BoxRecord, ...]  # likewise, of the suite

    def factors(self, bounds: Bounds, norm: Norm) -> Factors:
        """The factors of all samples; bounds: after all attacks, in ``norm``, with radii of the headline grade."""
        margin, bound, slope = (self._values(name) for name in ("margin", "pairwise_bound", "gradient_l2"))
        dual, scale = self._values(DUAL[norm.value]), norm.radius_from_l2(1.0, self.certify.facts.dimension)
        known = np.isfinite(slope)
        with np.errstate(divide="ignore", invalid="ignore"):
            grade = self.certify.radius(self.certify.grade) * bound / margin
            tightness = bounds.certified_radius / bounds.adversarial_distance
            return Factors(
                blocks=tuple(self.blocks[0].facts.blocks),
                grade=np.where(known, grade, np.nan),
                kept=self._kept(),
                head=self._values("head"),
                norm=scale * dual / slope,
                linear=margin / dual,
                box=np.where(known, self._box(), np.nan),
                tightness=np.where(known, _known(tightness), np.nan),
                distance=bounds.adversarial_distance,
            )

    def _values(self, name: str) -> Floats:
        """A column of the factor units at all samples: (n,)."""
        values = np.full(len(self.certify.sample), np.nan)
        for record in self.blocks:
            values[record.sample] = getattr(record, name)
        return values

    def _kept(self) -> Floats:
        values = np.full((len(self.blocks[0].kept), len(self.certify.sample)), np.nan)
        for record in self.blocks:
            values[:, record.sample] = record.kept
        return values

    def _box(self) -> Floats:
        """Distance without the range over distance within it, where both are known: at most 1."""
        values = np.full(len(self.certify.sample), np.nan)
        for record in self.boxes:
            both = np.isfinite(record.distance_within) & np.isfinite(record.distance_without)
            # what lies within the range is found without it as well, whichever search came closer
            without = np.minimum(record.distance_without, record.distance_within)
            values[record.sample[both]] = without[both] / record.distance_within[both]
        return values


def _known(ratio: Floats) -> Floats:
    """A ratio to a distance, without those to an infinite one."""
    return np.where(np.isfinite(ratio) & (ratio > 0), ratio, np.nan)
