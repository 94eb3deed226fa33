"""Run folders: ``run.json`` says what a run is, ``records/*.parquet`` holds what was found, one file per unit.

A unit is named by the hash of everything that determines it, its predecessors in the same chain included.
A unit that is there is never computed again; one that is half there does not exist.

    certify unit   one per model              columns CERTIFY, one row per sample
    attack unit    one per model, suite,      columns ATTACK, one row per attacked sample
                   attack and eps             (eps is None for minimal-norm attacks, which serve every eps)
"""

import contextlib
import io
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lipbench import files
from lipbench.errors import LipbenchError, one_line
from lipbench.ledger import Ledger
from lipbench.suites import AttackSpec, Suite
from lipbench.threat import Norm

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 2
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
    "audit",  # bool: True if the sample was closed by its certificate and attacked all the same
    "adversarial_distance",  # float64, in the suite's norm, measured by lipbench; inf where none was found
    "adversarial_label",  # int64, the class of the adversarial input; -1 where none was found
)


@dataclass(frozen=True)
class Stage:
    """One step of a suite: an attack at one eps, or at none for a minimal-norm attack."""

    attack: AttackSpec
    eps: float | None


@dataclass(frozen=True)
class SuitePlan:
    """A suite and its stages in the order in which they run."""

    suite: Suite
    stages: tuple[Stage, ...]


@dataclass(frozen=True)
class ModelEntry:
    """A model of the run: its card as plain data, and the digest of card and weights."""

    name: str
    card: dict[str, Any]
    digest: str


@dataclass(frozen=True)
class Unit:
    """A unit of work. ``name`` is the hash of everything that determines its records."""

    name: str
    model: str
    suite: str | None = None  # None: the certify unit of the model
    norm: Norm | None = None
    stage: Stage | None = None


@dataclass(frozen=True)
class Run:
    """What ``run.json`` says: enough to name every unit and to rebuild every report."""

    # what determines the records: data and its hash, samples, seed, audit, prune, arithmetic, device, versions
    settings: dict[str, Any]
    models: tuple[ModelEntry, ...]
    suites: tuple[SuitePlan, ...]
    provenance: dict[str, Any] = field(default_factory=dict)  # what is worth knowing: hardware, zoo, command

    def certify_unit(self, model: ModelEntry) -> Unit:
        """The unit that predicts and certifies every sample of ``model``."""
        key = {"format": FORMAT, "settings": self.settings, "model": model.digest}
        return Unit(files.sha256_json(key)[:24], model.name)

    def attack_units(self, model: ModelEntry, plan: SuitePlan) -> list[Unit]:
        """The chain of attack units of ``model`` under a suite: each name covers all that came before it."""
        name, units = self.certify_unit(model).name, []
        for stage in plan.stages:
            key = {
                "after": name,
                "norm": plan.suite.norm.value,
                "eps": stage.eps,
                "attack": stage.attack.model_dump(),
            }
            name = files.sha256_json(key)[:24]
            units.append(Unit(name, model.name, plan.suite.name, plan.suite.norm, stage))
        return units

    def units(self) -> Iterator[Unit]:
        """Every unit of the run, in the order of work."""
        for model in self.models:
            yield self.certify_unit(model)
            for plan in self.suites:
                yield from self.attack_units(model, plan)

    def merged(self, other: "Run") -> "Run":
        """The models and suites of both runs, which have the same settings.

        Raises LipbenchError where both have a model or a suite of one name that are not the same.
        """
        models = {model.name: model for model in self.models}
        suites = {plan.suite.name: plan for plan in self.suites}
        for model in other.models:
            if models.setdefault(model.name, model).digest != model.digest:
                raise LipbenchError(
                    f"the run holds another model of the name {model.name}; choose another folder with -o"
                )
        for plan in other.suites:
            if suites.setdefault(plan.suite.name, plan) != plan:
                raise LipbenchError(
                    f"the run holds another suite of the name {plan.suite.name!r}; choose another folder with -o"
                )
        return Run(self.settings, tuple(models.values()), tuple(suites.values()), self.provenance)

    def plain(self) -> dict[str, Any]:
        """The content of ``run.json``."""
        return {
            "format": FORMAT,
            "settings": self.settings,
            "provenance": self.provenance,
            "suites": [
                {
                    "suite": plan.suite.plain(),
                    "stages": [{"attack": s.attack.model_dump(), "eps": s.eps} for s in plan.stages],
                }
                for plan in self.suites
            ],
            "models": [{"name": m.name, "digest": m.digest, "card": m.card} for m in self.models],
        }

    @classmethod
    def from_plain(cls, content: dict[str, Any]) -> "Run":
        """The inverse of ``plain``."""
        suites = tuple(
            SuitePlan(
                Suite.model_validate(plan["suite"]),
                tuple(Stage(AttackSpec.model_validate(s["attack"]), s["eps"]) for s in plan["stages"]),
            )
            for plan in content["suites"]
        )
        models = tuple(ModelEntry(m["name"], m["card"], m["digest"]) for m in content["models"])
        if not models or not suites:
            raise ValueError("it names no model or no suite")
        return cls(dict(content["settings"]), models, suites, dict(content["provenance"]))


class RunFolder:
    """A run on disk: ``run.json``, ``records/`` and ``witnesses/``."""

    def __init__(self, path: Path):
        self.path = path
        self.records = path / "records"
        self.witnesses = path / "witnesses"

    def read(self) -> Run:
        """The run that the folder holds; raises LipbenchError if it holds none."""
        content = files.read_json(self.path / RUN, "run")
        try:
            if content["format"] != FORMAT:
                raise LipbenchError(
                    f"{self.path / RUN} has format {content['format']}, expected {FORMAT}: another version of lipbench "
                    "made it; evaluate again, into another folder"
                )
            return Run.from_plain(content)
        except (KeyError, TypeError, ValueError) as error:
            raise LipbenchError(f"{self.path / RUN} is not a run of lipbench: {one_line(error)}") from error

    def open(self, run: Run) -> None:
        """Make the folder that of ``run``; raises LipbenchError if it holds another run or cannot be written."""
        if (self.path / RUN).exists():
            held = self.read()
            # the hash of the data follows from other settings: it is told last
            for key in sorted({*held.settings, *run.settings}, key=lambda name: (name == "data_sha256", name)):
                old, new = held.settings.get(key), run.settings.get(key)
                if old != new:
                    raise LipbenchError(
                        f"{self.path} holds a run with other settings ({key}: {old} there, {new} now); "
                        "choose another folder with -o, or delete it"
                    )
            run = held.merged(run)
        else:  # a killed run may have left its empty folders
            self.sweep()
            foreign = {path.name for path in self.path.glob("*")} - {self.records.name, self.witnesses.name}
            if foreign:
                raise LipbenchError(f"{self.path} is not empty and not a run folder; choose another folder with -o")
        files.make_folder(self.path)
        files.write_json(self.path / RUN, run.plain())
        for folder in (self.records, self.witnesses):
            files.make_folder(folder)
        self.sweep()

    def sweep(self) -> None:
        """Remove what a killed process left half-written."""
        for folder in (self.path, self.records, self.witnesses):
            for leftover in folder.glob(f"{files.TEMPORARY}*"):
                with contextlib.suppress(OSError):
                    shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()

    def has(self, unit: Unit) -> bool:
        """True if the unit's records are there, whole."""
        return self._path(unit).exists()

    def write(self, unit: Unit, columns: Mapping[str, Any], info: dict[str, Any]) -> None:
        """Store a unit: columns as in CERTIFY or ATTACK, each (rows,); ``info``: plain data kept as metadata."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.table({name: pa.array(np.asarray(columns[name])) for name in columns})
        about = {"model": unit.model, **info}
        table = table.replace_schema_metadata({"lipbench": json.dumps(about, sort_keys=True)})
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        files.write_bytes(self._path(unit), buffer.getvalue())

    def load(self, unit: Unit) -> "tuple[pd.DataFrame, dict[str, Any]]":
        """A unit's records and its ``info``; raises LipbenchError if they are missing or damaged."""
        import pyarrow.parquet as pq

        path = self._path(unit)
        try:
            table = pq.read_table(io.BytesIO(path.read_bytes()))
            return table.to_pandas(), json.loads(table.schema.metadata[b"lipbench"])
        except FileNotFoundError as error:
            raise LipbenchError(
                f"{self.path} lacks records of {unit.model}: the run is not finished; "
                f"`lipbench evaluate -o {self.path}`, with its other options as they were, goes on with it"
            ) from error
        except (OSError, ValueError, KeyError, TypeError) as error:  # pyarrow's are ValueErrors and OSErrors
            raise LipbenchError(
                f"the record {path} is damaged ({one_line(error)[:80]}): delete it and run `lipbench evaluate` again"
            ) from error

    def witness_path(self, unit: Unit) -> Path:
        """Where the adversarial inputs of an attack unit lie (safetensors: ``sample`` and ``x``)."""
        return self.witnesses / f"{unit.name}.safetensors"

    def _path(self, unit: Unit) -> Path:
        return self.records / f"{unit.name}.parquet"


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
