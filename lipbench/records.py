"""Run folders: ``run.json`` says what a run is, ``records/*.parquet`` holds what was found, one file per unit.

    certify           columns CERTIFY, one row per sample of the shard
    attack, alone     columns ATTACK, one row per attacked sample and eps (per sample for a minimal-norm attack)
    indicators        columns INDICATORS, one row per correct sample

A unit that is there is never computed again; one that is half there does not exist (see ``plans``).
"""

import hashlib
import io
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lipbench import files
from lipbench.claims import Claims, is_claim
from lipbench.errors import LipbenchError, one_line
from lipbench.journal import Journal
from lipbench.ledger import Ledger
from lipbench.plans import FORMAT, Run, Unit
from lipbench.threat import Norm

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow

LOG = logging.getLogger(__name__)
RUN = "run.json"
GRADES = ("float", "real", "nominal")  # from what holds for the network as it runs to what nothing is checked of
CERTIFY = (
    "sample",  # int64, row of the test set
    "label",  # int64
    "prediction",  # int64, argmax of the logits, as computed in the run's arithmetic
    "signed_margin",  # float64, min over j of (f_label - f_j) / L_label,j, L2 units; its mean is the MCR
    "certified_radius_float",  # float64, L2 units; 0 where misclassified or tied; NaN without an error analysis
    "certified_radius_real",  # float64, L2 units; 0 where misclassified or tied
    "certified_radius_nominal",  # float64, L2 units; NaN where the card claims nothing
)
ATTACK = (
    "sample",  # int64, row of the test set
    "eps",  # float64, the radius that was attacked; NaN for a minimal-norm attack, which serves every eps
    "audit",  # bool: True if the sample was closed by its certificate and attacked all the same
    "adversarial_distance",  # float64, in the suite's norm, measured by lipbench; inf where none was found
    "adversarial_label",  # int64, the class of the adversarial input; -1 where none was found
    "forward",  # int64, forward evaluations of the network spent on the row; they sum up to the unit's
    "backward",  # int64, likewise
)
INDICATORS = (
    "sample",  # int64, row of the test set
    "zero_gradient",  # bool: the gradient of cross-entropy vanishes at the input, in float32
    "loss_stuck",  # bool: no step of a short gradient ascent inside the largest eps raised cross-entropy
)


class DamagedError(LipbenchError):
    """A record that is there and cannot be read."""


class MissingError(LipbenchError):
    """A record that is not there."""


class RunFolder:
    """A run on disk: ``run.json``, ``records/`` and ``witnesses/``; beside them ``claims/`` and ``journal/``."""

    def __init__(self, path: Path):
        self.path = path
        self.records = path / "records"
        self.witnesses = path / "witnesses"
        self.claims = Claims(path / "claims")
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
            foreign = files.foreign(self.path, self._made)
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
        known = is_claim if path.name == self.claims.folder.name else lambda _: False
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
        about = json.dumps({"model": unit.model, **info}, sort_keys=True)
        table = table.replace_schema_metadata({"lipbench": about, "sha256": _digest(table, about.encode())})
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
        files.write_bytes(self._path(unit), buffer.getvalue())

    def load(self, unit: Unit) -> "tuple[pd.DataFrame, dict[str, Any]]":
        """A unit's records and its ``info``; raises MissingError if they are not there, DamagedError if damaged."""
        table, about = self._read(unit)
        return table.to_pandas(), about

    def mend(self, run: Run) -> None:
        """Remove damaged records, so that they count as missing; but for those that another process works on."""
        for model in run.models:
            for shard in run.shards:
                damaged = [unit for unit in run.units_of(model, shard) if self.damage(unit)]
                if not damaged:
                    continue
                with self.claims.holding(run.certify_unit(model, shard).name) as claim:
                    for unit in damaged if claim is not None else []:
                        damage = self.damage(unit)  # somebody else may have computed it again by now
                        if damage is not None:
                            self.discard(unit, damage)

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
            digest = self._read(unit)[1].get("witnesses_sha256")
            path = self.witness_path(unit)
            if digest is not None and path.exists() and files.sha256_bytes(path.read_bytes()) != digest:
                return DamagedError(f"the witnesses {path} are not what was written; their unit is computed again")
        except DamagedError as error:
            return error
        except MissingError:
            pass
        return None

    def _read(self, unit: Unit) -> "tuple[pyarrow.Table, dict[str, Any]]":
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self._path(unit)
        again = f"`lipbench evaluate -o {self.path}`, with its other options as they were,"
        try:
            table = pq.read_table(io.BytesIO(path.read_bytes()), page_checksum_verification=True)
            about = table.schema.metadata[b"lipbench"]
            if table.schema.metadata[b"sha256"] != _digest(table, about).encode():
                raise ValueError("it is not what was written")
            return table, json.loads(about)
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


def ledger(certify: "pd.DataFrame", norm: Norm, dimension: int, grade: str) -> Ledger:
    """The ledger of a model before any attack, from its certify records and with the radii of one grade.

    ``dimension``: entries of an input.
    """
    correct = certify["label"].to_numpy() == certify["prediction"].to_numpy()
    scale = norm.radius_from_l2(1.0, dimension)
    return Ledger.start(correct, certify[f"certified_radius_{grade}"].to_numpy() * scale)
