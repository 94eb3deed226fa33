"""Records as typed values: the columns of each kind, declared once, and the facts that go with them.

A record is a table with one row per attacked or certified sample, and facts about all of it. In a file the facts are
metadata of the table; ``encode`` and ``decode`` are the one place that writes and reads them. What a record must agree
with beyond its own columns is in ``checks``.
"""

import dataclasses
import hashlib
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, TypeVar, get_type_hints

import numpy as np
from numpy.typing import NDArray

from lipbench._internal.arrays import Bools, Floats, Ints
from lipbench.certification.grades import NONE

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow


@dataclass(frozen=True)
class Stored:
    """How a record stores a column. NaN and inf are refused where they have no meaning."""

    kind: str  # int64, double or bool, as pyarrow calls them
    words: str  # what it says
    unit: str = ""
    low: float = -math.inf  # its least value
    nan: bool = False
    inf: bool = False


OPTIONAL = {"optional": True}  # of a field of facts: a file does not hold it where it is None


@dataclass(frozen=True)
class CertifyFacts:
    """What the certificate says of the whole network, or why there is none."""

    lipschitz_bound: float | None  # None without a certificate
    claimed: float | None  # the constant on the card
    claim_confirmed: bool | None  # None without a claim
    not_analysed: str | None  # why there is no grade float; None if there is, and without a certificate
    dtype: str  # what the network computed in: float64 or float32, or its own without a certificate
    dimension: int  # entries of an input
    forward: int  # evaluations of the network
    # why there is no certificate: the network has no Lipschitz bound; None if there is one
    no_certificate: str | None = field(default=None, metadata=OPTIONAL)
    # what makes the robust accuracy an estimate: randomness, dependence on the batch, no gradient
    caution: str | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True)
class AttackFacts:
    """What an attack cost, and the digest of the adversarial inputs that it found."""

    forward: int  # evaluations of the network
    backward: int
    attacked: int  # rows
    audited: int  # rows
    witnesses_sha256: str | None = None  # None where it found none
    # why the attack was left out, on this model and shard: the record has no rows; None: it ran
    failed: str | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True)
class IndicatorFacts:
    """What the indicators were computed at."""

    eps: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Rows:
    """What every record has. All arrays have shape (rows,)."""

    facts_class: ClassVar[type]

    sample: Annotated[Ints, Stored("int64", "row of the test set")]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The columns by name, in the order of the file."""
        return {name: getattr(self, name) for name in columns_of(type(self))}

    def frame(self) -> "pd.DataFrame":
        """The columns as a frame of its own."""
        import pandas as pd

        return pd.DataFrame(self.arrays())


@dataclass(frozen=True, eq=False, kw_only=True)
class CertifyRecord(Rows):
    """One row per sample of the shard, in order."""

    facts_class: ClassVar[type] = CertifyFacts

    label: Annotated[Ints, Stored("int64", "true class", low=0)]
    prediction: Annotated[Ints, Stored("int64", "argmax of the logits, as computed in the run's dtype", low=0)]
    signed_margin: Annotated[
        Floats,
        Stored(
            "double",
            "min over j of (f_label - f_j) / L_label,j; its mean is the MCR; inf for a constant network; NaN without a "
            "certificate",
            "L2",
            nan=True,
            inf=True,
        ),
    ]
    certified_radius_float: Annotated[
        Floats,
        Stored("double", "0 where misclassified or tied, NaN without an error analysis", "L2", low=0, nan=True),
    ]
    certified_radius_real: Annotated[
        Floats, Stored("double", "0 where misclassified or tied, NaN without a certificate", "L2", low=0, nan=True)
    ]
    certified_radius_nominal: Annotated[
        Floats,
        Stored("double", "0 where misclassified or tied, NaN where the card claims nothing", "L2", low=0, nan=True),
    ]
    facts: CertifyFacts

    @property
    def correct(self) -> Bools:
        """Where the prediction is the label: bool (rows,)."""
        return self.label == self.prediction

    @property
    def grade(self) -> str:
        """The grade that headline numbers are read from: ``float`` where the model has one, else ``real``.

        ``none`` without a certificate.
        """
        if self.facts.no_certificate is not None:
            return NONE
        return "real" if np.isnan(self.certified_radius_float).all() else "float"

    def radius(self, grade: str) -> Floats:
        """The certified radii of a grade: float64 (rows,), in L2; NaN for the grade ``none``."""
        if grade == NONE:
            return np.full(len(self.sample), np.nan)
        radius: Floats = self.arrays()[f"certified_radius_{grade}"]
        return radius

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """The rows of several shards of one model; the facts are those of the first."""
        arrays = [part.arrays() for part in parts]
        return cls(
            **{name: np.concatenate([part[name] for part in arrays]) for name in arrays[0]}, facts=parts[0].facts
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class AttackRecord(Rows):
    """One row per attacked sample and eps; for a minimal-norm attack, one per attacked sample."""

    facts_class: ClassVar[type] = AttackFacts

    eps: Annotated[
        Floats,
        Stored(
            "double",
            "the radius attacked; NaN for a minimal-norm attack, which serves every eps",
            "norm",
            low=0,
            nan=True,
        ),
    ]
    audit: Annotated[Bools, Stored("bool", "attacked although its certificate closes the sample")]
    adversarial_distance: Annotated[
        Floats,
        Stored("double", "measured by lipbench; inf where no adversarial input was found", "norm", low=0, inf=True),
    ]
    adversarial_label: Annotated[
        Ints, Stored("int64", "class of the adversarial input; -1 where none was found", low=-1)
    ]
    forward: Annotated[Ints, Stored("int64", "evaluations of the network spent on the row", low=0)]
    backward: Annotated[Ints, Stored("int64", "gradients of the network spent on the row", low=0)]
    facts: AttackFacts

    @classmethod
    def left_out(cls, why: str) -> Self:
        """The record of an attack that cannot run on a model: no rows, and the reason."""
        dtypes = {"int64": np.int64, "double": np.float64, "bool": np.bool_}
        columns: dict[str, Any] = {name: np.zeros(0, dtypes[column.kind]) for name, column in columns_of(cls).items()}
        return cls(**columns, facts=AttackFacts(forward=0, backward=0, attacked=0, audited=0, failed=why))


@dataclass(frozen=True, eq=False, kw_only=True)
class IndicatorRecord(Rows):
    """One row per correct sample."""

    facts_class: ClassVar[type] = IndicatorFacts

    zero_gradient: Annotated[
        Bools, Stored("bool", "the gradient of cross-entropy at the input is zero, NaN or infinite")
    ]
    loss_stuck: Annotated[
        Bools, Stored("bool", "no step of a short gradient ascent within the largest eps raised cross-entropy")
    ]
    facts: IndicatorFacts


Record = CertifyRecord | AttackRecord | IndicatorRecord
AnyRecord = TypeVar("AnyRecord", bound=Record)


def columns_of(kind: type[Rows]) -> Mapping[str, Stored]:
    """The columns of a kind of record, by name, in the order of the file."""
    if kind not in _COLUMNS:
        _COLUMNS[kind] = MappingProxyType(_declared(kind))
    return _COLUMNS[kind]


_COLUMNS: dict[type[Rows], Mapping[str, Stored]] = {}  # type hints are slow to resolve, and every record needs them


def _declared(kind: type[Rows]) -> dict[str, Stored]:
    hints = get_type_hints(kind, include_extras=True)
    declared = {each.name: getattr(hints[each.name], "__metadata__", ()) for each in dataclasses.fields(kind)}
    return {name: marks[0] for name, marks in declared.items() if marks}


def table_of(columns: Mapping[str, Any]) -> "pyarrow.Table":
    """Columns, each (rows,), as a table."""
    import pyarrow as pa

    return pa.table({name: pa.array(np.asarray(values)) for name, values in columns.items()})


def encode(table: "pyarrow.Table", about: Mapping[str, Any]) -> bytes:
    """The content of a record's file; ``about``: plain data kept as metadata, names of model and unit among it."""
    import pyarrow.parquet as pq

    text = json.dumps(dict(about), sort_keys=True)
    table = table.replace_schema_metadata({"lipbench": text, "sha256": _digest(table, text.encode())})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
    return buffer.getvalue()


def decode(data: bytes) -> "tuple[pyarrow.Table, dict[str, Any]]":
    """The table and the metadata of a record's file; raises ValueError or pyarrow's errors if it is damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    # ``read_table`` takes three times as long for files this small: it looks for a data set of several, with threads
    table = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True).read(use_threads=False)
    about = table.schema.metadata[b"lipbench"]
    if table.schema.metadata[b"sha256"] != _digest(table, about).encode():
        raise ValueError("it is not what was written")
    return table, json.loads(about)


def _digest(table: "pyarrow.Table", about: bytes) -> str:
    """Of all that a record holds: parquet's own checksums leave out its metadata, names and types."""
    digest = hashlib.sha256(about)
    for name, column in zip(table.column_names, table.columns, strict=True):
        values = column.to_numpy()
        digest.update(f"{name} {values.dtype.str} {len(values)} ".encode() + values.tobytes())
    return digest.hexdigest()


def plain_facts(facts: Any) -> dict[str, Any]:
    """Facts as plain data; those that are optional, and None, are not mentioned."""
    optional = {each.name for each in dataclasses.fields(facts) if each.metadata.get("optional")}
    return {k: value for k, value in dataclasses.asdict(facts).items() if k not in optional or value is not None}


def from_table(kind: type[AnyRecord], table: "pyarrow.Table", facts: Mapping[str, Any]) -> AnyRecord:
    """The record of a table; raises ValueError or TypeError for other columns or facts than those of its kind.

    Every column has the declared type and no value out of its range. The arrays cannot be written to.
    """
    arrays = _arrays(columns_of(kind), table)
    declared = dataclasses.fields(kind.facts_class)
    expected = {each.name for each in declared}
    if not expected - {each.name for each in declared if each.metadata.get("optional")} <= facts.keys() <= expected:
        raise ValueError(f"facts {', '.join(sorted(facts))}; expected {', '.join(sorted(expected))}")
    return kind(**arrays, facts=kind.facts_class(**facts))


def _arrays(declared: Mapping[str, Stored], table: "pyarrow.Table") -> dict[str, NDArray[Any]]:
    if table.column_names != list(declared):
        raise ValueError(f"columns {', '.join(table.column_names)}; expected {', '.join(declared)}")
    for (name, column), kind, values in zip(declared.items(), map(str, table.schema.types), table.columns, strict=True):
        if kind != column.kind or values.null_count:
            raise ValueError(f"{name} is {kind}{' with gaps' * bool(values.null_count)}, not {column.kind}")
    # copies: what Arrow keeps beside the numbers takes as much memory as these do, in files this small
    found = {name: values.to_numpy().copy() for name, values in zip(declared, table.columns, strict=True)}
    for name, column in declared.items():
        values = found[name]
        if not column.nan and np.isnan(values).any():
            raise ValueError(f"{name} is NaN")
        if not column.inf and np.isinf(values).any():
            raise ValueError(f"{name} is infinite")
        if (values < column.low).any():
            raise ValueError(f"{name} is below {column.low:g}")
        values.setflags(write=False)  # several readers share what was read once
    return found
