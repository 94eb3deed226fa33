"""``lipbench reproduce``: measure the paper's claims, judge them, and write what came out into a folder for each."""

import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
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
from lipbench.experiments.writing import MARKER, Provenance, Result
from lipbench.training.recipes import VERSIONED
from lipbench.training.storing import difference
from lipbench.work.execution import Execution

ALL = "all"
FORMAT = "lipbench experiment 1"
RECORDS = "records"
PROVENANCE = "provenance.json"  # in the records
LOG = logging.getLogger(__name__)
StrPath = str | os.PathLike[str]


@dataclass(frozen=True)
class Place:
    """The folder of one experiment at one scale."""

    path: Path
    experiment: Experiment
    scale: Scale

    def open(self, lab: Lab) -> None:
        """Make the folder, or find it as this experiment left it.

        Raises LipbenchError for a folder that holds anything else, or the same experiment at another scale, with other
        settings or other data; and MissingDataError, before anything is made, if the data is not there.
        """
        marker, wanted = self.path / MARKER, self._marker(lab)
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
    def is_begun(self) -> bool:
        """Whether an earlier call, or another process, has left something of its work here."""
        return files.foreign(self.path, lambda path: path.name == MARKER) is not None

    def _marker(self, lab: Lab) -> dict[str, Any]:
        names = self.experiment.data(self.experiment.scales[self.scale])
        return {
            "format": FORMAT,
            "name": self.experiment.name,
            "scale": self.scale,
            "data": lab.dataset(*names).spec if names else None,
            "settings": self.experiment.settings(self.scale),
        }

    def records(self) -> tuple[Records, Provenance] | None:
        """What was measured here, None if it is not there yet. Raises LipbenchError for damaged files."""
        folder = self.path / RECORDS
        if not folder.is_dir():
            return None
        provenance = writing.read(Provenance, folder / PROVENANCE)
        frames = {name: _frame(folder / f"{name}.parquet", columns) for name, columns in provenance.frames.items()}
        return frames, provenance

    def keep(self, records: Records, provenance: Provenance) -> None:
        """Write what was measured, all or nothing; another process may have been first."""
        with new_folder(self.path / RECORDS, keep_existing=True) as temporary:
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
    with execution.computing() as found:
        kind = found.type  # a GPU that is not there is an error before any work
    folder = arguments.path("out", out)
    data = None if data_dir is None else arguments.path("data_dir", data_dir)
    places = [Place(folder / one.name, one, scale) for one in wanted]  # type: ignore[arg-type]  # checked above
    labs = [Lab(place.path, execution.device, execution.jobs, data, progress) for place in places]
    for place, lab in zip(places, labs, strict=True):
        place.open(lab)
    results, failures = [], []
    for place, lab in zip(places, labs, strict=True):
        try:
            result = _one(place, lab, kind)
        except CannotWriteError:  # the disk's fault: the others would fail as well
            raise
        except LipbenchError as error:
            failures.append(f"{place.experiment.name}: {reason(error)}")
            if len(places) > 1:  # the others may take hours
                LOG.warning("%s failed: %s", place.experiment.name, reason(error))
            continue
        results.append(result)
        done(result)
    if results:
        writing.write_page(folder)
    if failures:
        raise LipbenchError(
            f"{len(failures)} of {len(places)} experiments failed; rerun the same command to try these again. "
            f"{'. '.join(failures)}"
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


def _one(place: Place, lab: Lab, device: str) -> Result:
    """Measure, unless the records are there, and write everything that follows from the records."""
    held = place.records()
    if held is None:
        begin, resumed = time.monotonic(), place.is_begun
        measured = place.experiment.measure(lab, place.experiment.scales[place.scale])
        provenance = Provenance(
            data=lab.used,
            device=device,
            jobs=lab.jobs,
            seconds=None if resumed else round(time.monotonic() - begin, 1),
            versions=versions((*VERSIONED, "numpy", "scikit-learn", *filter(find_spec, ["orthogonium"]))),
            frames={name: tuple(map(str, frame.columns)) for name, frame in measured.items()},
        )
        place.keep(measured, provenance)
        held = place.records()  # as a later call will read them
        assert held is not None
    return writing.write(place.path, place.experiment, place.scale, *held)


def _frame(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """A frame of the records; raises LipbenchError unless it is there, whole, with these columns."""
    try:
        frame = pd.read_parquet(path)
    except Exception as error:  # whatever a damaged file makes pyarrow raise
        raise LipbenchError(f"cannot read the records {path}: {reason(error)}; delete {path.parent}") from error
    if [*frame.columns] != [*columns]:
        raise LipbenchError(f"{path} has other columns than {PROVENANCE} beside it says; delete {path.parent}")
    return frame


def _difference(there: Any, wanted: dict[str, Any]) -> str:
    if not isinstance(there, dict) or there.get("format") != FORMAT:
        return f"{MARKER} is not of the form {FORMAT!r}"
    return difference(there, wanted, now="here")
