"""``lipbench reproduce``: measure the paper's claims, judge them, and write what came out into a folder for each."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pandas as pd

from lipbench._internal import arguments, files
from lipbench._internal.folders import new_folder
from lipbench._internal.versions import versions
from lipbench.errors import CannotWriteError, LipbenchError, quoted, reason, unknown_name
from lipbench.experiments import experiment as experiments
from lipbench.experiments import writing
from lipbench.experiments.experiment import Experiment, Records, Scale
from lipbench.experiments.lab import Lab
from lipbench.experiments.writing import Provenance, Result
from lipbench.training.recipes import VERSIONED
from lipbench.work.execution import Execution

ALL = "all"
MARKER = "experiment.json"  # says that a folder is an experiment's, and of which scale
FORMAT = "lipbench experiment 1"
RECORDS = "records"
PROVENANCE = "provenance.json"  # in the records
StrPath = str | os.PathLike[str]


@dataclass(frozen=True)
class Place:
    """The folder of one experiment at one scale."""

    path: Path
    experiment: Experiment
    scale: Scale

    def open(self) -> None:
        """Make the folder, or find it as this experiment left it.

        Raises LipbenchError for a folder that holds anything else, or the same experiment at another scale or with
        other settings.
        """
        marker, wanted = self.path / MARKER, self._marker
        if os.path.lexists(marker):
            there = files.read_json(marker, "description of an experiment")
            if there != wanted:
                raise LipbenchError(
                    f"{self.path} holds another experiment than {self.experiment.name} at scale {self.scale} "
                    f"({_difference(there, wanted)}): choose another folder with -o, or delete it"
                )
            return
        foreign = files.foreign(self.path)
        if foreign is not None:
            raise LipbenchError(
                f"{self.path} is not empty and not an experiment's: it holds {foreign.name} and no {MARKER}; choose "
                "another folder with -o"
            )
        files.make_folder(self.path)
        files.write_new(marker, writing.json_bytes(wanted))

    @property
    def _marker(self) -> dict[str, Any]:
        settings = self.experiment.settings(self.scale)
        return {"format": FORMAT, "name": self.experiment.name, "scale": self.scale, "settings": settings}

    def records(self) -> tuple[Records, Provenance] | None:
        """What was measured here, None if it is not there yet. Raises LipbenchError for damaged files."""
        folder = self.path / RECORDS
        if not folder.is_dir():
            return None
        provenance = writing.read(Provenance, folder / PROVENANCE)
        return {path.stem: _frame(path) for path in sorted(folder.glob("*.parquet"))}, provenance

    def keep(self, records: Records, provenance: Provenance) -> None:
        """Write what was measured, all or nothing."""
        with new_folder(self.path / RECORDS) as temporary:
            for name, frame in records.items():
                frame.to_parquet(temporary / f"{name}.parquet", index=False)
            files.write_json(temporary / PROVENANCE, provenance.model_dump(mode="json"))


def reproduce(
    names: str | Sequence[str],
    out: StrPath = "lipbench-reproduce",
    *,
    scale: str = "small",
    data_dir: StrPath | None = None,
    device: str = "auto",
    jobs: int = 2,
    progress: bool = False,
    done: Callable[[Result], object] = lambda result: None,
) -> list[Result]:
    """Reproduce claims of the paper: train, measure, judge, draw. Returns a result for each, with its verdict.

    names: experiments, one name or several, or "all"; out: each experiment has a folder of its name in it, with
    result.json, figure.png, figure.pdf, README.md and records; report.md there shows all. scale: "small", for two CPU
    cores and embedded or generated data, or "paper", the paper's own set-up, for a GPU; data_dir: the folder with the
    files of mnist, cifar10, cifar100, which some experiments prefer where it is given; device: "auto", "cpu" or
    "cuda"; jobs: processes that train and evaluate at once; progress: show bars; done: called with each result.

    Another call resumes: models that are trained, and records that are there, are not computed again. An experiment
    that fails does not stop the others. Raises LipbenchError for wrong use, and at the end for those that failed.
    """
    wanted = _chosen(names)
    if scale not in get_args(Scale):
        raise unknown_name("scale", scale, get_args(Scale))
    arguments.truth("progress", progress)
    execution = Execution(device, jobs=jobs)
    folder = arguments.path("out", out)
    data = None if data_dir is None else arguments.path("data_dir", data_dir)
    places = [Place(folder / one.name, one, scale) for one in wanted]  # type: ignore[arg-type]  # checked above
    for place in places:
        place.open()
    results, failures = [], []
    for place in places:
        lab = Lab(place.path, execution.device, execution.jobs, data, progress)
        try:
            result = _one(place, lab)
        except CannotWriteError:  # the disk's fault: the others would fail as well
            raise
        except LipbenchError as error:
            failures.append(f"{place.experiment.name}: {reason(error)}")
            continue
        results.append(result)
        done(result)
    try:
        writing.write_page(folder)
    except LipbenchError as error:  # not the only thing that went wrong, perhaps
        failures.append(f"{writing.PAGE}: {reason(error)}")
    if failures:
        raise LipbenchError(
            f"{len(places) - len(results)} of {len(places)} experiments failed; rerun the same command to try "
            f"these again. {'. '.join(failures)}"
        )
    return results


def _chosen(names: str | Sequence[str]) -> list[Experiment]:
    several = [names] if isinstance(names, str) else [arguments.text("a name", name) for name in names]
    if not several:
        raise LipbenchError(f"which experiment? give {ALL}, or one of {', '.join(experiments.names())}")
    wanted = experiments.names() if several == [ALL] else several
    twice = arguments.repeated(wanted)
    if twice is not None:
        raise LipbenchError(f"the experiment {quoted(twice)} is there twice; name each once")
    return [experiments.find(name) for name in wanted]


def _one(place: Place, lab: Lab) -> Result:
    """Measure, unless the records are there, and write everything that follows from the records."""
    held = place.records()
    if held is None:
        begin = time.monotonic()
        measured = place.experiment.measure(lab, place.experiment.scales[place.scale])
        provenance = Provenance(
            data=lab.used,
            device=lab.device,
            jobs=lab.jobs,
            seconds=round(time.monotonic() - begin, 1),
            versions=versions((*VERSIONED, "numpy", "scikit-learn")),
        )
        place.keep(measured, provenance)
        held = place.records()  # as a later call will read them
        assert held is not None
    return writing.write(place.path, place.experiment, place.scale, *held)


def _frame(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except Exception as error:  # whatever a damaged file makes pyarrow raise
        raise LipbenchError(f"cannot read the records {path}: {reason(error)}; delete {path.parent}") from error


def _difference(there: Any, wanted: dict[str, Any]) -> str:
    if not isinstance(there, dict) or there.get("format") != FORMAT:
        return f"{MARKER} is not of the form {FORMAT!r}"
    key = next(key for key in wanted if there.get(key) != wanted[key])
    return f"{key}: {quoted(there.get(key))} there, {quoted(wanted[key])} here"
