"""Training one model: deterministic, resumable after each epoch."""

import contextlib
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import nn

from lipbench._internal import files
from lipbench._internal.precision import precisions, set_precisions
from lipbench._internal.randomness import keeping_random_numbers
from lipbench._internal.registry import ARCHITECTURES, LAYERS
from lipbench.data import Dataset
from lipbench.errors import LipbenchError
from lipbench.models import architectures
from lipbench.models.architectures.exporting import PlainForms
from lipbench.training import losses
from lipbench.training.adversarial import AdversarialLoss
from lipbench.training.checkpoint import Checkpoint
from lipbench.training.fit import DeviceSplit, Fit, HistoryRow, PlainLoss, measure
from lipbench.training.recipes import Recipe, TrainingJob

SETTLE = 20  # times that layers compute averaged weights before these are taken


@dataclass(frozen=True)
class Trained:
    """A model in its plain torch form, on the CPU, in eval mode, without the preprocessing; and its history."""

    module: nn.Sequential
    history: list[HistoryRow]


def train_one(
    recipe: Recipe,
    job: TrainingJob,
    dataset: Dataset,
    *,
    device: torch.device,
    epoch_done: Callable[[], object] = lambda: None,
    checkpoint: Checkpoint | None = None,
) -> Trained:
    """Train one model, from the last epoch in ``checkpoint`` if there is one.

    ``epoch_done`` is called after each epoch.

    Raises LipbenchError if the loss is no longer finite.
    """
    check_samples(dataset)
    with deterministic(job.seed, device):
        normalize = preprocessing(recipe)
        fit = _fit(normalize, job, dataset, device)
        forms = layers_of(job).plain_forms
        held_out = DeviceSplit.of(dataset.test.first(recipe.history.samples), device)
        if checkpoint is not None:
            files.make_folder(checkpoint.path.parent)
            fit.resume(checkpoint.path)
        while len(fit.history) < job.training.epochs:
            row = fit.epoch()
            if recipe.history.is_due(len(fit.history) + 1, job.training.epochs):
                row |= measure(nn.Sequential(normalize, _exported(fit, forms)), held_out, recipe.history)
            fit.history.append(row)
            if checkpoint is not None:
                checkpoint.write(fit.state(), len(fit.history))
            epoch_done()
        return Trained(_exported(fit, forms).cpu(), fit.history)


def _fit(normalize: nn.Module, job: TrainingJob, dataset: Dataset, device: torch.device) -> Fit:
    """Everything that training changes, at its beginning."""
    model = nn.Sequential(normalize, network(job, dataset)).to(device)
    generator = torch.Generator(device)
    loss = losses.build(job.loss.name, job.loss.hyperparameters).to(device)
    how = job.loss_spec.adversarial
    value = PlainLoss(loss) if how is None else AdversarialLoss(how, loss, generator)
    return Fit(model, value, job.training, DeviceSplit.of(dataset.train, device), job.seed, generator)


def network(job: TrainingJob, dataset: Dataset) -> nn.Sequential:
    """The untrained network of a training job."""
    outputs = losses.head(job.loss_spec.name, dataset.num_classes)
    return architectures.build(job.spec.name, layers_of(job), dataset.input_shape, outputs, job.spec.args)


def layers_of(job: TrainingJob) -> architectures.Layers:
    """The set of layers that a job trains with."""
    return architectures.layers_of(job.spec.layers, job.loss_spec.constrained)


@contextlib.contextmanager
def plugins_of(job: TrainingJob) -> Iterator[None]:
    """Run code of a network: an exception in layers of a plugin becomes a LipbenchError that names it."""
    with ARCHITECTURES.calling(job.spec.name), LAYERS.calling(job.spec.layers):
        yield


def preprocessing(recipe: Recipe) -> nn.Module:
    """What comes before the network."""
    if recipe.preprocessing is None:
        return nn.Identity()
    return architectures.Normalize(recipe.preprocessing.mean, recipe.preprocessing.std)


def check_samples(dataset: Dataset) -> None:
    """Raise LipbenchError for a data set without training samples."""
    if len(dataset.train.labels) == 0:
        raise LipbenchError(f"the data set {dataset.spec!r} has no training samples: x_train and y_train are needed")


@contextlib.contextmanager
def deterministic(seed: int, device: torch.device) -> Iterator[None]:
    """Seeded and deterministic inside, float32 products in float32; global state is restored at the end."""
    flag, threads, held = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads(), precisions()
    with keeping_random_numbers(device):
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


@torch.no_grad()
def _exported(fit: Fit, plain_forms: PlainForms) -> nn.Sequential:
    """The network as trained so far, in its plain form. It is a copy, so that training is not affected."""
    normalize, averaged = copy.deepcopy(fit.averaged)
    sample = normalize(fit.samples.x(slice(fit.how.batch_size)))
    if fit.how.ema is not None:
        averaged.train()
        for _ in range(SETTLE):  # power iterations, for weights that they have not met
            for module in averaged.modules():
                for name in getattr(module, "parametrizations", ()):
                    getattr(module, name)
    return architectures.export(averaged, sample, plain_forms)
