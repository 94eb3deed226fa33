"""Training a zoo from a recipe: one folder per model, whole or absent."""

import contextlib
import copy
import functools
import importlib.metadata
import io
import json
import logging
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

from lipbench import data
from lipbench._internal import files
from lipbench._internal.precision import precisions, set_precisions
from lipbench.certification.grades import CLAIM_TOLERANCE
from lipbench.data import Dataset
from lipbench.errors import LipbenchError, one_line
from lipbench.models import architectures, cards
from lipbench.models.cards import Card, Lipschitz
from lipbench.models.stored import load_model, serialize
from lipbench.training import losses, recipes
from lipbench.training.adversarial import AdversarialLoss
from lipbench.training.fit import Fit, PlainLoss, Row, Samples, measure
from lipbench.training.recipes import Recipe, Training, TrainingJob
from lipbench.work.executors import Executor
from lipbench.work.executors.local import LocalExecutor
from lipbench.work.lease import Leases, is_lease

LOG = logging.getLogger(__name__)
VERSIONED = ("lipbench", "torch", "deel-torchlip")  # on every card
CLAIMED_OVER_1 = {"torchlip": 0.0, "orthogonium": 1e-4}  # an AOC net of 8 layers ended at 1 + 8.7e-6
CLAIMS = ".claims"  # in the zoo: who trains what; empty where nobody does
UNFINISHED = ".training"  # in the zoo: where a killed process goes on; empty where nothing is half done
HISTORY = "history.parquet"  # beside a model's card: a row per epoch, see ``fit.Fit.epoch`` and ``fit.measure``
SETTLE = 20  # times that layers compute averaged weights before these are taken
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

    dataset: what the recipe names, or another one, which cards then name. executor: by default this process. Workers
    elsewhere load the data set themselves, by its spec, from ``data_dir``.
    Several processes may train one zoo at once, each with this function: no model is trained twice, and each returns
    once all of them are there. A model's folder gets its name when it is complete; a killed sweep goes on with the
    models it was at, each from its last whole epoch. Same recipe, seed and machine: the same weights, bit for bit, on
    CPU, whoever trains them, and however often they were killed. Cards claim what the layers give by construction, or
    the bound of the trained weights where that is larger; the latter is logged as a warning.

    Raises LipbenchError before any work for mistakes in the recipe, and if ``out`` holds something else than a zoo, one
    of another recipe, or a model of the same name trained in another way; at the end if models could not be trained,
    such as those that diverged: the others are there, and another call tries these again.
    """
    written, content = recipes.read(recipe_path)
    recipe = written.model_copy(update={"data": dataset.spec})
    settings = recipe.settings()
    _check(recipe, settings, dataset)
    _refuse_foreign(out)
    missing = [setting for setting in settings if not _is_trained(out, recipe, setting, dataset)]
    files.make_folder(out)
    _keep_recipe(written, content, out)
    files.sweep(out)
    place = None if data_dir is None else data_dir.resolve()
    sweep = Sweep(recipe, out.resolve(), dataset.spec, place, dataset.train.sha256, str(device))
    outcomes = _run(sweep, missing, dataset, LocalExecutor(1, 1) if executor is None else executor, progress)
    _tidy(sweep, settings)
    mine = [outcomes[setting.name] for setting in missing if setting.name in outcomes]
    for outcome in mine:
        if outcome.remark is not None:
            LOG.warning("%s: %s", outcome.name, outcome.remark)
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
    setting: TrainingJob
    label: str  # for the bar
    silence: Mapping[str, tuple[int, float]]  # see ``Claims.silence``


@dataclass(frozen=True)
class Outcome:
    """What became of a task."""

    name: str  # of the model
    failure: str | None = None  # why there is no model
    remark: str | None = None  # what its user should know of it


def _run(
    sweep: Sweep, missing: Sequence[TrainingJob], dataset: Dataset, executor: Executor, progress: bool
) -> dict[str, Outcome]:
    """Have models trained, and wait for those that others train. Returns the outcomes of the former, by name."""
    here = isinstance(executor, LocalExecutor) and executor.jobs == 1
    labels = {setting.name: f"{number}/{len(missing)} {setting.name}" for number, setting in enumerate(missing, 1)}
    left = {setting.name: setting for setting in missing}
    epochs = {setting.name: setting.training.epochs for setting in missing}
    checkpoints = {setting.name: _checkpoint(sweep, setting) for setting in missing}
    claims, outcomes = Leases(sweep.out / CLAIMS), dict[str, Outcome]()
    with tqdm(total=sum(epochs.values()), unit="epoch", desc=str(sweep.out), disable=not progress) as bar:
        function: Callable[[Task], Outcome | None] = work

        def settled() -> int:
            return sum(epochs.values()) - sum(epochs[name] for name in list(left))  # another thread asks, too

        def look() -> None:
            under_way = [_epochs_done(checkpoints[name]) for name in list(left)]
            bar.update(settled() + sum(under_way) - bar.n)

        if here:
            function = functools.partial(work, dataset=dataset, begin=bar.set_description, epoch_done=look)

        def settle(name: str) -> None:
            del left[name]
            look()

        while left:
            busy, before = claims.running(), len(left)
            free = [setting for setting in left.values() if _claim_name(setting) not in busy]
            tasks = [Task(sweep, setting, labels[setting.name], claims.silence()) for setting in free]
            with _repeated(look, not here and progress):
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


def _tidy(sweep: Sweep, settings: Sequence[TrainingJob]) -> None:
    """Remove what is left of models that are there."""
    folder = sweep.out / UNFINISHED
    files.refuse_link(folder)
    files.sweep(folder)
    done = {_claim_name(setting) for setting in settings if (sweep.out / setting.name).exists()}
    for path in filter(_is_checkpoint, files.entries(folder)):
        if path.name.partition("-")[0] in done:  # also what is left of recipes that were changed
            path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()  # unless others have something in it


@contextlib.contextmanager
def _repeated(look: Callable[[], None], wanted: bool) -> Iterator[None]:
    """Have a thread look every POLL seconds, at what workers elsewhere have done."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(POLL):
            look()

    thread = threading.Thread(target=watch, daemon=True)
    if wanted:
        thread.start()
    try:
        yield
    finally:
        over.set()
        if wanted:
            thread.join()


def _checkpoint(sweep: Sweep, setting: TrainingJob) -> Path:
    """Where a model that is half trained lies; what determines the model is in the name."""
    about = {
        "recipe": sweep.recipe.model_dump(mode="json", exclude={"losses", "architectures", "seeds", "training"}),
        "architecture": setting.architecture.model_dump(mode="json"),
        "loss": setting.loss.model_dump(mode="json"),
        "training": setting.training.model_dump(mode="json"),
        "seed": setting.seed,
        "data": sweep.data_sha256,
        "device": sweep.device,
        "versions": _versions(setting.architecture.layers),
    }
    return sweep.out / UNFINISHED / f"{_claim_name(setting)}-{files.sha256_json(about)[:16]}.pt"


def _is_checkpoint(path: Path) -> bool:
    """Whether it is a file that ``_checkpoint`` names, or the one beside it."""
    name = re.fullmatch(r"[0-9a-f]{16}-[0-9a-f]{16}\.(pt|json)", path.name)
    return name is not None and files.is_own_file(path)


def _epochs_done(checkpoint: Path) -> int:
    """Of a model that is half trained."""
    try:
        return int(json.loads(checkpoint.with_suffix(".json").read_text())["epoch"])
    except (OSError, ValueError, KeyError):
        return 0


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
    claims = Leases(sweep.out / CLAIMS)
    claims.told(task.silence)
    with claims.holding(_claim_name(setting)) as claim:
        if claim is None or (sweep.out / setting.name).exists():
            return None
        files.refuse_link(sweep.out / UNFINISHED)
        begin(task.label)
        dataset = _dataset(sweep) if dataset is None else dataset
        checkpoint = _checkpoint(sweep, setting)
        try:
            trained = train_one(
                sweep.recipe,
                setting,
                dataset,
                device=torch.device(sweep.device),
                epoch_done=epoch_done,
                checkpoint=checkpoint,
            )
        except LipbenchError as error:  # of this model: no reason to give up the others
            return Outcome(setting.name, str(error))
        except torch.OutOfMemoryError as error:
            hint = "a smaller batch_size or fewer --jobs need less memory"
            return Outcome(setting.name, f"out of memory on {sweep.device}: {hint} ({one_line(error)})")
        claimed = _store(sweep.out / setting.name, sweep.recipe, setting, dataset, trained).claimed
        return Outcome(setting.name, remark=_remark(claimed))


def _claim_name(setting: TrainingJob) -> str:
    """Names of models may hold what means something in a pattern of file names."""
    return files.sha256_bytes(setting.name.encode())[:16]


def _dataset(sweep: Sweep) -> Dataset:
    dataset = data.load_once(sweep.data, sweep.data_dir)
    if dataset.train.sha256 != sweep.data_sha256:
        raise LipbenchError(f"a worker found other data under {sweep.data!r} than the sweep is about")
    return dataset


def _check(recipe: Recipe, settings: Sequence[TrainingJob], dataset: Dataset) -> None:
    """Every mistake in the recipe shows before any work is done."""
    with torch.random.fork_rng(devices=[]):
        for setting in settings:
            setting.check()
            try:
                losses.build(setting.loss.name, setting.loss.hyperparameters)
                _build(setting, dataset)
            except LipbenchError as error:
                raise LipbenchError(f"{setting.name}: {error}") from error
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


def _refuse_foreign(out: Path) -> None:
    """Raise LipbenchError for what is no zoo: a folder with a recipe, or with nothing but models and what leads there.

    A killed process may have left anything of the latter.
    """
    if not _recipe_of(out):
        foreign = files.foreign(out, _made)
        if foreign is not None and not _recipe_of(out):  # another process may have been first
            raise LipbenchError(
                f"{out} is not empty and not a zoo: it holds {foreign.name} and no {cards.RECIPE}; choose another "
                "folder with -o"
            )
    for name in (CLAIMS, UNFINISHED):
        files.refuse_link(out / name)


def _recipe_of(out: Path) -> Recipe | None:
    """The recipe that a zoo was made by, if it is there; raises LipbenchError for something else of its name."""
    path = out / cards.RECIPE
    if not os.path.lexists(path):
        return None
    try:
        if not path.is_file():  # to read a pipe would take for ever
            raise LipbenchError("it is no file")
        return recipes.load(path)
    except LipbenchError as error:
        raise LipbenchError(
            f"{out} holds a {cards.RECIPE} that is no recipe of lipbench ({error}); choose another folder with -o"
        ) from error


def _made(path: Path) -> bool:
    """Whether it is a model, or what ``train`` makes on the way to one."""
    known = {CLAIMS: is_lease, UNFINISHED: _is_checkpoint}.get(path.name)
    if known is None:
        return files.is_harmless(path) or (path / cards.CARD).is_file()
    return files.is_own_folder(path) and files.foreign(path, known) is None


def _keep_recipe(recipe: Recipe, content: bytes, out: Path) -> None:
    """Have the recipe in its zoo. Raises LipbenchError if there is another one: it tells how the models were made."""
    if not files.write_new(out / cards.RECIPE, content) and _recipe_of(out) != recipe:
        raise LipbenchError(
            f"{out} was made from another recipe ({_recipes_differ(out, recipe)}): train into another folder with -o, "
            f"or, to extend {out}, move {out / cards.RECIPE} away and run this command again"
        )


def _recipes_differ(out: Path, recipe: Recipe) -> str:
    there = _recipe_of(out)
    if there is None:
        return "which is gone by now"
    old, new = (one.model_dump(mode="json", by_alias=True) for one in (there, recipe))
    return _difference(old, new, now="here")


def _build(setting: TrainingJob, dataset: Dataset) -> nn.Sequential:
    """The network of a setting, to be trained."""
    spec = setting.spec
    outputs = losses.head(setting.loss_spec.name, dataset.num_classes)
    layers = architectures.layers_of(spec.layers, setting.loss_spec.constrained)
    return architectures.build(spec.name, layers, dataset.input_shape, outputs, spec.args)


def _card(recipe: Recipe, setting: TrainingJob, dataset: Dataset, weights_sha256: str, bound: float) -> Card:
    architecture, outputs = setting.architecture, losses.head(setting.loss_spec.name, dataset.num_classes)
    if outputs != dataset.num_classes:
        architecture = architecture.model_copy(update={"args": {**architecture.args, "outputs": outputs}})
    return Card(
        name=setting.name,
        data=recipe.data,
        input_shape=dataset.input_shape,
        num_classes=dataset.num_classes,
        seed=setting.seed,
        weights_sha256=weights_sha256,
        architecture=architecture,
        loss=setting.loss,
        preprocessing=recipe.preprocessing,
        claimed=_claim(recipe, setting, bound) if setting.loss_spec.constrained else None,
        training={**setting.training.model_dump(exclude_none=True), "data_sha256": dataset.train.sha256},
        versions=_versions(architecture.layers),
    )


def _versions(layers: str) -> dict[str, str]:
    names = (*VERSIONED, "orthogonium") if layers == "orthogonium" else VERSIONED
    return {name: importlib.metadata.version(name) for name in names}


def _claim(recipe: Recipe, setting: TrainingJob, bound: float) -> Lipschitz:
    """What the layers give by construction, or the bound of the weights where it is larger by more than roundings."""
    # the layers are 1-Lipschitz by construction, up to roundings; normalisation by std multiplies by 1 / min std
    scale = 1.0 if recipe.preprocessing is None else 1.0 / min(recipe.preprocessing.std)
    given = scale * (1 + CLAIMED_OVER_1[setting.spec.layers])
    if bound <= given * (1 + CLAIM_TOLERANCE):
        return Lipschitz(constant=given)
    return Lipschitz(constant=bound, by_construction=given)


def _remark(claimed: Lipschitz | None) -> str | None:
    if claimed is None or claimed.by_construction is None:
        return None
    return (
        f"its layers should be 1-Lipschitz by construction, which makes {claimed.by_construction:g} for the network, "
        f"and are not: the card claims the bound {claimed.constant:.6g} of the trained weights"
    )


def _is_trained(out: Path, recipe: Recipe, setting: TrainingJob, dataset: Dataset) -> bool:
    folder = out / setting.name
    if not os.path.lexists(folder):
        return False
    try:
        found = cards.read(folder)
        load_model(folder)  # weights that were truncated since are an error, not a finished model
    except LipbenchError as error:
        raise LipbenchError(f"{error}; or delete {folder}, and it is trained again") from error
    bound = 0.0 if found.claimed is None else found.claimed.constant  # its weights decided it
    there, wanted = _same(found), _same(_card(recipe, setting, dataset, found.weights_sha256, bound))
    if there != wanted:
        raise LipbenchError(
            f"{folder} holds a model that was trained in another way than the recipe says "
            f"({_difference(there.plain(), wanted.plain())}); choose another folder with -o"
        )
    return True


def _difference(
    there: Mapping[str, object], wanted: Mapping[str, object], place: str = "", now: str = "in the recipe"
) -> str:
    """The first key in which two cards or recipes differ, and both values."""
    key = next(key for key in {**there, **wanted} if there.get(key) != wanted.get(key))
    old, new = there.get(key), wanted.get(key)
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return _difference(old, new, f"{place}{key}.", now)
    return f"{place}{key}: {'none' if old is None else old} there, {'none' if new is None else new} {now}"


def _same(card: Card) -> Card:
    """What must be equal: versions need not, and a key of [training] that a card lacks has its default."""
    known = {key: value for key, value in card.training.items() if key in Training.model_fields}
    full = {**card.training, **Training.model_validate(known).model_dump(mode="json")}
    return card.model_copy(update={"versions": {}, "training": full})


def _store(folder: Path, recipe: Recipe, setting: TrainingJob, dataset: Dataset, trained: "Trained") -> Card:
    """Store a model under ``folder``, unless it is there; returns its card."""
    import pandas as pd

    data = serialize(trained.module)
    card = _card(recipe, setting, dataset, files.sha256_bytes(data), trained.history[-1]["bound"])
    history = io.BytesIO()
    pd.DataFrame(trained.history).to_parquet(history, index=False)
    temporary = files.temporary_name(folder)
    try:
        temporary.mkdir(parents=True)
        files.write_bytes(temporary / cards.WEIGHTS, data)
        files.write_bytes(temporary / HISTORY, history.getvalue())
        cards.write(temporary, card)
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.exists():  # else another process, which took this one for gone, was first: the same model
                raise
    except OSError as error:
        raise files.cannot_write(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return card


@contextlib.contextmanager
def _deterministic(seed: int, device: torch.device) -> Iterator[None]:
    """Seeded and deterministic inside, float32 products in float32; global state as it was outside."""
    flag, threads, held = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads(), precisions()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(device.type == "cpu")
        set_precisions()
        torch.set_num_threads(1)  # the order of sums, and so the weights, would depend on the number of cores
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(flag)
            torch.set_num_threads(threads)
            set_precisions(held)


@dataclass(frozen=True)
class Trained:
    """A model in its plain torch form, on the CPU, in eval mode, without the preprocessing; and its history."""

    module: nn.Sequential
    history: list[Row]


def train_one(
    recipe: Recipe,
    setting: TrainingJob,
    dataset: Dataset,
    *,
    device: torch.device,
    epoch_done: EpochDone = lambda: None,
    checkpoint: Path | None = None,
) -> Trained:
    """Train one model; from where ``checkpoint`` says that another process was, if it is there.

    Raises LipbenchError if the loss is no longer finite.
    """
    _check_samples(dataset)
    with _deterministic(setting.seed, device):
        normalize: nn.Module = nn.Identity()
        if recipe.preprocessing is not None:
            normalize = architectures.Normalize(recipe.preprocessing.mean, recipe.preprocessing.std)
        model = nn.Sequential(normalize, _build(setting, dataset)).to(device)
        samples = Samples.of(dataset.train, device)
        held_out = Samples.of(dataset.test.first(recipe.history.samples), device)
        generator = torch.Generator(device)
        loss = losses.build(setting.loss.name, setting.loss.hyperparameters).to(device)
        how = setting.loss_spec.adversarial
        value = PlainLoss(loss) if how is None else AdversarialLoss(how, loss, generator)
        fit = Fit(model, value, setting.training, samples, setting.seed, generator)
        if checkpoint is not None:
            files.make_folder(checkpoint.parent)
            fit.resume(checkpoint)
        while len(fit.history) < setting.training.epochs:
            row = fit.epoch()
            fit.history.append({**row, **measure(nn.Sequential(normalize, _exported(fit)), held_out, recipe.history)})
            if checkpoint is not None:
                fit.save(checkpoint)
                files.write_json(checkpoint.with_suffix(".json"), {"epoch": len(fit.history)})
            epoch_done()
        return Trained(_exported(fit).cpu(), fit.history)


@torch.no_grad()
def _exported(fit: Fit) -> nn.Sequential:
    """The network that the training has come to, in its plain form. It is a copy: the training does not notice."""
    normalize, network = copy.deepcopy(fit.averaged)
    sample = normalize(fit.samples.x(slice(fit.how.batch_size)))
    if fit.how.ema is not None:
        network.train()
        for _ in range(SETTLE):  # power iterations, for weights that they have not met
            for module in network.modules():
                for name in getattr(module, "parametrizations", ()):
                    getattr(module, name)
    return architectures.export(network, sample)
