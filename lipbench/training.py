"""Training a zoo from a recipe: one folder per model, whole or absent."""

import contextlib
import functools
import importlib.metadata
import io
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from lipbench import architectures, cards, data, files, losses, recipes, zoo
from lipbench.cards import Card, Lipschitz
from lipbench.claims import Claims
from lipbench.data import Dataset
from lipbench.errors import LipbenchError
from lipbench.executors import Executor
from lipbench.executors.local import LocalExecutor
from lipbench.recipes import Adversarial, Recipe, Setting

VERSIONED = ("lipbench", "torch", "deel-torchlip", "adversarial-robustness-toolbox")
CLAIMS = ".claims"  # in the zoo: who trains what; empty where nobody does
POLL = 1.0  # seconds between two looks at what others have trained
EpochDone = Callable[[], object]


def train(
    recipe_path: Path,
    out: Path,
    dataset: Dataset,
    *,
    device: torch.device,
    executor: Executor | None = None,
    data_dir: Path | None = None,
    progress: bool = True,
) -> list[Path]:
    """Train every model of a recipe that ``out`` does not hold yet; returns the folders of those that it trained.

    executor: by default this process. Workers elsewhere load the data set themselves, by its spec, from ``data_dir``.
    Several processes may train one zoo at once, each with this function: no model is trained twice, and each returns
    once all of them are there. A model's folder gets its name when it is complete, so that a killed sweep goes on with
    the models it was at. Same recipe, seed and machine: the same weights, bit for bit, on CPU, whoever trains them.

    Raises LipbenchError before any work for mistakes in the recipe, and if ``out`` holds a model of the same name
    trained in another way; at the end if models could not be trained, such as those that diverged: the others are
    there, and another call tries these again.
    """
    recipe = recipes.load(recipe_path)
    settings = recipe.settings()
    _check(recipe, settings, dataset)
    files.make_folder(out)
    files.sweep(out)
    missing = [setting for setting in settings if not _is_trained(out, recipe, setting, dataset)]
    _keep_recipe(recipe_path, out)
    place = None if data_dir is None else data_dir.resolve()
    sweep = Sweep(recipe, out.resolve(), dataset.spec, place, dataset.train.sha256, str(device))
    outcomes = _run(sweep, missing, dataset, LocalExecutor(1, 1) if executor is None else executor, progress)
    mine = [outcomes[setting.name] for setting in missing if setting.name in outcomes]
    failures = [f"{outcome.name}: {outcome.failure}" for outcome in mine if outcome.failure is not None]
    if failures:
        raise LipbenchError(
            f"{len(failures)} of {len(settings)} models could not be trained, the others are in {out}, and the same "
            f"command tries these again. {'. '.join(failures)}"
        )
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


@dataclass(frozen=True)
class Task:
    """One model."""

    sweep: Sweep
    setting: Setting
    label: str  # for the bar
    silence: Mapping[str, tuple[int, float]]  # see ``Claims.silence``


@dataclass(frozen=True)
class Outcome:
    """What became of a task."""

    name: str  # of the model
    failure: str | None = None  # why there is no model


def _run(
    sweep: Sweep, missing: Sequence[Setting], dataset: Dataset, executor: Executor, progress: bool
) -> dict[str, Outcome]:
    """Have models trained, and wait for those that others train. Returns the outcomes of the former, by name."""
    here = isinstance(executor, LocalExecutor) and executor.jobs == 1
    unit, units = ("epoch", sweep.recipe.training.epochs) if here else ("model", 1)
    labels = {setting.name: f"{number}/{len(missing)} {setting.name}" for number, setting in enumerate(missing, 1)}
    left = {setting.name: setting for setting in missing}
    claims, outcomes = Claims(sweep.out / CLAIMS), dict[str, Outcome]()
    with tqdm(total=len(missing) * units, unit=unit, desc=str(sweep.out), disable=not progress) as bar:
        function: Callable[[Task], Outcome | None] = work
        if here:
            function = functools.partial(work, dataset=dataset, begin=bar.set_description, epoch_done=bar.update)

        def settle(name: str) -> None:
            del left[name]
            bar.update((len(missing) - len(left)) * units - bar.n)

        while left:
            busy, before = claims.running(), len(left)
            free = [setting for setting in left.values() if _claim_name(setting) not in busy]
            tasks = [Task(sweep, setting, labels[setting.name], claims.silence()) for setting in free]
            for outcome in executor.run(function, tasks) if tasks else ():
                if outcome is not None:
                    outcomes[outcome.name] = outcome
                    settle(outcome.name)
            for setting in list(left.values()):
                if _is_trained(sweep.out, sweep.recipe, setting, dataset):
                    settle(setting.name)
            if len(left) == before:  # others are at all of them
                time.sleep(POLL)
    claims.tidy()
    return outcomes


def work(
    task: Task,
    dataset: Dataset | None = None,
    begin: Callable[[str], object] = lambda label: None,
    epoch_done: EpochDone = lambda: None,
) -> Outcome | None:
    """Train one model and store it; None if another process does, or did.

    dataset, begin (called with the task's label) and epoch_done: given in the process that made the task.
    """
    sweep, setting = task.sweep, task.setting
    claims = Claims(sweep.out / CLAIMS)
    claims.told(task.silence)
    with claims.holding(_claim_name(setting)) as claim:
        if claim is None or (sweep.out / setting.name).exists():
            return None
        begin(task.label)
        dataset = _dataset(sweep) if dataset is None else dataset
        try:
            module = train_one(sweep.recipe, setting, dataset, device=torch.device(sweep.device), epoch_done=epoch_done)
        except LipbenchError as error:  # of this model: no reason to give up the others
            return Outcome(setting.name, str(error))
        _store(sweep.out / setting.name, sweep.recipe, setting, dataset, module)
        return Outcome(setting.name)


def _claim_name(setting: Setting) -> str:
    """Names of models may hold what means something in a pattern of file names."""
    return files.sha256_bytes(setting.name.encode())[:16]


def _dataset(sweep: Sweep) -> Dataset:
    dataset = data.load_once(sweep.data, sweep.data_dir)
    if dataset.train.sha256 != sweep.data_sha256:
        raise LipbenchError(f"a worker found other data under {sweep.data!r} than the sweep is about")
    return dataset


def _check(recipe: Recipe, settings: Sequence[Setting], dataset: Dataset) -> None:
    """Every mistake in the recipe shows before any work is done."""
    with torch.random.fork_rng(devices=[]):
        for setting in settings:
            losses.build(setting.loss.name, setting.loss.hyperparameters)
            _build(setting, dataset)
    given = recipe.preprocessing
    if given is not None and {len(given.mean), len(given.std)} != {dataset.input_shape[0]}:
        raise LipbenchError(
            f"preprocessing needs one mean and one std for each of {dataset.input_shape[0]} channels, "
            f"got {len(given.mean)} and {len(given.std)}"
        )
    _check_samples(dataset)


def _check_samples(dataset: Dataset) -> None:
    if len(dataset.train.labels) == 0:
        raise LipbenchError(f"the data set {dataset.spec!r} has no training samples: x_train and y_train are needed")


def _keep_recipe(recipe_path: Path, out: Path) -> None:
    content, kept = recipe_path.read_bytes(), out / cards.RECIPE
    if not kept.exists() or kept.read_bytes() != content:
        files.write_bytes(kept, content)


def _build(setting: Setting, dataset: Dataset) -> nn.Sequential:
    layers = architectures.CONSTRAINED if setting.loss_spec.constrained else architectures.UNCONSTRAINED
    return architectures.build(setting.spec.name, layers, dataset.input_shape, dataset.num_classes, setting.spec.args)


def _card(recipe: Recipe, setting: Setting, dataset: Dataset, weights_sha256: str) -> Card:
    return Card(
        name=setting.name,
        data=recipe.data,
        input_shape=dataset.input_shape,
        num_classes=dataset.num_classes,
        seed=setting.seed,
        weights_sha256=weights_sha256,
        architecture=setting.architecture,
        loss=setting.loss,
        preprocessing=recipe.preprocessing,
        claimed=_claim(recipe) if setting.loss_spec.constrained else None,
        training={**recipe.training.model_dump(), "data_sha256": dataset.train.sha256},
        versions={name: importlib.metadata.version(name) for name in VERSIONED},
    )


def _claim(recipe: Recipe) -> Lipschitz:
    # the layers are 1-Lipschitz by construction; normalisation by std multiplies by 1 / min std
    return Lipschitz(constant=1.0 if recipe.preprocessing is None else 1.0 / min(recipe.preprocessing.std))


def _is_trained(out: Path, recipe: Recipe, setting: Setting, dataset: Dataset) -> bool:
    folder = out / setting.name
    if not folder.exists():
        return False
    found = cards.read(folder)
    wanted = _card(recipe, setting, dataset, found.weights_sha256)
    if found.model_copy(update={"versions": {}}) != wanted.model_copy(update={"versions": {}}):
        raise LipbenchError(
            f"{folder} holds a model that was trained in another way than the recipe says; "
            "choose another folder with -o, or delete it"
        )
    zoo.load(folder)  # weights that were truncated since are an error, not a finished model
    return True


def _store(folder: Path, recipe: Recipe, setting: Setting, dataset: Dataset, module: nn.Sequential) -> None:
    data = zoo.serialize(module)
    temporary = files.temporary_name(folder)
    try:
        files.make_folder(temporary)
        files.write_bytes(temporary / cards.WEIGHTS, data)
        cards.write(temporary, _card(recipe, setting, dataset, files.sha256_bytes(data)))
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.exists():  # else another process, which took this one for gone, was first: the same model
                raise
    except OSError as error:
        raise files.cannot_write(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def _deterministic(seed: int, device: torch.device) -> Iterator[None]:
    """Seeded and deterministic inside; global state as it was outside."""
    numpy_state, flag, threads = (
        np.random.get_state(),  # noqa: NPY002  (ART draws from it)
        torch.are_deterministic_algorithms_enabled(),
        torch.get_num_threads(),
    )
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002  (ART draws from it)
        torch.use_deterministic_algorithms(device.type == "cpu")
        torch.set_num_threads(1)  # the order of sums, and so the weights, would depend on the number of cores
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(flag)
            torch.set_num_threads(threads)
            np.random.set_state(numpy_state)  # noqa: NPY002


def train_one(
    recipe: Recipe,
    setting: Setting,
    dataset: Dataset,
    *,
    device: torch.device,
    epoch_done: EpochDone = lambda: None,
) -> nn.Sequential:
    """Train one model and return its plain torch form, on the CPU, in eval mode, without the preprocessing.

    Raises LipbenchError if the loss is no longer finite.
    """
    _check_samples(dataset)
    with _deterministic(setting.seed, device):
        model = _build(setting, dataset).to(device)
        loss = losses.build(setting.loss.name, setting.loss.hyperparameters)
        normalize: nn.Module = nn.Identity()
        if recipe.preprocessing is not None:
            normalize = architectures.Normalize(recipe.preprocessing.mean, recipe.preprocessing.std).to(device)
        prepared = nn.Sequential(normalize, model)
        x, y = torch.from_numpy(dataset.train.x), torch.from_numpy(dataset.train.labels)
        adversarial = setting.loss_spec.adversarial
        if adversarial is None:
            _fit(prepared, loss, x.to(device), y.to(device), recipe, setting, epoch_done)
        else:
            _fit_adversarial(prepared, loss, dataset, recipe, adversarial, device, epoch_done)
        if not all(torch.isfinite(p).all() for p in model.parameters()):
            raise LipbenchError("training diverged: its weights are not finite; lower learning_rate")
        return architectures.export(model, normalize(x[: recipe.training.batch_size].to(device))).cpu()


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    kinds: dict[str, Any] = {
        "adam": torch.optim.Adam,
        "sgd": lambda parameters, lr: torch.optim.SGD(parameters, lr=lr, momentum=0.9, nesterov=True),
    }
    optimizer: torch.optim.Optimizer = kinds[recipe.training.optimizer](
        model.parameters(), lr=recipe.training.learning_rate
    )
    return optimizer


def _decay(recipe: Recipe, progress: float) -> float:
    """The factor of the learning rate after a share ``progress`` of the training."""
    return (1 + math.cos(math.pi * progress)) / 2 if recipe.training.schedule == "cosine" else 1.0


def _fit(
    model: nn.Module,
    loss: nn.Module,
    x: Tensor,
    y: Tensor,
    recipe: Recipe,
    setting: Setting,
    epoch_done: EpochDone,
) -> None:
    """Minimise the loss. x: float32 (n, c, h, w) in [0, 1]; y: int64 (n,)."""
    size = min(recipe.training.batch_size, len(x))
    steps = max(len(x) // size, 1)  # the last, smaller batch is dropped: KR's expectations are over the batch
    optimizer = _optimizer(model, recipe)
    total = steps * recipe.training.epochs
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _decay(recipe, step / total))
    generator = torch.Generator().manual_seed(setting.seed)
    model.train()
    for epoch in range(recipe.training.epochs):
        order = torch.randperm(len(x), generator=generator).to(x.device)
        for batch in order[: steps * size].split(size):
            optimizer.zero_grad()
            value = loss(model(x[batch]), y[batch])
            value.backward()
            optimizer.step()
            schedule.step()
        if not torch.isfinite(value):
            raise LipbenchError(
                f"training diverged: the loss is {value.item()} in epoch {epoch + 1}; lower learning_rate"
            )
        epoch_done()


def _fit_adversarial(
    model: nn.Module,
    loss: nn.Module,
    dataset: Dataset,
    recipe: Recipe,
    adversarial: Adversarial,
    device: torch.device,
    epoch_done: EpochDone,
) -> None:
    """Adversarial training by ART: PGD (Madry et al. 2018, arXiv 1706.06083); the learning rate moves per epoch."""
    from art.attacks.evasion import ProjectedGradientDescentPyTorch
    from art.defences.trainer import AdversarialTrainer
    from art.estimators.classification import PyTorchClassifier

    optimizer = _optimizer(model, recipe)
    classifier = PyTorchClassifier(
        model,
        loss=loss,
        optimizer=optimizer,
        input_shape=dataset.input_shape,
        nb_classes=dataset.num_classes,
        clip_values=(0.0, 1.0),
        device_type="gpu" if device.type == "cuda" else "cpu",
    )
    attack = ProjectedGradientDescentPyTorch(
        classifier,
        norm=2 if adversarial.norm == "L2" else np.inf,
        eps=adversarial.eps,
        eps_step=2.5 * adversarial.eps / adversarial.steps,
        max_iter=adversarial.steps,
        num_random_init=1,
        batch_size=recipe.training.batch_size,
        verbose=False,
    )
    trainer = AdversarialTrainer(classifier, attack, ratio=adversarial.ratio)
    labels = np.eye(dataset.num_classes, dtype=np.float32)[dataset.train.labels]
    for epoch in range(recipe.training.epochs):
        for group in optimizer.param_groups:
            group["lr"] = recipe.training.learning_rate * _decay(recipe, epoch / recipe.training.epochs)
        with contextlib.redirect_stderr(io.StringIO()):  # the trainer shows bars of its own and has no switch for them
            trainer.fit(dataset.train.x, labels, batch_size=recipe.training.batch_size, nb_epochs=1)
        epoch_done()
