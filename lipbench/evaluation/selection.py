"""Which samples an attack sees, at which eps: the open ones, and a random share of the others as an audit."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lipbench._internal import files
from lipbench._internal.arrays import Bools, Floats, Ints
from lipbench.attacks.base import Attack
from lipbench.runs.bounds import Bounds
from lipbench.runs.units import AttackUnit, ReferenceUnit


@dataclass(frozen=True)
class Pairs:
    """Samples of a shard, each with an eps. All arrays have shape (m,)."""

    samples: Ints  # places in the shard
    eps: Floats  # NaN for a minimal-norm attack
    reach: Floats  # the largest eps that the row answers for
    audit: Bools  # closed by the certificate, but attacked as a check


@dataclass(frozen=True)
class Selection:
    """The pairs of an attack unit. What attacks lower in ``bounds`` meanwhile, later calls see."""

    unit: AttackUnit | ReferenceUnit
    bounds: Bounds
    settings: Mapping[str, Any]  # of the run: ``prune`` and ``audit``

    def calls(self, attack: Attack) -> Iterator[Pairs]:
        """What ``attack``, that of the unit, is called with, once or once for each eps."""
        stage = self.unit.stage
        if isinstance(self.unit, ReferenceUnit):
            yield self.everyone(self.unit.eps)
            return
        if not stage.eps:
            yield self.everyone(np.nan)
            return
        audited = self.audited()
        if attack.minimal_norm or attack.per_sample_eps:
            pairs = _joined([self.at(eps, audited) for eps in stage.eps])
            yield _once(pairs) if attack.minimal_norm else pairs
            return
        for eps in stage.eps:
            yield self.at(eps, audited)

    def everyone(self, eps: float) -> Pairs:
        """Every correct sample."""
        samples = np.flatnonzero(self.bounds.correct)
        at = np.full(len(samples), eps)
        return Pairs(samples, at, at, np.zeros(len(samples), dtype=bool))

    def at(self, eps: float, audited: Floats) -> Pairs:
        """The samples that are open at eps, and those audited there; ``audited``: see there."""
        if not self.settings["prune"]:
            return self.everyone(eps)
        audit = (audited == eps) & ~self.bounds.broken(eps)
        samples = np.flatnonzero(self.bounds.open(eps) | audit)
        return Pairs(samples, np.full(len(samples), eps), np.full(len(samples), eps), audit[samples])

    def audited(self) -> Floats:
        """For each sample the eps at which it is audited: float64 (n,), NaN for most.

        It is the largest eps of the group that the sample's certificate covers. The audited samples are a random share
        of those with such an eps, the same for all attacks of the chain.
        """
        unit, settings = self.unit, self.settings
        covered = np.full(len(self.bounds.correct), np.nan)
        if not settings["prune"]:  # everything is attacked anyway
            return covered
        for eps in unit.stage.eps:
            covered[self.bounds.certified(eps)] = eps
        certified = np.flatnonzero(np.isfinite(covered))
        size = int(np.ceil(settings["audit"] * len(certified)))
        key = files.sha256_json([unit.certify, unit.norm.value, unit.stage.eps, unit.stage.seed])
        kept = np.random.default_rng(int(key[:16], 16)).choice(certified, size, replace=False)
        audited = np.full_like(covered, np.nan)
        audited[kept] = covered[kept]
        return audited


def _joined(parts: list[Pairs]) -> Pairs:
    return Pairs(*(np.concatenate([vars(part)[name] for part in parts]) for name in vars(parts[0])))


def _once(pairs: Pairs) -> Pairs:
    """Each sample once, without an eps; it counts as audited only if it is open nowhere."""
    frame = pd.DataFrame(vars(pairs)).groupby("samples").agg(reach=("reach", "max"), audit=("audit", "all"))
    samples, nowhere = frame.index.to_numpy(np.int64), np.full(len(frame), np.nan)
    return Pairs(samples, nowhere, frame["reach"].to_numpy(float), frame["audit"].to_numpy(bool))
