"""What would contradict itself in a record, its unit, or the records before it.

A digest says that a file is what somebody wrote, not that it makes sense. So every record is checked against its unit
(samples, eps, model) and against what earlier records say. A false certificate, an adversarial input closer than the
certified radius, is a finding and not a contradiction.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from lipbench._internal.arrays import Bools, Floats, Ints
from lipbench.attacks.norm import Norm
from lipbench.certification.grades import CLAIM_TOLERANCE, GRADES
from lipbench.errors import printable
from lipbench.runs import factor_checks
from lipbench.runs.bounds import Bounds
from lipbench.runs.records import (
    AttackFacts,
    AttackRecord,
    BoxRecord,
    CertifyFacts,
    CertifyRecord,
    FactorRecord,
    IndicatorRecord,
    Record,
)
from lipbench.runs.units import AttackUnit, BoxUnit, CertifyUnit, FactorUnit, IndicatorUnit, ReferenceUnit, Unit

SLACK = 1 + 1e-9  # of distances: norms and quotients are rounded
DTYPES = ("float64", "float32", "bfloat16", "float16")  # what a network may have weights of
CONFIRMED = 1 + CLAIM_TOLERANCE


@dataclass(frozen=True)
class Known:
    """What is known of the n samples of a shard before a unit."""

    labels: Ints  # (n,)
    bounds: Bounds | None = None  # before the unit; None for a certify unit, which opens them


def check(unit: Unit, record: Record, known: Known | None = None) -> None:
    """Raise ValueError if the record of a unit contradicts itself, the unit, or what is ``known``.

    Its columns and facts are those of its kind (see ``encoding.from_table``).
    """
    if ((record.sample < unit.shard.start) | (record.sample >= unit.shard.stop)).any():
        raise ValueError(f"samples outside {unit.shard.start} .. {unit.shard.stop - 1}, its shard")
    match unit, record:
        case CertifyUnit(), CertifyRecord():
            _check_certify(unit, record)
        case AttackUnit() | ReferenceUnit(), AttackRecord():
            _check_attack(unit, record)
        case IndicatorUnit(), IndicatorRecord():
            _no_repeats(record.sample)
            _agree(record.facts, "eps", unit.eps)
        case FactorUnit(), FactorRecord():
            _no_repeats(record.sample)
            _check_counts(record.facts, ("forward", "backward"))
            factor_checks.check_factors(unit, record)
        case BoxUnit(), BoxRecord():
            _no_repeats(record.sample)
            _check_counts(record.facts, ("forward", "backward"))
            factor_checks.check_box(unit, record)
        case _:
            raise ValueError(f"a {type(record).__name__}, of no {type(unit).__name__}")
    if known is not None:
        _check_beside(unit, record, known)


def _check_beside(unit: Unit, record: Record, known: Known) -> None:
    """The record against what earlier ones say of its samples."""
    if isinstance(record, CertifyRecord):
        if (record.label != known.labels).any():
            raise ValueError("its labels differ from those of the test set, or of other records")
        return
    if known.bounds is None:
        return
    rows = record.sample - unit.shard.start
    if not known.bounds.correct[rows].all():
        raise ValueError("rows of samples that are misclassified")
    if isinstance(record, IndicatorRecord):
        _complete(known.bounds.correct, rows)
    elif isinstance(record, FactorRecord):
        factor_checks.check_beside(record, known.bounds)
    elif isinstance(unit, BoxUnit) and isinstance(record, BoxRecord):
        factor_checks.check_share(unit, record, known.bounds)
    elif isinstance(unit, AttackUnit | ReferenceUnit) and isinstance(record, AttackRecord) and not record.facts.failed:
        _check_rows(unit, record, rows, known.labels, known.bounds)


def _check_certify(unit: CertifyUnit, record: CertifyRecord) -> None:
    if not np.array_equal(record.sample, np.arange(unit.shard.start, unit.shard.stop)):
        raise ValueError(f"samples that are not {unit.shard.start} .. {unit.shard.stop - 1}, each once and in order")
    classes = unit.card.get("num_classes", math.inf)
    if (np.maximum(record.label, record.prediction) >= classes).any():
        raise ValueError(f"labels or predictions beyond {classes - 1}, the last class")
    _check_certificate(unit, record.facts)
    correct, margin = record.correct, record.signed_margin
    if (margin[correct] < 0).any() or (margin[~correct] > 0).any():
        raise ValueError("signed_margin is below 0 where correct, or above 0 where misclassified")
    if record.facts.lipschitz_bound == 0 and (np.isfinite(margin) & (margin != 0)).any():
        raise ValueError("signed_margin is finite for a Lipschitz bound of 0")
    _check_radii(record)
    if record.facts.forward < unit.shard.size:
        raise ValueError(f"forward is {record.facts.forward}, below the number of samples")


def _check_radii(record: CertifyRecord) -> None:
    facts, diameter = record.facts, math.sqrt(record.facts.dimension)
    none = facts.no_certificate is not None
    if (np.isnan(record.signed_margin) != none).any():
        raise ValueError("signed_margin is NaN where there is a certificate, or the other way round")
    without = {"float": none or facts.not_analysed is not None, "real": none, "nominal": facts.claimed is None}
    for grade in GRADES:
        radius = record.radius(grade)
        if (np.isnan(radius) != without[grade]).any():
            raise ValueError(f"certified_radius_{grade} is NaN where it has a value, or the other way round")
        if (radius[~record.correct] > 0).any():
            raise ValueError(f"certified_radius_{grade} is above 0 where misclassified")
        if _above(radius, diameter):
            raise ValueError(f"certified_radius_{grade} is beyond the diameter of the input range")
    # less by the rounding errors
    if _above(record.certified_radius_real, np.clip(record.signed_margin, 0, diameter)):
        raise ValueError("certified_radius_real is above signed_margin")
    if _above(record.certified_radius_float, record.certified_radius_real):
        raise ValueError("certified_radius_float is above certified_radius_real, which it implies")


def _above(radius: Floats, limit: Floats | float) -> bool:
    """Whether a radius exceeds its limit by more than roundings; NaN does not."""
    return bool((radius > limit * SLACK + np.finfo(float).tiny).any())


def _check_certificate(unit: CertifyUnit, facts: CertifyFacts) -> None:
    """What the certify unit says of the whole network; the values come from a file, and may have any type."""
    bound, claimed, confirmed = facts.lipschitz_bound, facts.claimed, facts.claim_confirmed
    certified = facts.no_certificate is None
    for name in ("no_certificate", "caution"):
        if not (getattr(facts, name) is None or (getattr(facts, name) and isinstance(getattr(facts, name), str))):
            raise ValueError(f"{name} is {getattr(facts, name)!r}, no sentence")
    if certified and (bound is None or not _is_number(bound) or bound < 0):
        raise ValueError(f"the Lipschitz bound {bound!r} is no finite number")
    if not certified and (bound is not None or facts.not_analysed is not None):
        raise ValueError("a Lipschitz bound, or a grade, of a network without a certificate")
    if not (facts.not_analysed is None or isinstance(facts.not_analysed, str)):
        raise ValueError(f"not_analysed is {facts.not_analysed!r}, no reason")
    if unit.card:
        _agree(facts, "claimed", (unit.card.get("claimed") or {}).get("constant"))
        _agree(facts, "dimension", math.prod(unit.card["input_shape"]))
    if certified:
        _agree(facts, "dtype", unit.settings.get("dtype", facts.dtype))
    elif facts.dtype not in DTYPES:
        raise ValueError(f"dtype is {facts.dtype!r}")
    _check_counts(facts, ("dimension", "forward"))
    if confirmed is not None and not isinstance(confirmed, bool):
        raise ValueError(f"claim_confirmed is {confirmed!r}")
    if confirmed != (None if claimed is None or bound is None else bound <= claimed * CONFIRMED):
        raise ValueError(f"claim_confirmed is {confirmed}, for a claim of {claimed} and a bound of {bound}")


def _check_attack(unit: AttackUnit | ReferenceUnit, record: AttackRecord) -> None:
    grid, eps = unit.stage.eps, record.eps
    minimal_norm = np.isnan(eps)
    if not minimal_norm.all() and (minimal_norm.any() or not grid or not np.isin(eps, grid).all()):
        raise ValueError(f"rows of another eps than {', '.join(map(str, grid)) or 'none'}, its unit's")
    _no_repeats(record.sample, eps)
    distance, label = record.adversarial_distance, record.adversarial_label
    hit = np.isfinite(distance)
    if (hit != (label >= 0)).any():
        raise ValueError("adversarial_label is -1 where an input was found, or a class where none was")
    if unit.card:
        if (distance[hit] > _diameter(unit.norm, math.prod(unit.card["input_shape"]))).any():
            raise ValueError("adversarial_distance is beyond the diameter of the input range")
        if (label >= unit.card["num_classes"]).any():
            raise ValueError(f"adversarial_label is beyond {unit.card['num_classes'] - 1}, the last class")
    if unit.everyone and record.audit.any():
        raise ValueError("audited rows where nothing is closed")
    _check_attack_facts(record)


def _check_attack_facts(record: AttackRecord) -> None:
    facts, rows = record.facts, len(record.sample)
    _check_counts(facts, ("forward", "backward", "attacked", "audited"))
    _agree(facts, "attacked", rows)
    for name, column in (("audited", record.audit), ("forward", record.forward), ("backward", record.backward)):
        _agree(facts, name, int(column.sum()))
    if facts.forward < rows:
        raise ValueError(f"forward is {facts.forward}, below the number of attacked rows")
    if not (facts.witnesses_sha256 is None or isinstance(facts.witnesses_sha256, str)):
        raise ValueError(f"witnesses_sha256 is {facts.witnesses_sha256!r}, no digest")
    if facts.failed is not None:
        _check_failed(facts)


def _check_failed(facts: AttackFacts) -> None:
    """An attack that was left out has a reason, and nothing else."""
    why = facts.failed
    if not isinstance(why, str) or not why or printable(why) != why:
        raise ValueError("failed is no short printable text")
    if facts != AttackFacts(forward=0, backward=0, attacked=0, audited=0, failed=why):
        raise ValueError("an attack that was left out has rows, evaluations or witnesses")


def _check_rows(
    unit: AttackUnit | ReferenceUnit, record: AttackRecord, rows: Ints, labels: Ints, before: Bounds
) -> None:
    """The rows against the bounds of their samples before the unit."""
    if (record.adversarial_label == labels[rows]).any():
        raise ValueError("adversarial_label is the sample's own label")
    everyone, eps, radii = unit.everyone, record.eps, unit.stage.eps or (math.nan,)
    after = before.copy().replay([record])
    # what is still open now was open then; what is not may have been closed in between
    due = [before.correct] * len(radii) if everyone else [after.open(radius) for radius in radii]
    certified = [before.certified(radius) & ~before.broken(radius) for radius in radii]
    closed = np.zeros(len(rows), dtype=bool)  # by the certificate, at an eps that the row answers for
    for radius, attacked, settled in zip(radii, due, certified, strict=True):
        ours = (eps == radius) | np.isnan(eps)
        _complete(attacked, rows[ours])
        closed |= ours & settled[rows]
    if (record.audit & ~closed).any():
        raise ValueError("audited rows of samples that their certificate does not close")


def _complete(due: Bools, rows: Ints) -> None:
    missing = due.copy()
    missing[rows] = False
    if missing.any():
        raise ValueError(f"rows are missing: {int(missing.sum())} samples were never attacked")


def _no_repeats(sample: Ints, eps: Floats | None = None) -> None:
    keys = sample if eps is None else sample + 1j * np.nan_to_num(eps, nan=-1.0)
    if len(np.unique(keys)) < len(sample):
        raise ValueError("the same row twice")


def _check_counts(facts: Any, names: tuple[str, ...]) -> None:
    for name in names:
        value = getattr(facts, name)
        if type(value) is not int or value < 0:
            raise ValueError(f"{name} is {value!r}, no count")


def _agree(facts: Any, name: str, expected: Any) -> None:
    found = getattr(facts, name)
    if found != expected:
        raise ValueError(f"{name} is {found!r}, expected {expected!r}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _diameter(norm: Norm, dimension: int) -> float:
    return SLACK * (math.sqrt(dimension) if norm is Norm.L2 else 1.0)
