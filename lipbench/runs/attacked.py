"""What the attacks of a suite did to a model: their records, read back, and what they cost."""

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from lipbench._internal.arrays import Bools, Floats
from lipbench.runs.records import AttackRecord

Grid = tuple[float, ...]  # of eps


@dataclass(frozen=True)
class AttackRecords:
    """What one attack of a suite did to a model, at every eps and on every shard."""

    name: str  # ``backend/attack``, numbered where a suite runs the same one twice
    records: tuple[tuple[Grid, AttackRecord], ...]  # each with the group of eps that it serves; (): every eps
    n: int  # number of samples, attacked or not
    failed: str | None = None  # why it was left out, on some shard at least; None: it ran

    def at(self, eps: float) -> Iterator[tuple[AttackRecord, Bools]]:
        """The records that answer for ``eps``, each with the mask of its rows that do: bool (rows,).

        Those of a minimal-norm attack answer for every eps of their group.
        """
        for group, record in self.records:
            if not group or eps in group:
                yield record, (record.eps == eps) | np.isnan(record.eps)

    def closest(self) -> Floats:
        """The smallest distance that it found for each sample: float64 (n,), inf where there is none."""
        return self._smallest(lambda record: np.ones(len(record.sample), dtype=bool))

    @functools.cached_property
    def _unaudited(self) -> Floats:
        return self._smallest(lambda record: ~record.audit)

    def _smallest(self, kept: Callable[[AttackRecord], Bools]) -> Floats:
        found = np.full(self.n, np.inf)
        for _, record in self.records:
            rows = kept(record)
            np.minimum.at(found, record.sample[rows], record.adversarial_distance[rows])
        return found

    def broken(self, eps: float) -> Bools:
        """The samples that it broke within ``eps``, whichever eps it was given: bool (n,).

        Audited ones are left out.
        """
        return self._unaudited <= eps


@dataclass(frozen=True)
class Spent:
    """What the attacks of a suite did for one eps; minimal-norm attacks serve every eps, and count at each."""

    attacked: dict[str, int]  # samples that each attack saw, by its name
    audited: int  # certified samples that an attack saw
    forward: int
    backward: int

    @classmethod
    def of(cls, attacks: Iterable[AttackRecords], eps: float, n: int) -> "Spent":
        """From the rows of each attack that answer for the eps. n is the number of samples."""
        attacked, audited, forward, backward = {}, np.zeros(n, dtype=bool), 0, 0
        for attack in attacks:
            attacked[attack.name] = 0
            for record, rows in attack.at(eps):
                attacked[attack.name] += int(rows.sum())
                audited[record.sample[rows & record.audit]] = True
                forward += int(record.forward[rows].sum())
                backward += int(record.backward[rows].sum())
        return cls(attacked, int(audited.sum()), forward, backward)
