"""Where the models of an evaluation or a verification come from: folders, and networks of the caller's own."""

import itertools
import os
import pickle
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lipbench._internal import arguments
from lipbench.data import Dataset
from lipbench.errors import LipbenchError, quoted, reason
from lipbench.models import cards
from lipbench.models.cards import GIVEN, Card, digest_of
from lipbench.models.model import Model
from lipbench.models.stored import LoadedModel, check_shape, load_model
from lipbench.models.zoo import find_zoo, model_folders

AnyModel = str | os.PathLike[str] | nn.Module | Model
Models = AnyModel | Iterable[AnyModel] | Mapping[str, nn.Module]


class ModelSource(Hashable, Protocol):
    """A model that can be loaded, here or in another process. Picklable, and equal to another one of the same model."""

    @property
    def folder(self) -> Path | None:
        """Where it is stored; None for a network in memory."""

    @property
    def name(self) -> str:
        """What messages call it, also where it has no card that can be read."""

    @property
    def card(self) -> Card:
        """Its card, read anew. Raises LipbenchError for a missing or malformed one."""

    def load(self) -> LoadedModel:
        """The network. Raises LipbenchError as ``load_model`` does."""


@dataclass(frozen=True)
class StoredSource:
    """A model of a zoo."""

    folder: Path
    trust: tuple[str, ...] = ()  # packages whose factories may be imported

    @property
    def name(self) -> str:
        """The name on the card, or of the folder where the card cannot be read."""
        try:
            return cards.read(self.folder).name
        except LipbenchError:
            return self.folder.name

    @property
    def card(self) -> Card:
        """The card in the folder; of a factory with the digest of its code, which may have changed since."""
        card = cards.read(self.folder)
        return self.load().card if card.architecture.form == "factory" else card

    def load(self) -> LoadedModel:
        """Read card and weights, and build the network."""
        return load_model(self.folder, self.trust)


@dataclass(frozen=True, eq=False)
class GivenSource:
    """A network in memory. It equals itself alone: what is prepared from it serves one call."""

    loaded: LoadedModel
    folder: None = None

    @classmethod
    def of(cls, model: Model, x: Tensor) -> "GivenSource":
        """x: some of its inputs, float32 (n, ...). Raises LipbenchError if the network does not run on them."""
        card = model.card(tuple(x.shape[1:]), model.num_classes(x))
        return cls(LoadedModel(card, model.module, digest_of(card.plain())))

    @property
    def name(self) -> str:
        """The name on its card."""
        return self.card.name

    @property
    def card(self) -> Card:
        """The card that was made for it."""
        return self.loaded.card

    def load(self) -> LoadedModel:
        """The network itself: who changes it works on a copy."""
        return self.loaded


HERE_ALONE = "define its class in a module that can be imported, or evaluate in one process (jobs=1)"


@dataclass(frozen=True)
class PackedSource:
    """A network in memory on its way to another process. It is unpacked when it is loaded, which may fail there."""

    name: str
    data: bytes  # the pickled source
    folder: None = None

    @classmethod
    def of(cls, source: GivenSource) -> "PackedSource":
        """Raises LipbenchError for a network that cannot be sent."""
        try:
            return cls(source.name, pickle.dumps(source))
        except Exception as error:  # whatever its own code raises
            raise LipbenchError(f"cannot be sent to another process: {reason(error)}; {HERE_ALONE}") from error

    @property
    def card(self) -> Card:
        """The card that was made for it."""
        return self.load().card

    def load(self) -> LoadedModel:
        """The network. Raises LipbenchError where its code cannot be found."""
        try:
            source: GivenSource = pickle.loads(self.data)  # made by this very call, in the coordinator
        except Exception as error:
            raise LipbenchError(f"cannot be loaded in another process: {reason(error)}; {HERE_ALONE}") from error
        return source.load()


@dataclass(frozen=True)
class UnusableSource:
    """A network in memory that does not run on the data: whoever loads it is told why."""

    name: str
    reason: str
    folder: None = None

    @property
    def card(self) -> Card:
        """There is none."""
        raise LipbenchError(self.reason)

    def load(self) -> LoadedModel:
        """Nothing can be loaded."""
        raise LipbenchError(self.reason)


def chosen(models: Models) -> list[Path | Model]:
    """What the caller named: folders of zoos and models, and networks.

    models: a path, the name of a bundled zoo, an ``nn.Module``, a ``Model``, several of these, or a mapping of names to
    modules. Raises LipbenchError for anything else, and for a path that does not exist.
    """
    if isinstance(models, Mapping):
        if any(isinstance(value, Tensor) for value in models.values()):
            raise LipbenchError("a state_dict is no network: load it into one with load_state_dict, and give that")
        return [Model(module, name=arguments.text("the name of a model", name)) for name, module in models.items()]
    if isinstance(models, str | os.PathLike | nn.Module | Model) or not isinstance(models, Iterable):
        models = [models]
    found = [chosen_one(each) for each in models]
    if not found:
        raise LipbenchError("which model? give a network, a folder, or the name of a bundled zoo such as digits")
    return found


def chosen_one(given: Any) -> Path | Model:
    """As ``chosen``, for one network, model or folder."""
    if isinstance(given, Model):
        return given
    if isinstance(given, nn.Module):
        return Model(given)
    if not isinstance(given, str | os.PathLike):
        raise LipbenchError(
            f"a zoo or model is a torch.nn.Module, a lipbench.Model, a folder or the name of a bundled zoo, got "
            f"{quoted(given)}"
        )
    return find_zoo(str(arguments.path("a zoo or model", given)))


def module_of(
    model: Path | Model, input_shape: tuple[int, ...], trust: Collection[str] = ()
) -> tuple[nn.Module, float | None]:
    """The network, and the constant that is claimed for it.

    Raises LipbenchError as ``load_model`` does, and for a stored model of inputs of another shape.
    """
    if isinstance(model, Model):
        return model.module, model.claimed
    loaded = load_model(model, trust)
    check_shape(loaded.card, input_shape, "x")
    return loaded.module, None if loaded.card.claimed is None else loaded.card.claimed.constant


def origin_of(models: Sequence[Path | Model]) -> str:
    """Where models come from, in words: the names of their folders, and "given" for networks in memory."""
    places = (place.resolve() for place in models if isinstance(place, Path))
    names = [place.name if place.name != "zoo" else place.parent.name for place in places]
    return ", ".join(dict.fromkeys([*names, *([GIVEN] if len(names) < len(models) else [])]))


def data_of(models: Sequence[Path | Model]) -> str:
    """The data set that the cards name. Raises LipbenchError if they differ, and for networks, which have no card."""
    folders = [folder for place in models if isinstance(place, Path) for folder in model_folders(place)]
    found, unreadable = set(), []
    for folder in folders:
        try:
            found.add(cards.read(folder).data)
        except LipbenchError as error:  # of this model alone, unless none can be read
            unreadable.append(error)
    specs = sorted(found - {GIVEN})
    if unreadable and not found:
        raise unreadable[0]
    if not specs:
        raise LipbenchError(
            "which data? a network of your own has no card that names them: pass data=(x, y) or a name, on the command "
            "line --data"
        )
    if len(specs) > 1:
        raise LipbenchError(f"the models name different data sets ({', '.join(specs)}); choose one with --data")
    return specs[0]


def sources_of(models: Sequence[Path | Model], dataset: Dataset, trust: Collection[str] = ()) -> list[ModelSource]:
    """One source for each model: those of a folder by name, then as given.

    dataset: what networks in memory are run on, for their number of classes. Networks without a name of their own are
    numbered where several have one class. A network that does not run on the data says so when it is loaded.
    """
    found: list[ModelSource] = []
    for place in _named(models):
        if isinstance(place, Path):
            found += stored_sources(place, trust)
        else:
            found.append(_given(place, torch.from_numpy(dataset.test.first(2).x)))
    return found


def _given(model: Model, x: Tensor) -> ModelSource:
    try:
        return GivenSource.of(model, x)
    except LipbenchError as error:
        return UnusableSource(str(model.name), str(error))


def stored_sources(zoo: Path, trust: Collection[str] = ()) -> list[StoredSource]:
    """The models of a zoo, or the one model in a folder, by name."""
    packages = (trust,) if isinstance(trust, str) else tuple(trust)
    return [StoredSource(folder.resolve(), packages) for folder in model_folders(zoo)]


def _named(models: Sequence[Path | Model]) -> list[Path | Model]:
    """The models, with numbers after the names that several would share because they are those of a class."""
    counts = {name: itertools.count(2) for name in {one.name for one in models if isinstance(one, Model)}}
    seen: set[str | None] = set()
    named: list[Path | Model] = []
    for one in models:
        if isinstance(one, Model) and one.name in seen and one.name == type(one.module).__name__:
            one = replace(one, name=f"{one.name}-{next(counts[one.name])}")
        if isinstance(one, Model):
            seen.add(one.name)
        named.append(one)
    return named
