"""What a record may hold: its columns, declared once, and what would contradict itself.

A digest says that a file is what somebody wrote, not that it makes sense. So what is read is held against its own
columns, its unit (samples, eps, model), and what the records before it say. A false certificate, an adversarial input
closer than the certified radius, is a finding and no contradiction.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lipbench._internal.arrays import Bools, Floats, Ints
from lipbench.attacks.norm import Norm
from lipbench.certification.grades import CLAIM_TOLERANCE, GRADES
from lipbench.runs.bounds import Bounds
from lipbench.runs.plans import Unit

if TYPE_CHECKING:
    import pyarrow

SLACK = 1 + 1e-9  # of distances: norms and quotients are rounded
CONFIRMED = 1 + CLAIM_TOLERANCE


@dataclass(frozen=True)
class Column:
    """A column of a record; ``low`` is its least value. NaN and inf are refused where they have no meaning."""

    name: str
    kind: str  # int64, double or bool, as pyarrow calls them
    low: float = -math.inf
    nan: bool = False
    inf: bool = False


CERTIFY = (
    Column("sample", "int64"),  # row of the test set
    Column("label", "int64", low=0),
    Column("prediction", "int64", low=0),  # argmax of the logits, as computed in the run's arithmetic
    # min over j of (f_label - f_j) / L_label,j, L2 units; its mean is the MCR; inf for a constant network
    Column("signed_margin", "double", inf=True),
    # L2 units; 0 where misclassified or tied
    Column("certified_radius_float", "double", low=0, nan=True),  # NaN without an error analysis
    Column("certified_radius_real", "double", low=0),
    Column("certified_radius_nominal", "double", low=0, nan=True),  # NaN where the card claims nothing
)
ATTACK = (
    Column("sample", "int64"),  # row of the test set
    Column("eps", "double", low=0, nan=True),  # that was attacked; NaN for a minimal-norm attack, it serves every eps
    Column("audit", "bool"),  # True if the sample was closed by its certificate and attacked all the same
    # in the suite's norm, measured by lipbench; inf where none was found
    Column("adversarial_distance", "double", low=0, inf=True),
    Column("adversarial_label", "int64", low=-1),  # the class of the adversarial input; -1 where none was found
    # evaluations of the network spent on the row; they sum up to the unit's
    Column("forward", "int64", low=0),
    Column("backward", "int64", low=0),
)
INDICATORS = (
    Column("sample", "int64"),  # row of the test set
    Column("zero_gradient", "bool"),  # the gradient of cross-entropy at the input is zero, NaN or infinite
    Column("loss_stuck", "bool"),  # no step of a short gradient ascent inside the largest eps raised cross-entropy
)
COLUMNS = {"certify": CERTIFY, "attack": ATTACK, "alone": ATTACK, "indicators": INDICATORS}


@dataclass(frozen=True)
class Known:
    """What is known of the n samples of a shard before a unit is read."""

    labels: Ints  # (n,)
    ledger: Bounds | None = None  # before the unit; None for a certify unit, which opens it


def check(unit: Unit, table: "pyarrow.Table", info: Any, known: Known | None = None) -> None:
    """Raise ValueError if the records of a unit contradict themselves, the unit, or what is ``known``."""
    if not isinstance(info, dict) or info.get("model") != unit.model or info.get("unit", unit.name) != unit.name:
        raise ValueError("it holds another unit's records")
    found = _columns(COLUMNS[unit.role], table)
    sample = found["sample"]
    if ((sample < unit.shard.start) | (sample >= unit.shard.stop)).any():
        raise ValueError(f"samples outside {unit.shard.start} .. {unit.shard.stop - 1}, its shard")
    if unit.role == "certify":
        _check_certify(unit, found, info)
        if known is not None and (found["label"] != known.labels).any():
            raise ValueError("its labels differ from those of the test set, or of other records")
        return
    everyone = unit.role != "attack" or not _stage_eps(unit) or unit.settings.get("prune") is False
    if unit.role == "indicators":
        _no_repeats(sample)
        _agree(info, "eps", _stage_eps(unit)[0])
    else:
        _check_attack(unit, found, info, everyone=everyone)
    if known is not None and known.ledger is not None:
        _check_rows(unit, found, known.labels, known.ledger, everyone=everyone)


def _columns(declared: tuple[Column, ...], table: "pyarrow.Table") -> dict[str, NDArray[Any]]:
    """The columns as arrays; each has the declared type and nothing that is out of range."""
    names = [column.name for column in declared]
    if table.column_names != names:
        raise ValueError(f"columns {', '.join(table.column_names)}; expected {', '.join(names)}")
    for column, kind, values in zip(declared, map(str, table.schema.types), table.columns, strict=True):
        if kind != column.kind or values.null_count:
            raise ValueError(f"{column.name} is {kind}{' with gaps' * bool(values.null_count)}, not {column.kind}")
    found = {name: column.to_numpy() for name, column in zip(names, table.columns, strict=True)}
    for column in declared:
        values = found[column.name]
        if not column.nan and np.isnan(values).any():
            raise ValueError(f"{column.name} is NaN")
        if not column.inf and np.isinf(values).any():
            raise ValueError(f"{column.name} is infinite")
        if (values < column.low).any():
            raise ValueError(f"{column.name} is below {column.low:g}")
    return found


def _check_certify(unit: Unit, found: Mapping[str, NDArray[Any]], info: Mapping[str, Any]) -> None:
    if not np.array_equal(found["sample"], np.arange(unit.shard.start, unit.shard.stop)):
        raise ValueError(f"samples that are not {unit.shard.start} .. {unit.shard.stop - 1}, each once and in order")
    classes = unit.card.get("num_classes", math.inf)
    if (np.maximum(found["label"], found["prediction"]) >= classes).any():
        raise ValueError(f"labels or predictions beyond {classes - 1}, the last class")
    _check_certificate(unit, info)
    correct, margin = found["label"] == found["prediction"], found["signed_margin"]
    if (margin[correct] < 0).any() or (margin[~correct] > 0).any():
        raise ValueError("signed_margin is below 0 where correct, or above 0 where misclassified")
    if info["lipschitz_bound"] == 0 and (np.isfinite(margin) & (margin != 0)).any():
        raise ValueError("signed_margin is finite for a Lipschitz bound of 0")
    diameter = math.sqrt(info["dimension"])
    without = {"float": info["not_analysed"] is not None, "real": False, "nominal": info["claimed"] is None}
    for grade in GRADES:
        radius = found[f"certified_radius_{grade}"]
        if (np.isnan(radius) != without[grade]).any():
            raise ValueError(f"certified_radius_{grade} is NaN where it has a value, or the other way round")
        if (radius[~correct] > 0).any():
            raise ValueError(f"certified_radius_{grade} is above 0 where misclassified")
        if _above(radius, diameter):
            raise ValueError(f"certified_radius_{grade} is beyond the diameter of the input range")
    if _above(found["certified_radius_real"], np.clip(margin, 0, diameter)):  # less by the rounding errors
        raise ValueError("certified_radius_real is above signed_margin")
    if _above(found["certified_radius_float"], found["certified_radius_real"]):
        raise ValueError("certified_radius_float is above certified_radius_real, which it implies")
    if info["forward"] < unit.shard.size:
        raise ValueError(f"forward is {info['forward']}, below the number of samples")


def _above(radius: Floats, limit: Floats | float) -> bool:
    """Whether a radius exceeds its limit by more than roundings; NaN does not."""
    return bool((radius > limit * SLACK + np.finfo(float).tiny).any())


def _check_certificate(unit: Unit, info: Mapping[str, Any]) -> None:
    """What the certify unit says of the whole network."""
    bound, claimed, confirmed = (info[name] for name in ("lipschitz_bound", "claimed", "claim_confirmed"))
    if not _is_number(bound) or bound < 0:
        raise ValueError(f"the Lipschitz bound {bound!r} is no finite number")
    if not (info["not_analysed"] is None or isinstance(info["not_analysed"], str)):
        raise ValueError(f"not_analysed is {info['not_analysed']!r}, no reason")
    if unit.card:
        _agree(info, "claimed", (unit.card.get("claimed") or {}).get("constant"))
        _agree(info, "dimension", math.prod(unit.card["input_shape"]))
    _agree(info, "dtype", unit.settings.get("dtype", info["dtype"]))
    _check_counts(info, ("dimension", "forward"))
    if confirmed is not None and not isinstance(confirmed, bool):
        raise ValueError(f"claim_confirmed is {confirmed!r}")
    if confirmed != (None if claimed is None else bound <= claimed * CONFIRMED):
        raise ValueError(f"claim_confirmed is {confirmed}, for a claim of {claimed} and a bound of {bound}")


def _check_attack(unit: Unit, found: Mapping[str, NDArray[Any]], info: Mapping[str, Any], *, everyone: bool) -> None:
    grid, eps = _stage_eps(unit), found["eps"]
    minimal_norm = np.isnan(eps)
    if not minimal_norm.all() and (minimal_norm.any() or not grid or not np.isin(eps, grid).all()):
        raise ValueError(f"rows of another eps than {', '.join(map(str, grid)) or 'none'}, its unit's")
    _no_repeats(found["sample"], eps)
    distance, label = found["adversarial_distance"], found["adversarial_label"]
    hit = np.isfinite(distance)
    if (hit != (label >= 0)).any():
        raise ValueError("adversarial_label is -1 where an input was found, or a class where none was")
    if unit.norm is not None and unit.card:
        if (distance[hit] > _diameter(unit.norm, math.prod(unit.card["input_shape"]))).any():
            raise ValueError("adversarial_distance is beyond the diameter of the input range")
        if (label >= unit.card["num_classes"]).any():
            raise ValueError(f"adversarial_label is beyond {unit.card['num_classes'] - 1}, the last class")
    if everyone and found["audit"].any():
        raise ValueError("audited rows where nothing is closed")
    _check_counts(info, ("forward", "backward", "attacked", "audited"))
    _agree(info, "attacked", len(eps))
    for name, column in (("audited", "audit"), ("forward", "forward"), ("backward", "backward")):
        _agree(info, name, int(found[column].sum()))
    if info["forward"] < len(eps):
        raise ValueError(f"forward is {info['forward']}, below the number of attacked rows")


def _check_rows(unit: Unit, found: Mapping[str, NDArray[Any]], labels: Ints, ledger: Bounds, *, everyone: bool) -> None:
    """The rows against the bounds of their samples before the unit."""
    rows = found["sample"] - unit.shard.start
    if not ledger.correct[rows].all():
        raise ValueError("rows of samples that are misclassified")
    grid = _stage_eps(unit) or (math.nan,)
    if unit.role == "indicators":
        _complete(ledger.correct, rows)
        return
    if (found["adversarial_label"] == labels[rows]).any():
        raise ValueError("adversarial_label is the sample's own label")
    eps, audit, after = found["eps"], found["audit"], ledger.copy()
    after.attacked(rows, found["adversarial_distance"])
    closed = np.zeros(len(rows), dtype=bool)  # by the certificate, at an eps that the row answers for
    for radius in grid:
        ours = (eps == radius) | np.isnan(eps)
        # what is still open now was open then; what is not may have been closed in between
        _complete(ledger.correct if everyone else after.open(radius), rows[ours])
        closed |= ours & (ledger.certified(radius) & ~ledger.broken(radius))[rows]
    if (audit & ~closed).any():
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


def _check_counts(info: Mapping[str, Any], names: tuple[str, ...]) -> None:
    for name in names:
        if type(info[name]) is not int or info[name] < 0:
            raise ValueError(f"{name} is {info[name]!r}, no count")


def _agree(info: Mapping[str, Any], name: str, expected: Any) -> None:
    if info[name] != expected:
        raise ValueError(f"{name} is {info[name]!r}, expected {expected!r}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _diameter(norm: Norm, dimension: int) -> float:
    return SLACK * (math.sqrt(dimension) if norm is Norm.L2 else 1.0)


def _stage_eps(unit: Unit) -> tuple[float, ...]:
    return () if unit.stage is None else unit.stage.eps
