"""``Results``: all that a finished run found, loaded once. Frames, reports and figures are computed from it."""

import functools
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lipbench._internal import arguments
from lipbench.errors import LipbenchError
from lipbench.report import columns, effects, metrics, samples, settings
from lipbench.report.columns import MODEL, NORM, SUITE, Column
from lipbench.runs import results
from lipbench.runs.folder import RunFolder
from lipbench.runs.plans import Run
from lipbench.runs.results import ModelResults
from lipbench.runs.units import AttackUnit

SAME_EPS = 1e-6  # relative: suites give 36/255 as a decimal
Eps = float | str | Sequence[float | str]
MODELS: tuple[Column, ...] = (
    *columns.OF_MODELS,
    Column("weights_sha256", "text", "", "digest of the file of weights"),
    *metrics.OF_CERTIFICATE,
)
WITNESSES: tuple[Column, ...] = (
    *(MODEL, SUITE, NORM),
    Column("attack", "text", "", "attack that found the adversarial inputs"),
    Column("start", "count", "", "first row of the test set that the attack saw"),
    Column("stop", "count", "", "row after the last one"),
    Column("path", "any", "", "safetensors file of the adversarial inputs"),
)


@dataclass(frozen=True, eq=False)
class Results:
    """A finished run: its plan, and what it found of each model under each suite.

    Every frame has its columns declared, with kind, unit and words: ``samples.SAMPLES``, ``MODELS``,
    ``metrics.SUMMARY``, ``effects.SETTINGS``, ``WITNESSES``.
    """

    run_folder: RunFolder
    run: Run
    items: tuple[ModelResults, ...]  # model by model in the order of the run, suite by suite
    failures: Mapping[str, str] = field(default_factory=dict)  # models that failed and were left out, with the reason
    temporary: object = field(default=None, repr=False)  # keeps a temporary run folder while the results are in use

    @classmethod
    def load(cls, run_folder: RunFolder, temporary: object = None) -> "Results":
        """The results of a finished run, without the models that failed.

        Raises LipbenchError if records are missing or damaged, and if every model failed.
        """
        failures = {name: failure.reason for name, failure in run_folder.failures.read().items()}
        return cls(run_folder, run_folder.evaluated(), tuple(results.load(run_folder)), failures, temporary)

    @property
    def complete(self) -> bool:
        """True if nothing was left out, neither a model nor an attack: exit status 0 of the command; False: 2."""
        return not self.failures and not any(item.left_out for item in self.items)

    def warnings(self) -> list[str]:
        """One line for each model that there is something to know about, see the column ``warnings``."""
        pairs = self._summary[[MODEL.name, "warnings"]].drop_duplicates()
        found: dict[str, list[str]] = {}
        for model, text in pairs[pairs["warnings"] != ""].itertuples(index=False):
            found.setdefault(model, []).append(text)
        return [f"{model}: {'; '.join(texts)}" for model, texts in found.items()]

    @property
    def provenance(self) -> dict[str, Any]:
        """What the run was made from: the settings that determine its records, then hardware, zoo and title."""
        return self.run.settings | self.run.provenance

    @functools.cached_property
    def samples(self) -> pd.DataFrame:
        """One row per model, suite and sample: its class, its two bounds, and the attack that found the upper one."""
        return samples.frame(self.items)

    @functools.cached_property
    def models(self) -> pd.DataFrame:
        """One row per model: what its card says, its Lipschitz bound, and whether the claim is confirmed."""
        cells, copies = settings.cells(self.items), settings.copies(self.items)
        once = {item.model: item for item in self.items}
        frame = pd.DataFrame(
            {
                MODEL.name: model,
                columns.COPY_OF.name: copies.get(model, ""),
                **cells[model],
                columns.SEED.name: item.card.seed,
                "weights_sha256": item.card.weights_sha256,
                **{metric.name: metric.value(item, item.suite.eps[0]) for metric in metrics.OF_CERTIFICATE},
            }
            for model, item in once.items()
        )
        return columns.typed(frame, MODELS)

    def summary(self, eps: Eps | None = None) -> pd.DataFrame:
        """One row per model, suite and eps, see ``metrics.summary``; ``eps``: only at these, such as "36/255".

        Raises LipbenchError for an eps that is no number, or that no suite of the run has.
        """
        return self._summary.copy() if eps is None else _at(self._summary, eps)

    def hyperparameters(self, eps: Eps | None = None) -> pd.DataFrame:
        """One row per setting, suite and eps: statistics over its models (seeds), see ``effects.hyperparameters``."""
        frame = effects.hyperparameters(self._summary)
        return frame if eps is None else _at(frame, eps)

    def effects(self) -> pd.DataFrame:
        """Spearman's rho of each accuracy with each hyperparameter, see ``effects.trends``."""
        return effects.trends(self._summary)

    def witnesses(self) -> pd.DataFrame:
        """The files of adversarial inputs in the run folder, one row each; ``WITNESSES`` declares the columns."""
        rows = [
            {
                MODEL.name: unit.model,
                SUITE.name: unit.suite,
                NORM.name: str(unit.norm),
                "attack": str(unit.stage.attack),
                "start": unit.shard.start,
                "stop": unit.shard.stop,
                "path": path,
            }
            for unit in self.run.units()
            if isinstance(unit, AttackUnit) and (path := self.run_folder.witness_path(unit)).is_file()
        ]
        return columns.typed(pd.DataFrame(rows, columns=[column.name for column in WITNESSES]), WITNESSES)

    def report(self, out: str | os.PathLike[str]) -> list[Path]:
        """Write the report into the folder ``out`` and return the paths, see ``lipbench.report.write``."""
        from lipbench.report import writer  # which takes Results

        return writer.write(self, arguments.path("out", out))

    @functools.cached_property
    def _summary(self) -> pd.DataFrame:
        return metrics.summary(self.items)


def _at(frame: pd.DataFrame, eps: Eps) -> pd.DataFrame:
    """The rows at some eps."""
    wanted = [eps] if isinstance(eps, str | float | int) else list(eps)
    held = frame[columns.EPS.name].to_numpy()
    rows = np.zeros(len(frame), dtype=bool)
    for each in wanted:
        same = np.isclose(held, _number(each), rtol=SAME_EPS, atol=0)
        if not same.any():
            grid = ", ".join(f"{value:.4g}" for value in sorted(set(held.tolist())))
            raise LipbenchError(f"the run has no eps {each}; it has {grid}: choose one of these, or evaluate at {each}")
        rows |= same
    return frame[rows].reset_index(drop=True)


def _number(eps: Any) -> float:
    """An eps given as a number, or as text such as "36/255"."""
    try:
        value = float(Fraction(eps)) if isinstance(eps, str) else float(eps)
    except (TypeError, ValueError, ZeroDivisionError):
        value = math.nan
    if not math.isfinite(value):
        raise LipbenchError(f"eps must be a number, or text such as '36/255'; got {eps!r}")
    return value
