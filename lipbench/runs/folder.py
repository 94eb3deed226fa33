"""Run folders: ``run.json`` says what a run is, ``records/*.parquet`` holds what was found, one file per unit.

    certify           columns CERTIFY, one row per sample of the shard
    attack, alone     columns ATTACK, one row per attacked sample and eps (per sample for a minimal-norm attack)
    indicators        columns INDICATORS, one row per correct sample

A unit that is there is never computed again; one that is half there does not exist (see ``plans``). A record whose rows
contradict themselves, or what other records say, counts as damaged (see ``contents``).
"""

import hashlib
import io
import json
import logging
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lipbench._internal import files
from lipbench._internal.arrays import Ints
from lipbench.attacks.norm import Norm
from lipbench.errors import LipbenchError, one_line
from lipbench.runs import records
from lipbench.runs.bounds import Bounds
from lipbench.runs.journal import Journal
from lipbench.runs.plans import FORMAT, ModelEntry, Run, Shard, SuitePlan, Unit
from lipbench.runs.records import Known
from lipbench.work.lease import Leases, is_lease

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow

LOG = logging.getLogger(__name__)
RUN = "run.json"
CERTIFY, ATTACK, INDICATORS = (
    tuple(column.name for column in columns) for columns in (records.CERTIFY, records.ATTACK, records.INDICATORS)
)


class DamagedError(LipbenchError):
    """A record that is there and cannot be read, or not be believed."""


class MissingError(LipbenchError):
    """A record that is not there."""


class RunFolder:
    """A run on disk: ``run.json``, ``records/`` and ``witnesses/``; beside them ``claims/`` and ``journal/``."""

    def __init__(self, path: Path):
        self.path = path
        self.records = path / "records"
        self.witnesses = path / "witnesses"
        self.claims = Leases(path / "claims")
        self.journal = Journal(path / "journal")

    def read(self) -> Run:
        """The run that the folder holds; raises LipbenchError if it holds none."""
        path = self.path / RUN
        if os.path.lexists(path) and not path.is_file():  # to read a pipe would take for ever
            raise LipbenchError(f"{path} is not a run of lipbench: it is no file")
        content = files.read_json(path, "run")
        try:
            if content["format"] != FORMAT:
                raise LipbenchError(
                    f"{self.path / RUN} has format {content['format']}, expected {FORMAT}: another version of lipbench "
                    "made it; evaluate again, into another folder"
                )
            return Run.from_plain(content)
        except (KeyError, TypeError, ValueError) as error:
            raise LipbenchError(f"{self.path / RUN} is not a run of lipbench: {one_line(error)}") from error

    def open(self, run: Run) -> Run:
        """Make the folder that of ``run``, joined to what it holds, and return both.

        Several processes may do so at once. Raises LipbenchError if the folder holds another run, or something else, or
        cannot be written.
        """
        if not self._held():
            foreign = files.foreign(self.path, lambda path: files.is_harmless(path) or self._made(path))
            if foreign is not None and not self._held():  # which another process may have changed meanwhile
                raise LipbenchError(
                    f"{self.path} is not empty and not a run folder: it holds {foreign.name}; choose another folder "
                    "with -o"
                )
        for folder in self._folders:
            files.refuse_link(folder)
        with self.claims.waiting("run"):
            held = self._held()
            if held:
                run = self._joined(run)
            if not held or run != self.read():
                files.write_json(self.path / RUN, run.plain())
        self.tidy()
        return run

    def tidy(self) -> None:
        """Remove what killed processes have left."""
        self.claims.tidy()
        for folder in (self.path, files.make_own_folder(self.records), files.make_own_folder(self.witnesses)):
            files.sweep(folder)

    @property
    def _folders(self) -> tuple[Path, ...]:
        return self.records, self.witnesses, self.journal.folder, self.claims.folder

    def _held(self) -> bool:
        """Whether there is a run; raises LipbenchError for something else of its name."""
        if not os.path.lexists(self.path / RUN):
            return False
        self.read()
        return True

    def _made(self, path: Path) -> bool:
        """Whether it is what ``open`` makes before there is a run."""
        known = is_lease if path.name == self.claims.folder.name else lambda _: False
        names = {folder.name for folder in self._folders}
        return path.name in names and files.is_own_folder(path) and files.foreign(path, known) is None

    def _joined(self, run: Run) -> Run:
        held = self.read()
        # the hash of the data follows from other settings: it is told last
        for key in sorted({*held.settings, *run.settings}, key=lambda name: (name == "data_sha256", name)):
            old, new = held.settings.get(key), run.settings.get(key)
            if old != new:
                raise LipbenchError(
                    f"{self.path} holds a run with other settings ({key}: {old} there, {new} now); "
                    "choose another folder with -o, or delete it"
                )
        return held.merged(run)

    def has(self, unit: Unit) -> bool:
        """True if the unit's records are there, whole: a parquet file ends with its footer's length and a mark."""
        path = self._path(unit)
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

    def missing(self, run: Run) -> list[Unit]:
        """The units of a run that are not there yet, in the order of work."""
        return [unit for unit in run.units() if not self.has(unit)]

    def write(
        self, unit: Unit, columns: Mapping[str, Any], info: dict[str, Any], witnesses: bytes | None = None
    ) -> None:
        """Store a unit: columns as in CERTIFY or ATTACK, each (rows,); ``info``: plain data kept as metadata.

        witnesses: the content of its ``witness_path``, which is there before the unit is; the record holds its digest.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        for folder in (self.records, self.witnesses):
            files.refuse_link(folder)
        if witnesses is not None:
            files.write_bytes(self.witness_path(unit), witnesses)
            info = {**info, "witnesses_sha256": files.sha256_bytes(witnesses)}
        table = pa.table({name: pa.array(np.asarray(columns[name])) for name in columns})
        about = json.dumps({"model": unit.model, "unit": unit.name, **info}, sort_keys=True)
        table = table.replace_schema_metadata({"lipbench": about, "sha256": _digest(table, about.encode())})
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
        files.write_bytes(self._path(unit), buffer.getvalue())

    def load(self, unit: Unit, known: Known | None = None) -> "tuple[pd.DataFrame, dict[str, Any]]":
        """A unit's records and its ``info``; raises MissingError if they are not there, DamagedError if damaged.

        ``known``: what the records must agree with beyond their own unit.
        """
        table, about = self._read(unit, known)
        return table.to_pandas(), about

    def chain(
        self, run: Run, model: ModelEntry, shard: Shard, plan: SuitePlan, certify: "pd.DataFrame"
    ) -> "Iterator[tuple[Unit, pd.DataFrame, dict[str, Any]]]":
        """The attack units of a model and shard under a suite, each checked against the bounds before it.

        Then those of a check of strength. ``certify``: the records of the certify unit. Raises as ``load`` does.
        """
        chains = Chains(run, model, shard, plan, certify)
        for unit in chains.units:
            frame, about = self.load(unit, chains.known(unit))
            chains.add(unit, frame)
            yield unit, frame, about

    def mend(self, run: Run, labels: Ints | None = None) -> None:
        """Remove damaged records, so that they count as missing; but for those that another process works on.

        ``labels``: int64 (samples,), of the test set, if they are at hand.
        """
        for model in run.models:
            for shard in run.shards:
                true = None if labels is None else labels[shard.start : shard.stop]
                if not self._damaged(run, model, shard, true):
                    continue
                with self.claims.holding(run.certify_unit(model, shard).name) as claim:
                    if claim is None:
                        continue
                    for unit, damage in self._damaged(run, model, shard, true):  # others may have computed some by now
                        self.discard(unit, damage)

    def _damaged(
        self, run: Run, model: ModelEntry, shard: Shard, labels: Ints | None
    ) -> list[tuple[Unit, DamagedError]]:
        """The damaged units of a model and shard; after one that is missing or damaged, less is known of the others."""
        found: dict[str, tuple[Unit, DamagedError]] = {}

        def frame_of(unit: Unit, known: Known | None) -> "pd.DataFrame | None":
            try:
                return self._whole(unit, known)
            except DamagedError as damage:
                found[unit.name] = (unit, damage)
            except MissingError:
                pass
            return None

        certify = frame_of(run.certify_unit(model, shard), None if labels is None else Known(labels))
        for plan in run.suites:
            chains = Chains(run, model, shard, plan, certify)
            for unit in chains.units:
                chains.add(unit, frame_of(unit, chains.known(unit)))
        return list(found.values())

    def discard(self, unit: Unit, damage: DamagedError) -> None:
        """Remove a damaged record, with a warning; the claim on its task must be held."""
        LOG.warning("%s", damage)
        files.refuse_link(self.records)
        files.remove(self._path(unit))

    def damage(self, unit: Unit) -> DamagedError | None:
        """What is wrong with a unit's records, if they are there, or with its witnesses, if these are.

        Raises LipbenchError for what is no file and in the place of one: it is not lipbench's to remove.
        """
        for place in (self._path(unit), self.witness_path(unit)):
            if not place.is_file():
                files.refuse_other(place)
        try:
            self._whole(unit, None)
        except DamagedError as error:
            return error
        except MissingError:
            pass
        return None

    def _whole(self, unit: Unit, known: Known | None) -> "pd.DataFrame":
        """A unit's records, if its witnesses are what was written, or left out."""
        frame, about = self.load(unit, known)
        digest, path = about.get("witnesses_sha256"), self.witness_path(unit)
        if digest is not None and path.exists() and files.sha256_bytes(path.read_bytes()) != digest:
            raise DamagedError(f"the witnesses {path} are not what was written; their unit is computed again")
        return frame

    def _read(self, unit: Unit, known: Known | None) -> "tuple[pyarrow.Table, dict[str, Any]]":
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self._path(unit)
        if not path.is_file():  # a pipe would never open
            files.refuse_other(path)
        again = f"`lipbench evaluate -o {self.path}`, with its other options as they were,"
        try:
            table = pq.read_table(io.BytesIO(path.read_bytes()), page_checksum_verification=True)
            about = table.schema.metadata[b"lipbench"]
            if table.schema.metadata[b"sha256"] != _digest(table, about).encode():
                raise ValueError("it is not what was written")
            info = json.loads(about)
            records.check(unit, table, info, known)
            return table, info
        except FileNotFoundError as error:
            raise MissingError(
                f"{self.path} lacks records of {unit.model}: the run is not finished; {again} goes on with it"
            ) from error
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
            raise DamagedError(
                f"the record {path} is damaged ({one_line(error)[:80]}); {again} computes it again"
            ) from error

    def witness_path(self, unit: Unit) -> Path:
        """Where the adversarial inputs of an attack unit lie (safetensors: ``sample``, ``eps`` and ``x``)."""
        return self.witnesses / f"{unit.name}.safetensors"

    def _path(self, unit: Unit) -> Path:
        return self.records / f"{unit.name}.parquet"


def _digest(table: "pyarrow.Table", about: bytes) -> str:
    """Of all that a record holds: parquet's own checksums leave out its metadata, names and types."""
    digest = hashlib.sha256(about)
    for name, column in zip(table.column_names, table.columns, strict=True):
        values = column.to_numpy()
        digest.update(f"{name} {values.dtype.str} {len(values)} ".encode() + values.tobytes())
    return digest.hexdigest()


def grade(certify: "pd.DataFrame") -> str:
    """The grade that a model's headline numbers are read from: ``float`` where it has one, else ``real``."""
    return "real" if certify["certified_radius_float"].isna().all() else "float"


def ledger(certify: "pd.DataFrame", norm: Norm, dimension: int, grade: str) -> Bounds:
    """The ledger of a model before any attack, from its certify records and with the radii of one grade.

    ``dimension``: entries of an input.
    """
    correct = certify["label"].to_numpy() == certify["prediction"].to_numpy()
    scale = norm.radius_from_l2(1.0, dimension)
    return Bounds.start(correct, certify[f"certified_radius_{grade}"].to_numpy() * scale)


class Chains:
    """The bounds of a shard under a suite, unit by unit: each group of eps goes on from what the opening attack left.

    ``certify``: the records of the certify unit; None where they are not known, and so no bounds.
    """

    def __init__(
        self, run: Run, model: ModelEntry, shard: Shard, plan: SuitePlan, certify: "pd.DataFrame | None"
    ) -> None:
        self.units = [*run.attack_units(model, shard, plan), *run.strength_units(model, shard, plan)]
        self._first = shard.start
        self._start: Known | None = None
        if certify is not None:
            start = ledger(certify, plan.suite.norm, math.prod(model.card["input_shape"]), grade(certify))
            self._start = Known(certify["label"].to_numpy(), start)
        self._groups: dict[tuple[float, ...], Known | None] = {(): _copied(self._start)}

    def known(self, unit: Unit) -> Known | None:
        """What is known before a unit of the shard; None after one that is missing."""
        if unit.role != "attack":  # outside the chains
            return self._start
        group = () if unit.stage is None else unit.stage.eps
        if group not in self._groups:
            self._groups[group] = _copied(self._groups[()])
        return self._groups[group]

    def add(self, unit: Unit, frame: "pd.DataFrame | None") -> None:
        """Note what a unit found; None: its records are missing."""
        if unit.role != "attack" or unit.stage is None:
            return
        known = self.known(unit)
        if frame is None or known is None or known.ledger is None:
            self._groups[unit.stage.eps] = None
            return
        known.ledger.attacked(frame["sample"].to_numpy() - self._first, frame["adversarial_distance"].to_numpy())


def _copied(known: Known | None) -> Known | None:
    return None if known is None or known.ledger is None else Known(known.labels, known.ledger.copy())
