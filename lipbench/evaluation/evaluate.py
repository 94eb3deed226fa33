"""Evaluating a zoo under suites of attacks: what the run is, and who does its work."""

import functools
import logging
import math
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lipbench import data
from lipbench._internal import arguments
from lipbench._internal.versions import versions
from lipbench.attacks import guard
from lipbench.attacks.eps import refuse_unreachable
from lipbench.attacks.suites import Suite
from lipbench.data import Dataset, Split, given
from lipbench.errors import (
    CannotWriteError,
    ChangedDataError,
    LipbenchError,
    UnsupportedError,
    nothing_left,
    printable,
    reason,
)
from lipbench.evaluation.cascade import Cascade, Superseded, without_attacks
from lipbench.evaluation.options import DEFAULTS, EvaluateOptions
from lipbench.evaluation.prepared import PreparedModel
from lipbench.models.cards import Card
from lipbench.models.sources import GivenSource, ModelSource, PackedSource
from lipbench.models.stored import check_fits
from lipbench.runs.failures import Failure
from lipbench.runs.folder import RunFolder
from lipbench.runs.plans import ModelEntry, Run
from lipbench.runs.suite_plans import SuitePlan
from lipbench.runs.units import Shard
from lipbench.work.coordinator import Coordinator, Progress, Task
from lipbench.work.execution import HERE, Execution, on_device
from lipbench.work.lease import Lease

LOG = logging.getLogger(__name__)


class UnfinishedError(LipbenchError):
    """Models that other processes added to the run are not evaluated yet; those of this call are."""


def refuse_unfinished(run_folder: RunFolder) -> None:
    """Raise UnfinishedError if units of the run are missing, but for those of models that failed."""
    missing = run_folder.missing(run_folder.evaluated())
    if missing:
        path = run_folder.path
        raise UnfinishedError(
            f"{len(missing)} units of models that joined this run elsewhere are missing: `lipbench status {path}` "
            f"shows how far they are, `lipbench report {path}` writes the report when they are done"
        )


def evaluate_models(
    sources: Sequence[ModelSource],
    suites: Sequence[Suite],
    dataset: Dataset,
    out: Path,
    options: EvaluateOptions = DEFAULTS,
    execution: Execution = HERE,
    *,
    data_dir: Path | None = None,
    title: str | None = None,
    zoo: str = "",
    progress: bool = True,
) -> RunFolder:
    """Evaluate every model and leave the records in ``out``; a record that is there is not computed again.

    data_dir: workers in other processes load a data set that has a spec themselves, from this folder. title: of the
    report; None: the one that the run folder has. zoo: where the models come from, in words. progress: show a bar.
    Several processes may work on one run folder at once, each with this function.

    A model that fails, before its evaluation or in the middle of it, does not stop the others: its ``Failure`` is in
    the run folder, and another call tries it again. An attack that cannot run on a model is left out there, if another
    one of the suite can. Raises LipbenchError for wrong suites, data and options, and if every model fails at the
    start.
    """
    if not suites:
        raise LipbenchError("which suite? give at least one, such as quick")
    plans = tuple(plan_suite(suite, options.seeds, options.reference_attack) for suite in suites)
    for suite in suites:
        refuse_unreachable(suite.eps, suite.norm, math.prod(dataset.input_shape))
    arguments.warn_of_fewer(options.samples, dataset.spec, len(dataset.test.labels))
    split = dataset.test.first(options.samples or _samples(suites))
    with execution.computing() as device:
        arguments.distinct("suite", [plan.suite.name for plan in plans])
        found, failures = _entries(sources, dataset, plans, sent=not execution.in_this_process)
        entries = tuple(entry for entry, _ in found)
        arguments.distinct("model", [each.name for each in entries] + [each.model for each in failures])
        if not entries:
            raise nothing_left({failure.model: failure.reason for failure in failures})
        run_folder = RunFolder(out)
        settings = _settings(dataset, split, options, device)
        held = run_folder.open(Run(settings, entries, plans, _provenance(zoo, title)))
        run = Run(settings, entries, held.suites)  # other models of the run belong to the processes that added them
        run_folder.failures.clear([entry.name for entry in entries])
        for failure in failures:
            run_folder.failures.add(failure)
        by_name = {entry.name: source for entry, source in found}
        evaluation = Evaluation(
            run_folder, run, dataset.spec, None if data_dir is None else data_dir.resolve(), str(device)
        )
        run_folder.mend(run, split.labels)
        function = functools.partial(work, dataset=dataset) if execution.in_this_process else work
        bar = _progress(run_folder, run) if progress else None
        handed = split if dataset.spec == given.SPEC and not execution.in_this_process else None
        coordinator = Coordinator(run_folder.leases, _tasks(evaluation, by_name, handed), _is_done, bar)
        outcomes = coordinator.run(function, execution.workers(), lost)
        for failure in outcomes.values():  # another call that tried again may have been interrupted
            if not run_folder.failures.has(failure.model) and run_folder.missing(_of(run, failure.model)):
                run_folder.failures.add(failure)
        run_folder.tidy()
        return run_folder


@dataclass(frozen=True)
class Evaluation:
    """What the tasks of one call share."""

    run_folder: RunFolder  # in this process with what it has read
    run: Run
    data: str  # the data set's spec
    data_dir: Path | None
    device: str


@dataclass(frozen=True)
class Piece:
    """One model on one shard: the payload of a task."""

    evaluation: Evaluation
    entry: ModelEntry
    shard: Shard
    source: ModelSource
    samples: Split | None  # of the shard, for a worker that cannot load them by a spec


def _tasks(evaluation: Evaluation, sources: Mapping[str, ModelSource], handed: Split | None) -> list[Task[Piece]]:
    """One task for each model and shard; its lease has the name of the certify unit."""
    run = evaluation.run
    parts = {shard: None if handed is None else handed.part(shard.start, shard.stop) for shard in run.shards}
    return [
        Task(run.certify_unit(entry, shard).name, Piece(evaluation, entry, shard, sources[entry.name], parts[shard]))
        for entry in run.models
        for shard in run.shards
    ]


def _of(run: Run, model: str) -> Run:
    """The run with one model alone."""
    return run.without([entry.name for entry in run.models if entry.name != model])


def _is_done(piece: Piece) -> bool:
    """Whether every unit is there, or the model failed, here or on another shard."""
    run_folder, run = piece.evaluation.run_folder, piece.evaluation.run
    whole = all(run_folder.has(unit) for unit in run.units_of(piece.entry, piece.shard))
    return whole or run_folder.failures.has(piece.entry.name)


def lost(piece: Piece, why: str) -> Failure:
    """A worker died on a model: it is a failure."""
    failure = Failure(piece.entry.name, printable(why), piece.entry.digest)
    piece.evaluation.run_folder.failures.add(failure)
    return failure


def work(piece: Piece, lease: Lease, dataset: Dataset | None = None) -> Failure | None:
    """Compute the missing units of a model on a shard, unless another process takes the lease over.

    dataset: given in the process that loaded it. Whatever the model's own code raises is a failure of this model, which
    is recorded and returned; what the machine refuses, such as to write a record, and changed samples are raised.
    """
    evaluation = piece.evaluation
    if _is_done(piece):
        return None
    split = piece.samples or _split(evaluation, dataset).part(piece.shard.start, piece.shard.stop)
    device = torch.device(evaluation.device)
    try:
        with on_device(device):
            model = prepared_model(piece.source, piece.entry.digest, device, evaluation.run.settings["dtype"])
            Cascade(evaluation.run_folder, evaluation.run, piece.entry, piece.shard, split, model).work(lease)
    except Superseded:
        return None
    except (CannotWriteError, ChangedDataError):
        raise
    except Exception as error:
        LOG.debug("%s failed", piece.entry.name, exc_info=True)
        if not lease.held:
            return None
        failure = Failure(piece.entry.name, reason(error), piece.entry.digest)
        evaluation.run_folder.failures.add(failure)
        return failure
    return None


@functools.lru_cache(maxsize=2)
def prepared_model(source: ModelSource, digest: str, device: torch.device, dtype: str) -> PreparedModel:
    """As ``PreparedModel.load``; the last two stay in memory, for the next shards of the same models."""
    return PreparedModel.load(source, digest, device, dtype)


def _split(evaluation: Evaluation, dataset: Dataset | None) -> Split:
    samples = evaluation.run.settings["samples"]
    if dataset is not None:
        return dataset.test.first(samples)
    split = first_samples(evaluation.data, evaluation.data_dir, samples)
    if split.sha256 != evaluation.run.settings["data_sha256"]:
        raise LipbenchError(
            f"a worker found other data under {evaluation.data!r} than the run was started with; use the same files"
        )
    return split


@functools.lru_cache(maxsize=1)
def first_samples(spec: str, data_dir: Path | None, samples: int) -> Split:
    """The test samples as a worker finds them; they stay in memory, and so does their digest, which is theirs alone."""
    return data.load_once(spec, data_dir).test.first(samples)


def _progress(run_folder: RunFolder, run: Run) -> Progress:
    """The units that are there, whichever process computes them."""
    names = {f"{unit.name}.parquet" for unit in run.units()}  # suites that begin alike share units
    return Progress(
        str(run_folder.path),
        "unit",
        len(names),
        lambda waiting: sum(path.name in names for path in run_folder.records.iterdir()),
    )


def plan_suite(suite: Suite, seeds: tuple[int, ...] = (0,), reference_attack: str | None = None) -> SuitePlan:
    """A suite as a run has it: its first minimal-norm attack opens, on every correct sample; the others follow."""
    minimal = [spec for spec in suite.attacks if guard.attack_of(spec).minimal_norm]
    others = tuple(spec for spec in suite.attacks if not minimal or spec is not minimal[0])
    return SuitePlan(suite, tuple(minimal[:1]), others, (suite.eps,), seeds, reference_attack)


def _samples(suites: Sequence[Suite]) -> int | None:
    wanted = {suite.samples for suite in suites}
    if len(wanted) > 1:
        raise LipbenchError(
            f"the suites {', '.join(suite.name for suite in suites)} are made for different numbers of samples; "
            "choose one with --samples"
        )
    return wanted.pop()


def _entries(
    sources: Sequence[ModelSource], dataset: Dataset, plans: Sequence[SuitePlan], sent: bool
) -> tuple[list[tuple[ModelEntry, ModelSource]], list[Failure]]:
    """The models that can be loaded, fit to the data and can be attacked, each with its source; and the others.

    sent: to other processes.
    """
    found, failures = [], []
    for source in sources:
        try:
            entry = _entry(source, dataset, plans)
            found.append((entry, PackedSource.of(source) if sent and isinstance(source, GivenSource) else source))
        except Exception as error:  # whatever the code of a factory raises
            LOG.debug("%s failed", source.name, exc_info=True)
            failures.append(Failure(printable(source.name), reason(error)))
    return found, failures


def _entry(source: ModelSource, dataset: Dataset, plans: Iterable[SuitePlan]) -> ModelEntry:
    model = source.load()
    check_fits(model.card, dataset)
    for plan in plans:
        _refuse_without_attacks(model.card, plan.suite)
    return ModelEntry(model.card.name, model.card.plain(), model.digest)


def _refuse_without_attacks(card: Card, suite: Suite) -> None:
    """Raise UnsupportedError if no attack of the suite can run on the model."""
    obstacles = []
    for spec in suite.attacks:
        try:
            guard.supported(spec, card.num_classes, card.input_shape, suite.norm)
        except UnsupportedError as error:
            obstacles.append(str(error))
    if len(obstacles) == len(suite.attacks):
        raise without_attacks(suite.name, obstacles)


def _settings(dataset: Dataset, split: Split, options: EvaluateOptions, device: torch.device) -> dict[str, Any]:
    return {
        "data": dataset.spec,
        "data_sha256": split.sha256,
        "samples": len(split.labels),
        "shard": options.shard,
        "audit": options.audit,
        "prune": options.prune,
        "dtype": options.dtype,
        "device": device.type,
        "threads": torch.get_num_threads(),
        "versions": versions(),
    }


def _provenance(zoo: str, title: str | None) -> dict[str, Any]:
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        **({} if title is None else {"title": title}),
        "zoo": zoo,
        "hardware": {"machine": platform.machine(), "gpu": gpu},
        "python": platform.python_version(),
    }
