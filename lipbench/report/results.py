"""``Results``: all that a finished run found, loaded once. Frames, reports and figures are computed from it."""

import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from lipbench._internal import arguments
from lipbench._internal.words import count, shown
from lipbench.attacks.eps import Eps, parse_grid, refuse_absent, same
from lipbench.errors import LipbenchError, left_out, unknown_name
from lipbench.models.cards import CARD
from lipbench.report import (
    cautions,
    columns,
    comparisons,
    effects,
    factors,
    hyperparameters,
    literature,
    metrics,
    pairs,
    resampling,
    run_names,
    samples,
    settings,
    tables,
    witnesses,
)
from lipbench.report.columns import MODEL, Column
from lipbench.report.formatting import labels
from lipbench.report.witnesses import Witnesses
from lipbench.runs import results
from lipbench.runs.folder import RunFolder
from lipbench.runs.plans import Run
from lipbench.runs.results import ModelResults

StrPath = str | os.PathLike[str]
Grid = float | str | Sequence[float | str]  # of eps, such as ["36/255", 0.5]
MODELS: tuple[Column, ...] = (
    *columns.OF_MODELS,
    Column("weights_sha256", "text", "", "digest of the file of weights"),
    *metrics.OF_CERTIFICATE,
)


def load_run(run: StrPath) -> "Results":
    """The results of a finished run, from its folder ``run``.

    Raises LipbenchError if it is not a run folder, if the run is not finished, and if records are damaged.
    """
    run_folder = RunFolder(arguments.path("the run folder", run))
    if (run_folder.path / CARD).is_file():
        raise LipbenchError(f"{run_folder.path} is a model, not a run: lipbench.Model.load reads it")
    missing = run_folder.missing(run_folder.evaluated())
    if missing:
        models = list(dict.fromkeys(unit.model for unit in missing))
        raise LipbenchError(
            f"{run_folder.path} is not finished: {count(len(missing), 'unit')} of {count(len(models), 'model')} "
            f"({shown(models)}) are missing; rerun `lipbench evaluate -o {run_folder.path}` with its other options"
        )
    return Results.load(run_folder)


@dataclass(frozen=True, eq=False, repr=False)
class Results:
    """A finished run: its plan, and what it found of each model under each suite.

    Every frame has its columns declared, with kind, unit and words: ``samples.SAMPLES``, ``MODELS``,
    ``metrics.SUMMARY``, ``hyperparameters.SETTINGS``, ``comparisons.COMPARISONS``, ``comparisons.PAIRS``,
    ``effects.EFFECTS``, ``factors.FACTORS``, ``literature.LITERATURE``.
    """

    run_folder: RunFolder
    run: Run
    items: tuple[ModelResults, ...]  # model by model in the order of the run, suite by suite
    failures: Mapping[str, str] = field(default_factory=dict)  # models that failed and were left out, with the reason
    temporary: object = None  # keeps a temporary run folder while the results are in use
    show_eps: Eps | None = None  # of the table that is printed; None: that of ``hyperparameters.chosen_eps``

    @classmethod
    def load(cls, run_folder: RunFolder, temporary: object = None, show_eps: Eps | None = None) -> "Results":
        """The results of a finished run, without the models that failed.

        Raises LipbenchError if records are missing or damaged, and if every model failed.
        """
        failures = {name: failure.reason for name, failure in run_folder.failures.read().items()}
        return cls(run_folder, run_folder.evaluated(), tuple(results.load(run_folder)), failures, temporary, show_eps)

    def __str__(self) -> str:
        """The table that the command prints, what to know about it, and where the records are."""
        left = [left_out(name, why) for name, why in self.failures.items()]
        return "\n".join(
            [
                self.table(),
                *(f"WARNING {line}" for line in self.warnings()),
                *left,
                "",
                f"records: {self.run_folder.path}",
            ]
        )

    __repr__ = __str__

    def table(self, eps: float | str | None = None) -> str:
        """The table of the terminal: a row per setting, mean over seeds, at one eps of each suite.

        eps: by default the one that was given to ``evaluate``, else the one at which certified accuracy differs most
        between settings. Raises LipbenchError for one that no suite of the run has.
        """
        show = self.show_eps if eps is None else Eps(eps)
        if show is not None:
            refuse_absent(show, self.eps)
        return tables.short(tables.groups(self._summary, self.eps), show)

    def item(self, model: str, suite: str) -> ModelResults:
        """What was found of a model under a suite."""
        return self._by_name[model, suite]

    def under(self, suite: str, norm: str) -> list[ModelResults]:
        """What was found of every model under a suite, in the order of the run."""
        return [item for item in self.items if (item.suite.name, str(item.suite.norm)) == (suite, norm)]

    @property
    def eps(self) -> tuple[Eps, ...]:
        """The radii of all suites, as they were given."""
        return tuple(eps for plan in self.run.suites for eps in plan.suite.eps)

    @property
    def complete(self) -> bool:
        """True if nothing was left out, neither a model nor an attack: exit status 0 of the command; False: 2."""
        return not self.failures and not any(item.left_out for item in self.items)

    def warnings(self) -> list[str]:
        """One line for each model that there is something to know about, see the column ``warnings``."""
        by_model: dict[str, list[ModelResults]] = {}
        for item in self.items:
            by_model.setdefault(item.model, []).append(item)
        found = ((model, cautions.warnings(*items)) for model, items in by_model.items())
        return [f"{model}: {text}" for model, text in found if text]

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

    def summary(self, eps: Grid | None = None) -> pd.DataFrame:
        """One row per model, suite and eps, see ``metrics.summary``; ``eps``: only at these, such as "36/255".

        Raises LipbenchError for an eps that is no number, or that no suite of the run has.
        """
        return self._summary.copy() if eps is None else self._at(self._summary, eps)

    def hyperparameters(self, eps: Grid | None = None) -> pd.DataFrame:
        """One row per setting, suite and eps: over its models (seeds), see ``hyperparameters.over_seeds``.

        With the 95 % interval of each mean over seeds and samples, see ``resampling``.
        """
        return self._settings.copy() if eps is None else self._at(self._settings, eps)

    def comparisons(self, eps: Grid | None = None) -> pd.DataFrame:
        """Each setting beside the best one: difference with its interval, P(best), P(front), see ``comparisons``."""
        return self._comparisons.copy() if eps is None else self._at(self._comparisons, eps)

    def effects(self, eps: Grid | None = None) -> pd.DataFrame:
        """What each hyperparameter does: shape, its probability, and the size of a step, see ``effects.frame``."""
        return self._effects.copy() if eps is None else self._at(self._effects, eps)

    def findings(self) -> list[str]:
        """What the numbers say, in a few paragraphs of words, as at the top of the report; see ``report.findings``."""
        from lipbench.report import document  # which takes Results

        return list(document.findings_of(self))

    def factors(self) -> pd.DataFrame:
        """One row per model, suite and factor of tightness: why a gap exists, see ``factors.frame``."""
        return self._factors.copy()

    def compare(self, first: str, second: str, eps: Grid | None = None) -> pd.DataFrame:
        """Two models or settings side by side: one row per suite, eps and metric, see ``comparisons.PAIRS``.

        first, second: the name of a model, or the label of a setting as tables print it, or its digest; eps: only at
        these. Two models have McNemar's counts and p-value besides the paired difference. Raises LipbenchError for an
        unknown name, where both are the same, and for an eps that no suite of the run has.
        """
        (run,) = run_names.called([self])
        both = [pairs.side(self, run, arguments.text(*given)) for given in (("first", first), ("second", second))]
        pairs.refuse_same(both[0], both[1])
        wanted = None if eps is None else parse_grid(eps)
        return pairs.frame([(both[0], both[1])], pairs.within(self, wanted), wanted)

    def literature(self) -> pd.DataFrame:
        """What other papers print on the run's data set, at its norms and eps, beside the run's best setting there.

        These are others' numbers, on other set-ups, see ``literature.LITERATURE``; no row where there are none.
        """
        return literature.frame(pairs.run_groups(self), str(self.run.settings["data"]))

    def witnesses(self, model: str | None = None) -> Witnesses:
        """Adversarial inputs as arrays: of each model, suite and sample the closest one found, see ``Witnesses``.

        model: only those of this one. Raises LipbenchError for an unknown model, and if the run folder lacks them.
        """
        names = [entry.name for entry in self.run.models]
        if model is not None and model not in names:
            raise unknown_name("model", model, names)
        return witnesses.load(self.run_folder, self.run, self.samples, names if model is None else [model])

    def report(
        self,
        out: StrPath,
        *,
        columns: int = 1,
        eps: float | str | None = None,
        family: str | Sequence[str] | None = None,
        metric: str | Sequence[str] | None = None,
    ) -> list[Path]:
        """Write the report into the folder ``out`` and return the paths, see ``lipbench.report.write``.

        The others choose what tables.tex and the figures show. columns: of the paper's page, 1 (tables of 5.5 inches)
        or 2 (of 3.25 inches); eps: by default the one at which certified accuracy differs most between settings;
        family: a loss, or several; metric: of the columns of tables, one or several. Raises LipbenchError for what the
        run does not have.
        """
        from lipbench.report import choice, writer  # which take Results

        chosen = choice.choose(self, columns, eps, family, metric)
        return writer.write(self, arguments.path("out", out), chosen)

    def _at(self, frame: pd.DataFrame, eps: Grid) -> pd.DataFrame:
        """The rows at some eps."""
        wanted, held = parse_grid(eps), frame[columns.EPS.name]
        for each in wanted:
            refuse_absent(each, self.eps)
        rows = held.isin([found for each in wanted for found in same(each, held.unique().tolist())])
        return frame[rows].reset_index(drop=True)

    @functools.cached_property
    def _by_name(self) -> dict[tuple[str, str], ModelResults]:
        return {(item.model, item.suite.name): item for item in self.items}

    @functools.cached_property
    def _summary(self) -> pd.DataFrame:
        return metrics.summary(self.items)

    @functools.cached_property
    def draws(self) -> dict[tuple[str, str], resampling.Draws]:
        """The resamples of each (suite, norm) that all intervals and probabilities of settings come from."""
        return resampling.by_suite(self.items, self._summary)

    @functools.cached_property
    def _factors(self) -> pd.DataFrame:
        return factors.frame(self.items)

    @functools.cached_property
    def _settings(self) -> pd.DataFrame:
        return hyperparameters.with_intervals(hyperparameters.over_seeds(self._summary), self.draws)

    @functools.cached_property
    def _comparisons(self) -> pd.DataFrame:
        named = {group.suite: labels(group.settings) for group in tables.groups(self._summary, self.eps)}
        return comparisons.frame(self.draws, named)

    @functools.cached_property
    def _effects(self) -> pd.DataFrame:
        return effects.frame(self._settings, self.draws)
