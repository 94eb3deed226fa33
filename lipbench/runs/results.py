"""What a run knows of each model under each suite, read back from its run folder."""

import functools
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lipbench._internal import files, schema
from lipbench._internal.arrays import Bools, Floats, Ints
from lipbench.attacks.suites import Suite
from lipbench.certification.grades import FROM_THE_STRONGEST, NOMINAL, NONE, REAL
from lipbench.models.cards import Card
from lipbench.runs.attacked import AttackRecords, Spent
from lipbench.runs.bounds import Bounds
from lipbench.runs.chains import known_of_factors
from lipbench.runs.checks import Known
from lipbench.runs.factors import FactorRecords, Factors
from lipbench.runs.folder import RunFolder
from lipbench.runs.plans import ModelEntry, Run
from lipbench.runs.records import (
    AttackRecord,
    BoxRecord,
    CertifyFacts,
    CertifyRecord,
    FactorRecord,
    IndicatorRecord,
    Record,
)
from lipbench.runs.suite_plans import SuitePlan
from lipbench.runs.units import AttackUnit, ReferenceUnit, Shard, SuiteUnit

Grid = tuple[float, ...]  # a group of eps
Found = Sequence[tuple[SuiteUnit, Record]]  # units of a suite with their records, on every shard


@dataclass(frozen=True)
class Reference:
    """What the reference attack found by itself. n is the number of samples."""

    bounds: dict[float, Bounds]  # by eps, of n samples: after the reference attack at that eps, and nothing else
    evaluations: dict[float, int]  # by eps, forward and backward, that it took
    records: tuple[AttackRecord, ...]  # at every eps and on every shard

    def broken(self, eps: float) -> Bools:
        """Misclassified, or broken by the reference attack at ``eps``: bool (n,)."""
        return self.bounds[eps].broken(eps)


@dataclass(frozen=True)
class Indicators:
    """Signs that gradients mislead, see ``IndicatorRecord``; False where misclassified."""

    zero_gradient: Bools  # (n,)
    loss_stuck: Bools  # (n,)


@dataclass(frozen=True)
class ModelResults:
    """A model under a suite, after all of the suite's attacks. n is the number of samples."""

    model: str
    card: Card
    suite: Suite
    samples: Ints  # (n,) rows of the test set
    labels: Ints  # (n,)
    predictions: Ints  # (n,)
    grade: str  # of the headline numbers: float, real where no error analysis is known, none without a certificate
    bounds_by_grade: dict[str, Bounds]  # of the grades that the model has, in the suite's norm, after every attack
    mcr: float  # mean signed margin, in the suite's norm
    answers: str | None  # digest of all predictions and signed margins; None where the latter tell nothing
    certificate: CertifyFacts
    attacks: tuple[AttackRecords, ...]  # in the order of work, the opening one first
    minimal_norm: bool  # an attack on every sample minimises the norm: distances between the grid's eps mean something
    left_out: Mapping[str, str]  # attacks that failed on the model, with the reason; the reference attack among them
    why: FactorRecords  # what explains the tightness of each sample
    reference: Reference | None = None  # None without a reference attack
    indicators: Indicators | None = None  # likewise

    @functools.cached_property
    def tested(self) -> dict[str, Bounds]:
        """The bounds of each grade from which violations are read: the reference attack's findings count as well."""
        if self.reference is None:
            return self.bounds_by_grade
        records = self.reference.records
        return {grade: bounds.copy().replay(records) for grade, bounds in self.bounds_by_grade.items()}

    @functools.cached_property
    def bounds(self) -> Bounds:
        """The bounds of the headline numbers."""
        return self.bounds_by_grade[self.grade]

    @functools.cached_property
    def n(self) -> int:
        """Number of samples."""
        return len(self.bounds.correct)

    @functools.cached_property
    def spent(self) -> dict[float, Spent]:
        """What the attacks did for each eps of the suite."""
        return {eps: Spent.of(self.attacks, eps, self.n) for eps in self.suite.eps}

    @property
    def certified(self) -> bool:
        """Whether it has a certificate: headline numbers of the grade ``none`` are n/a."""
        return self.grade != NONE

    @functools.cached_property
    def violations(self) -> dict[str, int]:
        """How many certificates of each grade are false."""
        return {grade: int(bounds.violations().sum()) for grade, bounds in self.tested.items()}

    @functools.cached_property
    def tightness(self) -> Floats:
        """That of the correct samples with a known adversarial input, see ``Bounds.tightness``."""
        return self.bounds.tightness()

    @functools.cached_property
    def factors(self) -> Factors:
        """Why each certificate is below the distance at which the sample was broken."""
        return self.why.factors(self.bounds, self.suite.norm)

    def broken_by(self, eps: float) -> dict[str, Bools]:
        """The samples that each attack broke within ``eps``, by the attack's name: bool (n,) each."""
        return {attack.name: attack.broken(eps) for attack in self.attacks}


def load(run_folder: RunFolder) -> list[ModelResults]:
    """All of a finished run, model by model in the order of the run, suite by suite; models that failed are left out.

    Raises LipbenchError if a unit is missing or damaged.
    """
    run, found = run_folder.evaluated(), []
    labels: dict[Shard, Known] = {}  # of the first model: all were evaluated on the same samples
    for entry in run.models:
        card, certified, why = _card(entry), [], []
        for shard in run.shards:
            certified.append(run_folder.load(run.certify_unit(entry, shard), labels.get(shard)))
            labels.setdefault(shard, Known(certified[-1].label))
            why.append(run_folder.load(run.factor_unit(entry, shard), known_of_factors(certified[-1])))
        found += [_results(run_folder, run, entry, plan, card, certified, why) for plan in run.suites]
    return found


def _card(entry: ModelEntry) -> Card:
    return schema.parse(Card, entry.card, f"the card of {entry.name} in run.json", "card")


def _results(
    folder: RunFolder,
    run: Run,
    entry: ModelEntry,
    plan: SuitePlan,
    card: Card,
    certified: Sequence[CertifyRecord],
    why: Sequence[FactorRecord],
) -> ModelResults:
    """``certified``, ``why``: the records of the certify and factor units, shard by shard."""
    certify = CertifyRecord.joined(certified)
    shards = zip(run.shards, certified, strict=True)
    found = [pair for shard, record in shards for pair in folder.chain(run, entry, shard, plan, record)]
    attacked = [record for unit, record in found if isinstance(unit, AttackUnit) and isinstance(record, AttackRecord)]
    norm, facts, attacks = plan.suite.norm, certify.facts, _attacks(plan, found, len(certify.sample))
    held = {certify.grade} | ({REAL.name} if facts.no_certificate is None else set())
    held |= {NOMINAL.name} if facts.claimed is not None else set()
    return ModelResults(
        model=entry.name,
        card=card,
        suite=plan.suite,
        samples=certify.sample,
        labels=certify.label,
        predictions=certify.prediction,
        grade=certify.grade,
        bounds_by_grade={
            grade: Bounds.certify(certify, norm, grade).replay(attacked)
            for grade in FROM_THE_STRONGEST
            if grade in held
        },
        mcr=norm.radius_from_l2(_mean(certify.signed_margin), facts.dimension),
        answers=_answers(certify),
        certificate=facts,
        attacks=attacks,
        minimal_norm=bool(plan.opening) and attacks[0].failed is None,
        why=FactorRecords(certify, tuple(why), tuple(each for _, each in found if isinstance(each, BoxRecord))),
        left_out={attack.name: attack.failed for attack in attacks if attack.failed is not None} | _unreferenced(found),
        reference=None if plan.reference_attack is None else _reference(plan, found, certify),
        indicators=None if plan.reference_attack is None else _indicators(found, len(certify.sample)),
    )


def _mean(values: Floats) -> float:
    """NaN for margins that are infinite on both sides, which those of a constant network are."""
    with np.errstate(invalid="ignore"):
        return float(values.mean())


def _answers(certify: CertifyRecord) -> str | None:
    """Equal for two models only if their weights are, but for how these are stored; None for a constant network."""
    margin = certify.signed_margin
    if not (np.isfinite(margin) & (margin != 0)).any():
        return None
    return files.sha256_bytes(certify.prediction.tobytes() + margin.tobytes())


def _attacks(plan: SuitePlan, found: Found, n: int) -> tuple[AttackRecords, ...]:
    """The records of all shards and groups of eps, attack by attack. n is the number of samples."""
    by_attack: dict[tuple[int, int], list[tuple[Grid, AttackRecord]]] = {}  # by its seed, and its place in the suite
    for unit, record in found:
        if isinstance(unit, AttackUnit) and isinstance(record, AttackRecord):
            key = (plan.seeds.index(unit.stage.seed), unit.stage.place)
            by_attack.setdefault(key, []).append((unit.stage.eps, record))
    names: dict[str, None] = {}
    attacks = []
    for (_, place), records in sorted(by_attack.items(), key=lambda item: item[0]):
        name = str(plan.opening[0] if place < 0 else plan.attacks[place])
        numbered = (f"{name}#{number}" for number in itertools.count(2))  # an attack may be called so by itself
        shown = next(each for each in itertools.chain([name], numbered) if each not in names)
        names[shown] = None
        failed = next((record.facts.failed for _, record in records if record.facts.failed is not None), None)
        attacks.append(AttackRecords(shown, tuple(records), n, failed))
    return tuple(attacks)


def _unreferenced(found: Found) -> dict[str, str]:
    """The reference attack, if it failed, with the reason."""
    references = [(unit, record) for unit, record in found if isinstance(unit, ReferenceUnit)]
    return {
        f"{unit.stage.attack} alone": record.facts.failed
        for unit, record in reversed(references)
        if isinstance(record, AttackRecord) and record.facts.failed is not None
    }


def _reference(plan: SuitePlan, found: Found, certify: CertifyRecord) -> Reference | None:
    """None where the reference attack failed."""
    if _unreferenced(found):
        return None
    by_eps: dict[float, list[AttackRecord]] = {eps: [] for eps in plan.suite.eps}
    for unit, record in found:
        if isinstance(unit, ReferenceUnit) and isinstance(record, AttackRecord):
            by_eps[unit.eps].append(record)
    start = Bounds.certify(certify, plan.suite.norm, certify.grade)
    return Reference(
        {eps: start.copy().replay(records) for eps, records in by_eps.items()},
        {eps: sum(each.facts.forward + each.facts.backward for each in records) for eps, records in by_eps.items()},
        tuple(itertools.chain.from_iterable(by_eps.values())),
    )


def _indicators(found: Found, n: int) -> Indicators:
    records = [record for _, record in found if isinstance(record, IndicatorRecord)]
    return Indicators(
        _at_samples(((each.sample, each.zero_gradient) for each in records), n),
        _at_samples(((each.sample, each.loss_stuck) for each in records), n),
    )


def _at_samples(parts: Iterable[tuple[Ints, Bools]], n: int) -> Bools:
    """Values of some samples, as an array over all of them: False elsewhere. The samples are 0 .. n - 1."""
    values = np.zeros(n, dtype=bool)
    for samples, part in parts:
        values[samples] = part
    return values
