"""A trial of a training job on its untrained network, so that what must fail does so before hours of training."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from lipbench._internal import files
from lipbench._internal.registry import LOSSES
from lipbench.certification.lipschitz import lipschitz_bound
from lipbench.certification.lipschitz.cache import not_kept
from lipbench.data import Dataset
from lipbench.errors import LipbenchError
from lipbench.models import architectures
from lipbench.models.cards import digest_of
from lipbench.models.stored import LoadedModel, rebuilt, serialize
from lipbench.training import losses, optimizers, trainer
from lipbench.training.recipes import Recipe, TrainingJob
from lipbench.training.storing import COMPARED, card_of, check_loaded


def try_networks(recipe: Recipe, jobs: Sequence[TrainingJob], dataset: Dataset) -> None:
    """Store and load the untrained network of each different architecture among the jobs, in memory.

    Raises LipbenchError for a network that has no plain form, that cannot be loaded again with the same outputs, or
    that claims a constant and has a layer without a Lipschitz rule.
    """
    tried = set()
    for job in jobs:
        outputs = losses.head(job.loss_spec.name, dataset.num_classes)
        network = (job.architecture.model_dump_json(), outputs)
        if network not in tried:
            tried.add(network)
            try:
                _store_and_load(recipe, job, dataset)
            except LipbenchError as error:
                raise LipbenchError(f"{job.name}: {error}") from error


def _store_and_load(recipe: Recipe, job: TrainingJob, dataset: Dataset) -> None:
    normalize, network = trainer.preprocessing(recipe), trainer.network(job, dataset)
    x = torch.from_numpy(dataset.train.part(0, COMPARED).x)
    with trainer.plugins_of(job):
        plain = architectures.export(network, normalize(x), trainer.layers_of(job).plain_forms)
    module, weights = nn.Sequential(normalize, plain), serialize(plain)
    card = card_of(recipe, job, dataset, files.sha256_bytes(weights), 0.0)

    def load(folder: Path) -> LoadedModel:
        return LoadedModel(card, rebuilt(folder, card, weights).eval(), digest_of(card.plain()))

    check_loaded(load, Path(job.name), module, dataset)
    if job.loss_spec.constrained:
        with not_kept():  # these weights are not seen again
            lipschitz_bound(module, dataset.input_shape)


def try_loss(job: TrainingJob, outputs: int) -> None:
    """Compute the loss of a job once. Raises LipbenchError unless it is a scalar with a gradient."""
    loss, rows = losses.build(job.loss.name, job.loss.hyperparameters), 2 * max(outputs, 2)
    logits = torch.linspace(-1, 1, rows * outputs).reshape(rows, outputs).requires_grad_()
    with LOSSES.calling(job.loss.name):
        labels = torch.arange(rows) % max(outputs, 2)
        value = loss(logits, labels.float() if getattr(loss, "takes_targets", False) else labels)
    said = LOSSES.said(job.loss.name)
    if not isinstance(value, torch.Tensor) or value.ndim != 0:
        came = f"shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else type(value).__name__
        raise LipbenchError(f"{said} must return the mean over the batch, a scalar tensor; got {came}")
    if not value.requires_grad:
        raise LipbenchError(f"{said} has no gradient: it detaches the logits")


def try_optimizer(job: TrainingJob) -> None:
    """Make the optimizer of a job. Raises LipbenchError as ``optimizers.build`` does."""
    optimizers.build(job.training, [nn.Parameter(torch.zeros(2, 2))])
