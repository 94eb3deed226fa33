"""A trained model on disk: its card, what the card claims, and whether a model that is there is the wanted one."""

import io
import os
from collections.abc import Mapping
from pathlib import Path

from lipbench._internal import files
from lipbench._internal.folders import new_folder
from lipbench.certification.storing import claim_of
from lipbench.data import Dataset
from lipbench.errors import LipbenchError
from lipbench.models import cards
from lipbench.models.cards import Card, Lipschitz
from lipbench.models.stored import load_model, serialize
from lipbench.training import losses
from lipbench.training.recipes import Recipe, Training, TrainingJob
from lipbench.training.trainer import Trained

CLAIMED_OVER_1 = {"torchlip": 0.0, "orthogonium": 1e-4}  # an AOC net of 8 layers ended at 1 + 8.7e-6
HISTORY = "history.parquet"  # beside a model's card: one row per epoch, see ``fit.Fit.epoch`` and ``fit.measure``


def store(folder: Path, recipe: Recipe, job: TrainingJob, dataset: Dataset, trained: Trained) -> Card:
    """Store a model under ``folder``, unless one is there; returns its card."""
    import pandas as pd

    weights = serialize(trained.module)
    card = _card(recipe, job, dataset, files.sha256_bytes(weights), trained.history[-1]["bound"])
    history = io.BytesIO()
    pd.DataFrame(trained.history).to_parquet(history, index=False)
    with new_folder(folder, keep_existing=True) as temporary:
        files.write_bytes(temporary / cards.WEIGHTS, weights)
        files.write_bytes(temporary / HISTORY, history.getvalue())
        cards.write(temporary, card)
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
    there, wanted = _comparable(found), _comparable(_card(recipe, job, dataset, found.weights_sha256, bound))
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


def _card(recipe: Recipe, job: TrainingJob, dataset: Dataset, weights_sha256: str, bound: float) -> Card:
    architecture, outputs = job.architecture, losses.head(job.loss_spec.name, dataset.num_classes)
    if outputs != dataset.num_classes:
        architecture = architecture.model_copy(update={"args": {**architecture.args, "outputs": outputs}})
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
    given = scale * (1 + CLAIMED_OVER_1[job.spec.layers])
    return claim_of(given, bound)
