"""Where an experiment works: its folder, its data, and the trainer and the evaluation of the library."""

import functools
import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from torch import nn

from lipbench import data as datasets
from lipbench._internal import files
from lipbench.attacks import suites
from lipbench.attacks.suites import Suite
from lipbench.data import Dataset
from lipbench.errors import LipbenchError, MissingDataError, nothing_left
from lipbench.evaluation.evaluate import evaluate_models, refuse_unfinished
from lipbench.evaluation.options import EvaluateOptions
from lipbench.models.cards import Card
from lipbench.models.model import Model
from lipbench.models.sources import chosen, sources_of
from lipbench.models.stored import load_model
from lipbench.report.results import Results
from lipbench.training import recipes
from lipbench.training.storing import HISTORY
from lipbench.training.sweep import train_recipe
from lipbench.work.execution import Execution
from lipbench.work.executors.local import LocalExecutor

TaskT = TypeVar("TaskT")
FoundT = TypeVar("FoundT")

GENERATED = "generated: "  # before the name of a data set that an experiment made


@dataclass(frozen=True)
class TrainedModel:
    """A model of a zoo, loaded."""

    folder: Path
    card: Card
    module: nn.Module  # in eval mode, on the CPU, float32; takes inputs in [0, 1]
    history: pd.DataFrame  # a row per epoch, see docs/train.md

    @property
    def name(self) -> str:
        """Of the card."""
        return self.card.name


@dataclass(frozen=True)
class Lab:
    """A folder in which models are trained and evaluated. Whatever is there already is not computed again."""

    folder: Path
    device: str = "auto"
    jobs: int = 1  # processes
    data_dir: Path | None = None
    progress: bool = False
    used: dict[str, str] = field(default_factory=dict)  # digests of the data sets that were used, by their names

    @property
    def execution(self) -> Execution:
        """Where the work is done."""
        return Execution(self.device, jobs=self.jobs)

    def dataset(self, *names: str) -> Dataset:
        """The first of the data sets of these names whose files are there; raises LipbenchError if there is none."""
        missing = None
        for name in names:
            try:
                return self._noted(name, datasets.load_once(name, self.data_dir))
            except MissingDataError as error:
                missing = error
        if missing is not None and len(names) == 1:
            raise missing
        raise MissingDataError(f"expected one of the data sets {', '.join(names)}: {missing}")

    def stored(
        self,
        name: str,
        x_train: ArrayLike,
        y_train: ArrayLike,
        x_test: ArrayLike,
        y_test: ArrayLike,
        num_classes: int,
        targets: ArrayLike | None = None,
    ) -> Dataset:
        """Samples that the experiment made, as a data set in a file, from which processes and later runs load it.

        x: (n, ...), uint8 in 0..255 or floats in [0, 1], which become float32; y: whole numbers (n,); targets: floats
        (n,) of the training samples, for a loss that takes targets. Raises LipbenchError if the file is there with
        other samples.
        """
        arrays = {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}
        written = {key: np.asarray(value) for key, value in arrays.items()}
        for key in ("x_train", "x_test"):
            if written[key].dtype != np.uint8:
                written[key] = written[key].astype(np.float32)
        if targets is not None:
            written["targets_train"] = np.asarray(targets, np.float32)
        buffer = io.BytesIO()
        np.savez(buffer, **written | {"num_classes": np.int64(num_classes)})  # type: ignore[arg-type]
        path = self.folder.resolve() / f"{name}.npz"
        files.make_folder(path.parent)
        if not files.write_new(path, buffer.getvalue()) and path.read_bytes() != buffer.getvalue():
            raise LipbenchError(f"{path} holds other samples than this version of lipbench makes: use another folder")
        return self._noted(f"{GENERATED}{name}", datasets.load(f"npz:{path}"))

    def _noted(self, name: str, dataset: Dataset) -> Dataset:
        self.used[name] = f"train {dataset.train.sha256}, test {dataset.test.sha256}"
        return dataset

    def train(self, recipe: Mapping[str, Any], dataset: Dataset, zoo: str = "zoo") -> list[TrainedModel]:
        """Train the models of a recipe, a dict without the key data, into a zoo; returns them in the recipe's order.

        Raises LipbenchError as ``train_recipe`` does.
        """
        written, content = recipes.given({"data": dataset.spec, **recipe})
        place = self.folder / zoo
        train_recipe(written, content, place, dataset, self.execution, data_dir=self.data_dir, progress=self.progress)
        return [trained(place / job.name) for job in written.training_jobs()]

    def each(self, function: "Callable[[Lab, TaskT], FoundT]", tasks: Sequence[TaskT]) -> list[FoundT]:
        """``function(lab, task)`` of every task, in its order; several at once, each in a lab of one process.

        For many small zoos: processes start once, not once for each zoo. function: of a module; tasks and what it
        returns can be pickled. What the labs of other processes note of data sets is lost.
        """
        alone = functools.partial(_numbered, function, replace(self, jobs=1, progress=False))
        found = dict(LocalExecutor(self.jobs, 1).run(alone, list(enumerate(tasks))))
        return [found[place] for place in range(len(tasks))]

    def evaluate(
        self,
        models: Sequence[TrainedModel | Model],
        dataset: Dataset,
        suite: Suite | str,
        run: str = "run",
        **options: Any,
    ) -> Results:
        """Certify and attack models under one suite, as ``lipbench evaluate`` does, into a run folder.

        options: those of ``EvaluateOptions``. Raises LipbenchError as ``evaluate_models`` does, and for a model that
        failed.
        """
        given = chosen([model.folder if isinstance(model, TrainedModel) else model for model in models])
        run_folder = evaluate_models(
            sources_of(given, dataset),
            [suite if isinstance(suite, Suite) else suites.load(suite)],
            dataset,
            self.folder / run,
            EvaluateOptions(**options),
            self.execution,
            data_dir=self.data_dir,
            progress=self.progress,
        )
        refuse_unfinished(run_folder)
        results = Results.load(run_folder)
        if results.failures:
            raise nothing_left(results.failures)
        return results


def _numbered(function: Callable[[Lab, TaskT], FoundT], lab: Lab, numbered: tuple[int, TaskT]) -> tuple[int, FoundT]:
    place, task = numbered
    return place, function(lab, task)


def trained(folder: str | os.PathLike[str]) -> TrainedModel:
    """The model in a folder of a zoo, with its history."""
    place = Path(folder)
    loaded = load_model(place)
    return TrainedModel(place, loaded.card, loaded.module.eval(), pd.read_parquet(place / HISTORY))
