"""Training a zoo from a recipe: one folder per model, whole or absent."""

import functools
import logging
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lipbench import data as datasets
from lipbench._internal import arguments, files
from lipbench._internal.randomness import keeping_random_numbers
from lipbench.data import Dataset
from lipbench.errors import CannotWriteError, LipbenchError, one_line, reason
from lipbench.models.cards import Lipschitz
from lipbench.training import checkpoint, losses, recipes, trainer, trial, zoo_folder
from lipbench.training.augmentation import check_fits
from lipbench.training.checkpoint import Checkpoint, checkpoint_of, lease_name
from lipbench.training.recipes import Recipe, TrainingJob
from lipbench.training.storing import is_trained, store
from lipbench.work.coordinator import Coordinator, Progress, Task
from lipbench.work.execution import HERE, Execution
from lipbench.work.executors import Executor
from lipbench.work.lease import Lease, Leases

LOG = logging.getLogger(__name__)
StrPath = str | os.PathLike[str]


def train_zoo(
    recipe: StrPath | Recipe | Mapping[str, Any],
    out: StrPath,
    *,
    data: str | None = None,
    data_dir: StrPath | None = None,
    executor: str | Executor = "local",
    jobs: int = 1,
    address: str | None = None,
    gpus_per_task: float | None = None,
    device: str = "auto",
    progress: bool = False,
) -> list[Path]:
    """Train every model of a recipe that ``out`` does not hold yet; returns the folders of the models trained here.

    recipe: a path, the name of a bundled recipe, or in Python a ``Recipe`` or the content of its file as a dict, where
    a loss, a set of layers and an optimizer may be objects in place of names; out: the zoo, one folder per model; data:
    the spec of another data set than the recipe's; data_dir: the folder with the files of mnist, cifar10, cifar100;
    executor: "local", "ray", the name of a plugin's or an object of your own, with ``jobs`` processes or tasks at once;
    address and gpus_per_task: for ray; device: "auto", "cpu" or "cuda"; progress: show a bar. Everything else as for
    ``train_recipe``. Raises LipbenchError for wrong use.
    """
    # one thread each: the weights would depend on their number
    execution = Execution(device, executor, jobs, 1, address, gpus_per_task)
    target = arguments.path("out", out)
    folder = None if data_dir is None else arguments.path("data_dir", data_dir)
    if isinstance(recipe, Recipe | Mapping):
        written = recipes.given(recipe)
    else:
        written = recipes.read(recipes.find(str(arguments.path("the recipe", recipe))))
    dataset = datasets.load(written[0].data if data is None else arguments.text("data", data), folder)
    return train_recipe(*written, target, dataset, execution, data_dir=folder, progress=progress)


def train(
    recipe_path: Path,
    out: Path,
    dataset: Dataset,
    execution: Execution = HERE,
    *,
    data_dir: Path | None = None,
    progress: bool = True,
) -> list[Path]:
    """As ``train_recipe``, with the recipe in a file."""
    return train_recipe(*recipes.read(recipe_path), out, dataset, execution, data_dir=data_dir, progress=progress)


def train_recipe(
    written: Recipe,
    content: bytes,
    out: Path,
    dataset: Dataset,
    execution: Execution = HERE,
    *,
    data_dir: Path | None = None,
    progress: bool = True,
) -> list[Path]:
    """Train every model of a recipe that ``out`` does not hold yet; returns the folders of the models trained here.

    written, content: the recipe and its file, which the zoo keeps; dataset: the one that the recipe names, or another
    one, which cards then name. data_dir: workers in other processes load the data set themselves, by its spec, from
    this folder.
    Several processes may train one zoo at once, each with this function: no model is trained twice, and each process
    returns when all models are there. A model's folder gets its name when it is complete. A killed sweep is resumed by
    another call, each half-trained model after its last whole epoch. The same recipe, seed and machine give the same
    weights, bit for bit, on CPU, whichever process trains them and however often it was killed. Cards claim the
    constant that the layers have by construction, or the bound of the trained weights if it is larger; the latter is
    logged as a warning.

    Raises LipbenchError before any work for mistakes in the recipe, for more than one thread, and if ``out`` holds
    something that is not a zoo, a zoo of another recipe, or a model of the same name that was trained differently; and
    at the end if models could not be trained, such as those that diverged: the others are there, and another call tries
    these again.
    """
    if execution.threads != 1:
        raise LipbenchError(f"threads must be 1 in training, as weights depend on it; got {execution.threads}")
    recipe = written.model_copy(update={"data": dataset.spec})
    jobs = recipe.training_jobs()
    with execution.computing() as device:
        check(recipe, jobs, dataset)
        zoo_folder.refuse_foreign(out)
        missing = [job for job in jobs if not is_trained(out / job.name, recipe, job, dataset)]
        with keeping_random_numbers():
            trial.try_networks(recipe, missing, dataset)
        files.make_folder(out)
        zoo_folder.keep_recipe(written, content, out)
        files.sweep(out)
        place = None if data_dir is None else data_dir.resolve()
        sweep = Sweep(recipe, out.resolve(), dataset.spec, place, dataset.train.sha256, str(device))
        outcomes = _run(sweep, missing, dataset, execution, progress)
    checkpoint.tidy(sweep.out, jobs)
    mine = [outcomes[job.name] for job in missing if job.name in outcomes]
    _report(mine, len(jobs), out)
    return [out / outcome.name for outcome in mine]


@dataclass(frozen=True)
class Sweep:
    """What the tasks of one call share."""

    recipe: Recipe
    out: Path
    data: str  # the data set's spec
    data_dir: Path | None
    data_sha256: str  # of the training split
    device: str

    def checkpoint(self, job: TrainingJob) -> Checkpoint:
        """The checkpoint of a model."""
        kind = torch.device(self.device).type  # a GPU resumes what another one began
        return checkpoint_of(self.out, self.recipe, job, self.data_sha256, kind)


@dataclass(frozen=True)
class ModelTask:
    """One model: the payload of a task."""

    sweep: Sweep
    job: TrainingJob
    label: str  # for the bar


@dataclass(frozen=True)
class Outcome:
    """The end of a model's training."""

    name: str  # of the model
    failure: str | None = None  # why there is no model
    remark: str | None = None  # what the user should know about the model


def _run(
    sweep: Sweep, missing: Sequence[TrainingJob], dataset: Dataset, execution: Execution, progress: bool
) -> dict[str, Outcome]:
    """Train models, and wait for those that other processes train; returns the former's outcomes, by name."""
    tasks = [
        Task(lease_name(job), ModelTask(sweep, job, f"{number}/{len(missing)} {job.name}"))
        for number, job in enumerate(missing, 1)
    ]
    leases = Leases(sweep.out / zoo_folder.LEASES)
    coordinator = Coordinator(
        leases,
        tasks,
        lambda one: is_trained(sweep.out / one.job.name, sweep.recipe, one.job, dataset),
        _progress(sweep, missing) if progress else None,
    )
    function: Callable[[ModelTask, Lease], Outcome | None] = work
    if execution.in_this_process:
        function = functools.partial(work, dataset=dataset, begin=coordinator.describe, epoch_done=coordinator.look)
    outcomes = coordinator.run(function, execution.workers(), lost)
    leases.tidy()
    return {outcome.name: outcome for outcome in outcomes.values()}


def _progress(sweep: Sweep, missing: Sequence[TrainingJob]) -> Progress:
    """The epochs of all missing models, whichever process trains them."""
    epochs = {lease_name(job): job.training.epochs for job in missing}
    checkpoints = {lease_name(job): sweep.checkpoint(job) for job in missing}
    total = sum(epochs.values())

    def done(waiting: Collection[str]) -> int:
        return total - sum(epochs[name] - checkpoints[name].epochs for name in waiting)

    return Progress(str(sweep.out), "epoch", total, done)


def _report(outcomes: Sequence[Outcome], models: int, out: Path) -> None:
    """Log the remarks; raises LipbenchError for the failures."""
    for outcome in outcomes:
        if outcome.remark is not None:
            LOG.warning("%s: %s", outcome.name, outcome.remark)
    failures = [f"{outcome.name}: {outcome.failure}" for outcome in outcomes if outcome.failure is not None]
    if failures:
        raise LipbenchError(
            f"{len(failures)} of {models} models could not be trained, the others are in {out}; rerun the same command "
            f"to try these again. {'. '.join(failures)}"
        )


def work(
    task: ModelTask,
    lease: Lease,
    dataset: Dataset | None = None,
    begin: Callable[[str], object] = lambda label: None,
    epoch_done: Callable[[], object] = lambda: None,
) -> Outcome | None:
    """Train one model and store it; None if another process did.

    dataset, begin (called with the task's label) and epoch_done: given in the process that made the task.
    """
    sweep, job = task.sweep, task.job
    if (sweep.out / job.name).exists():
        return None
    files.refuse_link(sweep.out / checkpoint.UNFINISHED)
    begin(task.label)
    dataset = _dataset(sweep) if dataset is None else dataset
    device = torch.device(sweep.device)
    try:
        trained = trainer.train_one(
            sweep.recipe, job, dataset, device=device, epoch_done=epoch_done, checkpoint=sweep.checkpoint(job)
        )
        claimed = store(sweep.out / job.name, sweep.recipe, job, dataset, trained).claimed
    except CannotWriteError:  # the disk's fault: the others would fail as well
        raise
    except (MemoryError, torch.OutOfMemoryError) as error:
        hint = "a smaller batch_size or fewer --jobs need less memory"
        return Outcome(job.name, f"out of memory on {sweep.device}: {hint} ({one_line(error)})")
    except Exception as error:  # whatever the code of a loss or a layer raises: no reason to give up the others
        LOG.debug("%s failed", job.name, exc_info=True)
        return Outcome(job.name, reason(error))
    return Outcome(job.name, remark=_remark(claimed))


def lost(task: ModelTask, why: str) -> Outcome:
    """A worker died on a model: its training failed."""
    return Outcome(task.job.name, why)


def _dataset(sweep: Sweep) -> Dataset:
    dataset = datasets.load_once(sweep.data, sweep.data_dir)
    if dataset.train.sha256 != sweep.data_sha256:
        raise LipbenchError(
            f"a worker found other data under {sweep.data!r} than the sweep was started with; use the same files"
        )
    return dataset


def check(recipe: Recipe, jobs: Sequence[TrainingJob], dataset: Dataset) -> None:
    """Raise LipbenchError for any mistake in the recipe, so that it shows before any work is done."""
    with keeping_random_numbers():
        for job in jobs:
            job.check()
            try:
                trial.try_loss(job, losses.head(job.loss.name, dataset.num_classes))
                trial.try_optimizer(job)
                trainer.network(job, dataset)
                check_fits(job.training.augmentation, dataset.input_shape)
            except LipbenchError as error:
                raise LipbenchError(f"{job.name}: {error}") from error
            except Exception:  # of a plugin's code, not of the recipe: the job fails, and the others are trained
                LOG.debug("%s failed", job.name, exc_info=True)
    given = recipe.preprocessing
    if given is not None and {len(given.mean), len(given.std)} != {dataset.input_shape[0]}:
        raise LipbenchError(
            f"preprocessing needs one mean and one std for each of {dataset.input_shape[0]} channels, "
            f"got {len(given.mean)} and {len(given.std)}"
        )
    trainer.check_samples(dataset)


def _remark(claimed: Lipschitz | None) -> str | None:
    if claimed is None or claimed.by_construction is None:
        return None
    return (
        f"its layers should be 1-Lipschitz by construction, which makes {claimed.by_construction:g} for the network, "
        f"but they are not: the card claims the bound {claimed.constant:.6g} of the trained weights"
    )
