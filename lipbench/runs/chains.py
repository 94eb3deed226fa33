"""The bounds of a shard under a suite, unit by unit: what must be known before each."""

from collections.abc import Sequence

from lipbench.attacks.norm import Norm
from lipbench.runs.bounds import Bounds
from lipbench.runs.checks import Known
from lipbench.runs.plans import ModelEntry, Run
from lipbench.runs.records import AttackRecord, CertifyRecord, Record
from lipbench.runs.suite_plans import SuitePlan
from lipbench.runs.units import AttackUnit, Shard, SuiteUnit


class Chains:
    """Each group of eps is a chain that continues from what the opening attack left.

    ``units``: those of a model and shard under a suite, in the order of work. ``certify``: the record of the certify
    unit; None where it is not known: then no bounds are.
    """

    def __init__(self, units: Sequence[SuiteUnit], certify: CertifyRecord | None) -> None:
        self.units = units
        self._labels = None if certify is None else certify.label
        self._start = None if certify is None else Bounds.certify(certify, units[0].norm, certify.grade)
        self._groups: dict[tuple[float, ...], Bounds | None] = {(): _copied(self._start)}

    @classmethod
    def of(cls, run: Run, model: ModelEntry, shard: Shard, plan: SuitePlan, certify: CertifyRecord | None) -> "Chains":
        """The chains of a model and shard under a suite of a run."""
        return cls(run.suite_units(model, shard, plan), certify)

    def known(self, unit: SuiteUnit) -> Known | None:
        """What is known before a unit of the shard; None after one that is missing."""
        bounds = self._bounds(unit)
        return None if bounds is None or self._labels is None else Known(self._labels, bounds)

    def _bounds(self, unit: SuiteUnit) -> Bounds | None:
        if not isinstance(unit, AttackUnit):  # outside the chains
            return self._start
        group = unit.stage.eps
        if group not in self._groups:
            self._groups[group] = _copied(self._groups[()])
        return self._groups[group]

    def add(self, unit: SuiteUnit, record: Record | None) -> None:
        """Note what a unit found; None: its record is missing."""
        if not isinstance(unit, AttackUnit):
            return
        bounds = self._bounds(unit)
        if bounds is None or not isinstance(record, AttackRecord):
            self._groups[unit.stage.eps] = None
        else:
            bounds.replay([record])


def known_of_factors(certify: CertifyRecord) -> Known:
    """What is known before the factor unit of a shard: its labels, and the headline radii in L2."""
    return Known(certify.label, Bounds.certify(certify, Norm.L2, certify.grade))


def _copied(bounds: Bounds | None) -> Bounds | None:
    return None if bounds is None else bounds.copy()
