"""The records of a run on disk: ``records/*.parquet``, one file per unit, and ``witnesses/`` beside them.

A unit that is there is never computed again; one that is half there does not exist. A record that contradicts itself,
or what other records say, counts as damaged (see ``checks``). What one process has read or written, it keeps, and reads
no file twice that did not change.
"""

import io
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from lipbench._internal import files
from lipbench.errors import LipbenchError, one_line
from lipbench.runs import checks, encoding
from lipbench.runs.checks import Known
from lipbench.runs.records import (
    AnyRecord,
    AttackRecord,
    BoxRecord,
    CertifyRecord,
    FactorRecord,
    IndicatorRecord,
    Record,
)
from lipbench.runs.units import AttackUnit, BoxUnit, CertifyUnit, FactorUnit, IndicatorUnit, ReferenceUnit, Unit

if TYPE_CHECKING:
    import pyarrow

LOG = logging.getLogger(__name__)
TICK = 0.1  # seconds; a file may change twice within one tick of its file system's clock, and look the same


class DamagedError(LipbenchError):
    """A record that is there and cannot be read, or contradicts itself or other records."""


class MissingError(LipbenchError):
    """A record that is not there."""


Identity = tuple[int, int, int, int]  # of a file: inode, size, and the times of its last changes


class RecordStore:
    """The records and witnesses below ``path``, and what this process has read of them."""

    def __init__(self, path: Path):
        self.path = path
        self.records = path / "records"
        self.witnesses = path / "witnesses"
        self._kept: dict[str, tuple[Identity, Record]] = {}  # by the unit's name

    def record_path(self, unit: Unit) -> Path:
        """Where the record of a unit lies."""
        return self.records / f"{unit.name}.parquet"

    def witness_path(self, unit: Unit) -> Path:
        """Where the adversarial inputs of an attack unit lie (safetensors: ``sample``, ``eps`` and ``x``)."""
        return self.witnesses / f"{unit.name}.safetensors"

    def has(self, unit: Unit) -> bool:
        """True if the unit's record is there, whole: a parquet file ends with its footer's length and a mark."""
        if self._recall(unit) is not None:
            return True
        path = self.record_path(unit)
        try:
            if not path.is_file():  # a pipe would never open
                return False
            with path.open("rb") as file:
                size = file.seek(0, io.SEEK_END)
                file.seek(max(0, size - 8))
                tail = file.read()
        except OSError:
            return False
        return tail[4:] == b"PAR1" and int.from_bytes(tail[:4], "little") + 12 <= size

    @overload
    def load(self, unit: CertifyUnit, known: Known | None = None) -> CertifyRecord: ...
    @overload
    def load(self, unit: AttackUnit | ReferenceUnit, known: Known | None = None) -> AttackRecord: ...
    @overload
    def load(self, unit: IndicatorUnit, known: Known | None = None) -> IndicatorRecord: ...
    @overload
    def load(self, unit: FactorUnit, known: Known | None = None) -> FactorRecord: ...
    @overload
    def load(self, unit: BoxUnit, known: Known | None = None) -> BoxRecord: ...
    @overload
    def load(self, unit: Unit, known: Known | None = None) -> Record: ...
    def load(self, unit: Unit, known: Known | None = None) -> Record:
        """The record of a unit, from its file unless this process has it already.

        ``known``: what it must agree with beyond its own unit. Raises MissingError if it is not there, DamagedError if
        it is damaged.
        """
        record = self._recall(unit)
        try:
            if record is None:
                record = self._read(unit)
            checks.check(unit, record, known)
        except (ValueError, TypeError) as error:
            raise self._damaged(unit, error) from error
        return record

    def _read(self, unit: Unit) -> Record:
        """The record from its file; its columns and facts are those of its kind."""
        import pyarrow as pa

        path = self.record_path(unit)
        if not path.is_file():  # a pipe would never open
            files.refuse_other(path)
            raise self._missing(unit)
        before = _identity(path)
        try:
            table, about = encoding.decode(path.read_bytes())
            record = _record(unit, table, about)
        except FileNotFoundError as error:
            raise self._missing(unit) from error
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
            raise self._damaged(unit, error) from error
        if before is not None and time.time_ns() - max(before[2:]) > TICK * 1e9:
            self._kept[unit.name] = before, record
        return record

    def write(self, unit: Unit, record: AnyRecord, witnesses: bytes | None = None) -> AnyRecord:
        """Store the record of a unit, and keep it; returns it as it is in the file.

        witnesses: the content of the unit's ``witness_path``, which is there before the record is; the record holds its
        digest.
        """
        path, witness_path, facts = self.record_path(unit), self.witness_path(unit), encoding.plain_facts(record.facts)
        for folder in (self.records, self.witnesses):
            files.refuse_link(folder)
        if witnesses is not None:
            files.write_bytes(witness_path, witnesses)
            facts["witnesses_sha256"] = files.sha256_bytes(witnesses)
        table, about = encoding.table_of(record.arrays()), {"model": unit.model, "unit": unit.name, **facts}
        files.write_bytes(path, encoding.encode(table, about))
        stored, identity = encoding.from_table(type(record), table, facts), _identity(path)
        if identity is not None:
            self._kept[unit.name] = identity, stored
        return stored

    def _recall(self, unit: Unit) -> Record | None:
        """What this process has of a unit; None if its file is not the one that was read or written."""
        kept = self._kept.get(unit.name)
        if kept is None:
            return None
        if kept[0] != _identity(self.record_path(unit)):
            del self._kept[unit.name]
            return None
        return kept[1]

    def load_whole(self, unit: Unit, known: Known | None = None) -> Record:
        """As ``load``; DamagedError also where the witnesses are there and not what was written."""
        record = self.load(unit, known)
        digest = record.facts.witnesses_sha256 if isinstance(record, AttackRecord) else None
        path = self.witness_path(unit)
        if digest is not None and path.exists() and files.sha256_bytes(path.read_bytes()) != digest:
            raise DamagedError(f"the witnesses {path} differ from what was written; their unit will be computed again")
        return record

    def damage(self, unit: Unit) -> DamagedError | None:
        """What is wrong with a unit's record, if it is there, or with its witnesses, if these are.

        Raises LipbenchError for what is no file and in the place of one: it is not lipbench's to remove.
        """
        for place in (self.record_path(unit), self.witness_path(unit)):
            if not place.is_file():
                files.refuse_other(place)
        try:
            self.load_whole(unit)
        except DamagedError as error:
            return error
        except MissingError:
            pass
        return None

    def discard(self, unit: Unit, damage: DamagedError) -> None:
        """Remove a damaged record, with a warning; the lease on its task must be held."""
        LOG.warning("%s", damage)
        files.refuse_link(self.records)
        files.remove(self.record_path(unit))

    @property
    def _again(self) -> str:
        return f"rerun `lipbench evaluate -o {self.path}` with the same other options to"

    def _missing(self, unit: Unit) -> MissingError:
        return MissingError(
            f"{self.path} lacks records of {unit.model}: the run is not finished; {self._again} finish it"
        )

    def _damaged(self, unit: Unit, error: Exception) -> DamagedError:
        reason = one_line(error)[:80]
        return DamagedError(
            f"the record {self.record_path(unit)} is damaged ({reason}); {self._again} compute it again"
        )


def _record(unit: Unit, table: "pyarrow.Table", about: Mapping[str, Any]) -> Record:
    facts = dict(about)
    if (facts.pop("model"), facts.pop("unit")) != (unit.model, unit.name):
        raise ValueError("it holds another unit's records")
    kind: type[Record] = unit.record_class
    return encoding.from_table(kind, table, facts)


def _identity(path: Path) -> Identity | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
