"""Records as files: tables in parquet, with facts as their metadata.

``encode`` and ``decode`` are the one place that writes and reads them, ``from_table`` the one that tells a record of a
kind from any other table.
"""

import dataclasses
import hashlib
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar, get_type_hints

import numpy as np
from numpy.typing import NDArray

from lipbench._internal.arrays import Ints

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
    several: bool = False  # columns NAME.0, NAME.1, ...: the field has shape (columns, rows)


OPTIONAL = {"optional": True}  # of a field of facts: a file does not hold it where it is None


@dataclass(frozen=True, eq=False, kw_only=True)
class Rows:
    """What every record has. All arrays have shape (rows,), but for those of several columns."""

    facts_class: ClassVar[type]

    sample: Annotated[Ints, Stored("int64", "row of the test set")]
    facts: Any  # of the class ``facts_class``

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The columns by name, in the order of the file."""
        found: dict[str, NDArray[Any]] = {}
        for name, column in columns_of(type(self)).items():
            values = getattr(self, name)
            found |= (
                {f"{name}.{place}": each for place, each in enumerate(values)} if column.several else {name: values}
            )
        return found

    def frame(self) -> "pd.DataFrame":
        """The columns as a frame of its own."""
        import pandas as pd

        return pd.DataFrame(self.arrays())


AnyRows = TypeVar("AnyRows", bound=Rows)


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


def from_table(kind: type[AnyRows], table: "pyarrow.Table", facts: Mapping[str, Any]) -> AnyRows:
    """The record of a table; raises ValueError or TypeError for other columns or facts than those of its kind.

    Every column has the declared type and no value out of its range. The arrays cannot be written to.
    """
    declared_columns = columns_of(kind)
    arrays = _fields(declared_columns, _arrays(_expanded(declared_columns, table.column_names), table))
    declared = dataclasses.fields(kind.facts_class)
    expected = {each.name for each in declared}
    if not expected - {each.name for each in declared if each.metadata.get("optional")} <= facts.keys() <= expected:
        raise ValueError(f"facts {', '.join(sorted(facts))}; expected {', '.join(sorted(expected))}")
    return kind(**arrays, facts=kind.facts_class(**facts))


def _expanded(declared: Mapping[str, Stored], names: Sequence[str]) -> dict[str, Stored]:
    """The declared columns, those of several columns as often as a table of these names has them."""
    found: dict[str, Stored] = {}
    for name, column in declared.items():
        count = sum(each.startswith(f"{name}.") for each in names)
        found |= {f"{name}.{place}": column for place in range(count)} if column.several else {name: column}
    return found


def _fields(declared: Mapping[str, Stored], arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The fields of a record, from its columns."""
    rows = len(next(iter(arrays.values())))
    found: dict[str, NDArray[Any]] = {}
    for name, column in declared.items():
        if column.several:
            parts = [values for key, values in arrays.items() if key.startswith(f"{name}.")]
            found[name] = np.stack(parts) if parts else np.zeros((0, rows))
            found[name].setflags(write=False)
        else:
            found[name] = arrays[name]
    return found


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
