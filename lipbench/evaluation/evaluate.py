"""Evaluating a zoo under suites of attacks: what the run is, and who does its work."""

import functools
import importlib.metadata
import platform
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from lipbench import data
from lipbench._internal import arguments
from lipbench._internal.precision import DTYPES
from lipbench.attacks import guard
from lipbench.attacks.suites import Suite
from lipbench.data import Dataset, Split
from lipbench.errors import LipbenchError, unknown_name
from lipbench.evaluation.cascade import Cascade, Superseded
from lipbench.evaluation.prepared import PreparedModel
from lipbench.models import cards
from lipbench.models.stored import check_fits, load_model
from lipbench.models.zoo import model_folders
from lipbench.runs.folder import RunFolder
from lipbench.runs.plans import REFERENCE_ATTACKS, ModelEntry, Run, SuitePlan
from lipbench.runs.units import Shard
from lipbench.work.executors import Executor
from lipbench.work.executors.local import LocalExecutor

VERSIONED = ("lipbench", "torch", "numpy", "adversarial-robustness-toolbox", "pyautoattack", "deel-torchlip")
POLL = 1.0  # seconds between two looks at what others have done


@dataclass(frozen=True)
class Options:
    """What a user chooses about an evaluation; all of it determines the records."""

    samples: int | None = None  # the first so many test samples; for None as many as the suites say, else all
    seeds: tuple[int, ...] = (0,)  # of the attacks; each further one runs those again on what is still open
    audit: float = 0.01  # share of the certified samples that is attacked all the same
    prune: bool = True  # False: attack every correct sample at every eps
    dtype: str = "float64"  # what the networks compute in, whoever runs them; or "float32"
    shard: int = 1000  # samples that are worked on at once; memory grows with it
    reference_attack: str | None = None  # run beside the suites on every correct sample at each eps: "autoattack"

    def __post_init__(self) -> None:
        checked = {
            "samples": None if self.samples is None else arguments.whole_number("samples", self.samples, 1),
            "seeds": _seeds(self.seeds),
            "audit": arguments.real_number("audit, a share of the samples,", self.audit, 0, 1),
            "prune": arguments.truth("prune", self.prune),
            "shard": arguments.whole_number("shard", self.shard, 1),
        }
        if self.dtype not in tuple(DTYPES):
            raise unknown_name("dtype", self.dtype, DTYPES)
        if self.reference_attack not in (None, *REFERENCE_ATTACKS):
            raise unknown_name("reference_attack", self.reference_attack, REFERENCE_ATTACKS)
        for name, value in checked.items():
            object.__setattr__(self, name, value)


def _seeds(values: Sequence[int]) -> tuple[int, ...]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise LipbenchError(f"seeds must be a list of whole numbers, such as [0, 1], got {values!r}")
    seeds = tuple(arguments.seed("a seed", value) for value in values)
    if not seeds or len(set(seeds)) < len(seeds):
        raise LipbenchError(f"seeds must be one number or several different ones, got {list(seeds)}")
    return seeds


def evaluate_zoo(
    zoo_folder: Path,
    suites: Sequence[Suite],
    dataset: Dataset,
    out: Path,
    *,
    options: Options = Options(),
    device: torch.device,
    executor: Executor | None = None,
    data_dir: Path | None = None,
    title: str | None = None,
    progress: bool = True,
) -> RunFolder:
    """Evaluate every model of a zoo and leave the records in ``out``; what is there already is not computed again.

    executor: by default this process. Workers elsewhere load the data set themselves, by its spec, from ``data_dir``.
    title: of the report; none: the one that the run folder has.
    Several processes may work on one run folder at once, each with this function. Raises LipbenchError before any work
    if a model, a suite and the data do not fit together.
    """
    if not suites:
        raise LipbenchError("which suite? give at least one, such as quick")
    folders = model_folders(zoo_folder)
    plans = tuple(plan_suite(suite, options.seeds, options.reference_attack) for suite in suites)
    split = dataset.test.first(options.samples or _samples(suites))
    entries = tuple(_entry(folder, dataset, plans) for folder in folders)
    arguments.distinct("model", [entry.name for entry in entries])
    arguments.distinct("suite", [plan.suite.name for plan in plans])
    run_folder = RunFolder(out)
    settings = _settings(dataset, split, options, device)
    held = run_folder.open(Run(settings, entries, plans, _provenance(zoo_folder, title)))
    run = Run(settings, entries, held.suites)  # the models of others that joined this run are theirs to evaluate
    places = {entry.name: folder.resolve() for folder, entry in zip(folders, entries, strict=True)}
    executor = LocalExecutor(1, torch.get_num_threads()) if executor is None else executor
    source = dataset if executor == LocalExecutor(1, torch.get_num_threads()) else None
    common = Common(run_folder, run, places, dataset.spec, data_dir, device.type, source)
    run_folder.mend(run, split.labels)
    with _bar(run_folder, run, progress):
        while tasks := _tasks(run_folder, run, common):
            busy = run_folder.leases.running()
            free = [replace(task, silence=run_folder.leases.silence()) for task in tasks if task.name not in busy]
            if not free or not sum(executor.run(work, free)):  # the rest is somebody else's
                time.sleep(POLL)
    run_folder.tidy()
    return run_folder


@dataclass(frozen=True)
class Common:
    """What the tasks of one call share."""

    run_folder: RunFolder  # in this process with what it has read
    run: Run
    places: dict[str, Path]  # the folder of each model
    data: str  # the data set's spec
    data_dir: Path | None
    device: str
    dataset: Dataset | None  # for tasks in this process


@dataclass(frozen=True)
class Task:
    """One model on one shard."""

    common: Common
    entry: ModelEntry
    shard: Shard
    silence: Mapping[str, tuple[int, float]] = field(default_factory=dict)  # see ``Leases.silence``

    @property
    def name(self) -> str:
        """What its lease is called."""
        return self.common.run.certify_unit(self.entry, self.shard).name


def work(task: Task) -> int:
    """Compute what is missing of a task, unless another process is at it; returns how many units were computed."""
    common, run_folder = task.common, task.common.run_folder
    run_folder.leases.told(task.silence)  # a worker lives too short to see for itself that a lease is abandoned
    with run_folder.leases.holding(task.name) as lease:
        if lease is None or all(run_folder.has(unit) for unit in common.run.units_of(task.entry, task.shard)):
            return 0
        split = _split(common).part(task.shard.start, task.shard.stop)
        device = torch.device(common.device)
        place, dtype = common.places[task.entry.name], common.run.settings["dtype"]
        model = prepared_model(place, task.entry.digest, device, dtype)
        cascade = Cascade(run_folder, common.run, task.entry, task.shard, split, model)
        try:
            return cascade.work(lease)
        except Superseded:
            return 0


@functools.lru_cache(maxsize=2)
def prepared_model(folder: Path, digest: str, device: torch.device, dtype: str) -> PreparedModel:
    """The model made ready, kept for the next tasks; see ``PreparedModel.load``."""
    return PreparedModel.load(folder, digest, device, dtype)


def _split(common: Common) -> Split:
    samples = common.run.settings["samples"]
    if common.dataset is not None:
        return common.dataset.test.first(samples)
    split = loaded_split(common.data, common.data_dir, samples)
    if split.sha256 != common.run.settings["data_sha256"]:
        raise LipbenchError(f"a worker found other data under {common.data!r} than the run is about")
    return split


@functools.lru_cache(maxsize=1)
def loaded_split(spec: str, data_dir: Path | None, samples: int) -> Split:
    """The samples that a worker found; they stay in memory, and so does their digest: it is of these."""
    return data.load_once(spec, data_dir).test.first(samples)


def _tasks(run_folder: RunFolder, run: Run, common: Common) -> list[Task]:
    missing = {(unit.model, unit.shard) for unit in run_folder.missing(run)}
    return [
        Task(common, entry, shard) for entry in run.models for shard in run.shards if (entry.name, shard) in missing
    ]


@contextmanager
def _bar(run_folder: RunFolder, run: Run, progress: bool) -> Iterator[None]:
    """A bar of the units that are there, whoever computes them."""
    names = {f"{unit.name}.parquet" for unit in run.units()}  # suites that begin alike share units
    missing = len({unit.name for unit in run_folder.missing(run)})
    if not progress or not missing:
        yield
        return
    over = threading.Event()
    with tqdm(total=len(names), initial=len(names) - missing, unit="unit", desc=str(run_folder.path)) as bar:

        def show() -> None:
            bar.n = sum(path.name in names for path in run_folder.records.iterdir())
            bar.refresh()

        def watch() -> None:
            while not over.wait(POLL):
                show()

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            show()


def plan_suite(suite: Suite, seeds: tuple[int, ...] = (0,), reference_attack: str | None = None) -> SuitePlan:
    """A suite as a run has it: its first minimal-norm attack opens, on every correct sample; the others follow."""
    minimal = [spec for spec in suite.attacks if guard.describe(spec).minimal_norm]
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


def _entry(folder: Path, dataset: Dataset, plans: Iterable[SuitePlan]) -> ModelEntry:
    model = load_model(folder)
    card = model.card
    check_fits(card, dataset)
    for suite_plan in plans:
        reference = [] if suite_plan.reference_attack is None else [REFERENCE_ATTACKS[suite_plan.reference_attack]]
        for spec in (*suite_plan.suite.attacks, *reference):
            guard.check(spec, card.num_classes, card.input_shape, suite_plan.suite.norm)
    return ModelEntry(card.name, card.plain(), model.digest)


def _settings(dataset: Dataset, split: Split, options: Options, device: torch.device) -> dict[str, Any]:
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
        "versions": {name: importlib.metadata.version(name) for name in VERSIONED},
    }


def _provenance(zoo_folder: Path, title: str | None) -> dict[str, Any]:
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        **({} if title is None else {"title": title}),
        "zoo": zoo_folder.resolve().name if zoo_folder.name != "zoo" else zoo_folder.resolve().parent.name,
        "hardware": {"machine": platform.machine(), "gpu": gpu},
        "python": platform.python_version(),
    }


def data_of(zoo_folder: Path) -> str:
    """The data set that the cards of a zoo name; raises LipbenchError if they differ."""
    specs = sorted({cards.read(folder).data for folder in model_folders(zoo_folder)})
    if len(specs) > 1:
        raise LipbenchError(
            f"the models of {zoo_folder} name different data sets ({', '.join(specs)}); choose one with --data"
        )
    return specs[0]
