"""A trained model on disk: its card, what the card claims, and whether a model that is there is the wanted one."""

import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import nn

from lipbench._internal import files
from lipbench._internal.folders import new_folder
from lipbench._internal.randomness import keeping_random_numbers
from lipbench.certification.storing import claim_of
from lipbench.data import Dataset
from lipbench.errors import LipbenchError
from lipbench.models import cards
from lipbench.models.cards import Card, Lipschitz
from lipbench.models.stored import LoadedModel, load_model, serialize
from lipbench.training import losses
from lipbench.training.recipes import Recipe, Training, TrainingJob
from lipbench.training.trainer import Trained, layers_of, preprocessing

COMPARED = 8  # inputs, of a network before and after it was stored
HISTORY = "history.parquet"  # beside a model's card: one row per epoch, see ``fit.Fit.epoch`` and ``fit.measure``


class RoundTripError(LipbenchError):
    """A network that computes something else, or cannot be built, when it is loaded from what is stored of it."""


def store(folder: Path, recipe: Recipe, job: TrainingJob, dataset: Dataset, trained: Trained) -> Card:
    """Store a model under ``folder``, unless one is there; returns its card.

    Raises RoundTripError, and stores nothing, if the stored model cannot be loaded again with the same outputs.
    """
    import pandas as pd

    weights = serialize(trained.module)
    card = card_of(recipe, job, dataset, files.sha256_bytes(weights), trained.history[-1]["bound"])
    history = io.BytesIO()
    pd.DataFrame(trained.history).to_parquet(history, index=False)
    with new_folder(folder, keep_existing=True) as temporary:
        files.write_bytes(temporary / cards.WEIGHTS, weights)
        files.write_bytes(temporary / HISTORY, history.getvalue())
        cards.write(temporary, card)
        check_loaded(load_model, temporary, nn.Sequential(preprocessing(recipe), trained.module), dataset)
    return card


def is_trained(folder: Path, recipe: Recipe, job: TrainingJob, dataset: Dataset) -> bool:
    """Whether the model is there, whole. Raises LipbenchError for a damaged model, and for one trained differently."""
    if not os.path.lexists(folder):
        return False
    try:
        found = cards.read(folder)
        load_model(folder)  # weights that were truncated since are an error, not a finished model
    except LipbenchError as error:
        raise LipbenchError(f"{error}; or delete {folder}, and it is trained again") from error
    bound = 0.0 if found.claimed is None else found.claimed.constant  # the weights decided it
    there, wanted = _comparable(found), _comparable(card_of(recipe, job, dataset, found.weights_sha256, bound))
    if there != wanted:
        raise LipbenchError(
            f"{folder} holds a model that was trained in another way than the recipe says "
            f"({difference(there.plain(), wanted.plain())}); choose another folder with -o"
        )
    return True


def difference(
    there: Mapping[str, object], wanted: Mapping[str, object], place: str = "", now: str = "in the recipe"
) -> str:
    """The first key in which two cards or recipes differ, and both values."""
    key = next(key for key in {**there, **wanted} if there.get(key) != wanted.get(key))
    old, new = there.get(key), wanted.get(key)
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return difference(old, new, f"{place}{key}.", now)
    return f"{place}{key}: {'none' if old is None else old} there, {'none' if new is None else new} {now}"


def _comparable(card: Card) -> Card:
    """The part of a card that must be equal: versions need not, and a missing key of [training] has its default."""
    known = {key: value for key, value in card.training.items() if key in Training.model_fields}
    full = {**card.training, **Training.model_validate(known).model_dump(mode="json")}
    return card.model_copy(update={"versions": {}, "training": full})


def check_loaded(load: Callable[[Path], LoadedModel], folder: Path, module: nn.Module, dataset: Dataset) -> None:
    """Raise RoundTripError unless ``load`` gives a network whose outputs are those of ``module``, bit for bit.

    module: what was trained, in its plain form, with the preprocessing. The first inputs of the data set are compared.
    """
    try:
        with keeping_random_numbers():  # layers draw weights when they are built
            loaded = load(folder).module
    except LipbenchError as error:
        raise RoundTripError(f"the network cannot be loaded again from what is stored: {error}") from error
    x = torch.from_numpy(dataset.train.part(0, COMPARED).x)
    with torch.no_grad():
        if not torch.equal(loaded(x), module.eval()(x)):
            raise RoundTripError(
                "the network computes something else when it is loaded again: a layer keeps something that is no "
                "tensor of its state_dict"
            )


def card_of(recipe: Recipe, job: TrainingJob, dataset: Dataset, weights_sha256: str, bound: float) -> Card:
    """The card of a model with these weights, whose network has the Lipschitz bound ``bound``."""
    architecture, outputs = job.architecture, losses.head(job.loss_spec.name, dataset.num_classes)
    if outputs != dataset.num_classes:
        architecture = architecture.model_copy(update={"args": {**architecture.args, "outputs": outputs}})
    if layers_of(job).exported is not None:
        architecture = architecture.model_copy(update={"stored_as": job.spec.layers})
    return Card(
        name=job.name,
        data=recipe.data,
        input_shape=dataset.input_shape,
        num_classes=dataset.num_classes,
        seed=job.seed,
        weights_sha256=weights_sha256,
        architecture=architecture,
        loss=job.loss,
        preprocessing=recipe.preprocessing,
        claimed=_claim(recipe, job, bound) if job.loss_spec.constrained else None,
        training={**job.training.model_dump(exclude_none=True), "data_sha256": dataset.train.sha256},
        versions=job.versions,
    )


def _claim(recipe: Recipe, job: TrainingJob, bound: float) -> Lipschitz:
    """The constant that the layers have by construction, or the bound of the weights if it is larger than roundings."""
    # the layers are 1-Lipschitz by construction, up to roundings; normalisation by std multiplies by 1 / min std
    scale = 1.0 if recipe.preprocessing is None else 1.0 / min(recipe.preprocessing.std)
    given = scale * (1 + layers_of(job).claimed_over_1)
    return claim_of(given, bound)
