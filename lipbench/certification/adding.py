"""``lipbench add``: a network that someone else trained becomes a model of a zoo, from its code and its weights."""

import functools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lipbench._internal import arguments, files, resources
from lipbench._internal.folders import refuse_existing
from lipbench.certification.certificate import certificate
from lipbench.certification.storing import COMPARED, FORMS, Entry, Form, Stored, entry_of, store
from lipbench.data import Data, Dataset, dataset_of
from lipbench.errors import LipbenchError, unknown_name
from lipbench.models import architectures, cards, factories, graphs
from lipbench.models.model import Model
from lipbench.models.weights import Weights, load_into, read_weights


def add(
    zoo: str | Path,
    *,
    data: Data,
    factory: str | None = None,
    architecture: str | None = None,
    graph: str | Path | None = None,
    weights: str | Path | None = None,
    args: Mapping[str, Any] | None = None,
    form: Form | None = None,
    name: str | None = None,
    loss: str | None = None,
    hyperparameters: Mapping[str, float] | None = None,
    claimed: float | None = None,
    constrained: bool | None = None,
    data_dir: str | Path | None = None,
    num_classes: int | None = None,
) -> Stored:
    """Add a model to a zoo, from one of three descriptions of its network and a file of weights.

    zoo: the folder that gets the folder of the model; it is made where it does not exist; data: as for ``evaluate``:
    what the network was trained for. One of: factory: "package.module:function", called with ``args``, which gives the
    network: its code runs, now; architecture: the name of a registered one, with its ``args``; graph: a ``graph.json``.

    weights: a ``.safetensors`` file, or one of ``torch.save`` that holds a state_dict, perhaps under "state_dict" or
    "model"; they must be all tensors of the network by name, and no others. A factory may come with its own. form: as
    for ``save``: what a factory gives is stored as a graph where possible. name: of the model, by default that of the
    weights; loss, hyperparameters, claimed, constrained: as for ``Model``; a registered architecture is constrained by
    default. data_dir, num_classes: as for ``evaluate``.

    The model is checked as ``save`` does. Raises LipbenchError for anything else than such a description, for weights
    that do not fit, and as ``save`` does.
    """
    kind = _kind({"factory": factory, "architecture": architecture, "graph": graph})
    _check_form(kind, form, weights)
    held = None if weights is None else arguments.path("weights", weights)
    folder = _folder(arguments.path("zoo", zoo), name, held, str(factory or architecture or graph))
    given, loaded = dict(args or {}), Weights({}) if held is None else read_weights(held)
    dataset = dataset_of(data, None if data_dir is None else arguments.path("data_dir", data_dir), num_classes)
    x = torch.from_numpy(dataset.test.first(COMPARED[-1]).x)
    if architecture is not None and constrained is None:
        constrained = True
    described = functools.partial(
        Model,
        name=folder.name,
        loss=loss,
        hyperparameters=dict(hyperparameters or {}),
        claimed=claimed,
        constrained=constrained,
    )
    if factory is not None:
        called = factory.rpartition(":")[2] if loss else None
        model = described(_from_factory(factory, given, held, loaded), architecture=called)
        entry = entry_of(model, x, form, factory, given)
    elif architecture is not None:
        model = described(_from_architecture(architecture, given, dataset, bool(constrained), held, loaded))
        entry = _as_described(model, x, {"name": architecture, "form": "registered", "args": given})
    else:
        path = arguments.path("graph", graph)
        content = _graph_bytes(path)
        model = described(_from_graph(content, path, dataset, held, loaded))
        entry = replace(_as_described(model, x, {"name": model.called(path.stem), "form": "graph"}), graph=content)
    classes = model.num_classes(x[:2])
    if classes != dataset.num_classes and not (dataset.may_lack_classes and classes > dataset.num_classes):
        raise LipbenchError(
            f"{model.name} has {classes} classes, the data set {dataset.spec!r} has {dataset.num_classes}"
        )
    entry = replace(entry, remarks=(*loaded.remarks, *entry.remarks))
    return store(folder, model, entry, x, classes, dataset.spec)


def _kind(given: Mapping[str, object]) -> str:
    """Which of the three descriptions of a network is given. Raises LipbenchError unless it is exactly one."""
    chosen = [kind for kind, value in given.items() if value is not None]
    if len(chosen) != 1:
        raise LipbenchError(
            f"how is the network built? give one of factory, architecture and graph, got {', '.join(chosen) or 'none'}"
        )
    return chosen[0]


def _check_form(kind: str, form: Form | None, weights: object) -> None:
    if form is not None and form not in FORMS:
        raise unknown_name("form", form, FORMS)
    if kind != "factory" and form is not None:
        raise LipbenchError(f"the form of a model that is added from its {kind} is fixed: leave form out")
    if kind != "factory" and weights is None:
        raise LipbenchError(f"which weights? a model that is added from its {kind} needs a file of them")


def _folder(zoo: Path, name: str | None, weights: Path | None, built_by: str) -> Path:
    """The new folder of the model. Raises LipbenchError for one that exists, and for a zoo that can be none."""
    if str(zoo) in resources.zoos() and not zoo.is_dir():
        raise LipbenchError(f"{zoo} is the name of a bundled zoo: name a folder of your own")
    if (zoo / cards.CARD).exists():
        raise LipbenchError(f"{zoo} is a model itself: name the folder of a zoo, which holds the folders of models")
    default = weights.stem if weights is not None else built_by.rpartition(":")[2]
    folder = zoo / (default if name is None else arguments.text("name", name))
    if folder.parent != zoo:
        raise LipbenchError(f"the name of a model is the name of its folder, got {str(name)[:200]!r}")
    refuse_existing(folder)
    return folder


def _from_factory(factory: str, args: dict[str, Any], path: Path | None, weights: Weights) -> nn.Module:
    if ":" not in factory:
        raise LipbenchError(f"a factory is package.module:function, got {factory[:200]!r}")
    module = factories.build(factory, args, (factories.module_name(factory),), f"the factory {factory}")
    if path is not None:
        load_into(module, weights.state, str(path))
    return module


def _from_architecture(
    name: str, args: dict[str, Any], dataset: Dataset, constrained: bool, path: Path | None, weights: Weights
) -> nn.Module:
    layers = architectures.EXPORTED if constrained else architectures.UNCONSTRAINED
    outputs = args.get("outputs", dataset.num_classes)
    rest = {key: value for key, value in args.items() if key != "outputs"}
    network = architectures.build(name, layers, dataset.input_shape, outputs, rest)
    load_into(network, weights.state, str(path))
    return network.eval()


def _from_graph(content: bytes, path: Path, dataset: Dataset, held: Path | None, weights: Weights) -> nn.Module:
    network = graphs.read_network(content, str(path), dataset.input_shape, dataset.num_classes)
    load_into(network, weights.state, str(held), assign=True)
    return network


def _graph_bytes(path: Path) -> bytes:
    if path.exists() and not path.is_file():
        raise LipbenchError(f"cannot read the graph {path}: it is no regular file")
    return files.read_bytes(path, "graph")


def _as_described(model: Model, x: torch.Tensor, architecture: dict[str, Any]) -> Entry:
    """The entry of a network that is stored as it was described."""
    try:
        proof = certificate(model.module, tuple(x.shape[1:]))
    except LipbenchError as error:
        why = (f"{model.name} has no Lipschitz bound: {error}",)
        return Entry(architecture, model.module.state_dict(), model.outputs, None, remarks=why)
    return Entry(architecture, model.module.state_dict(), model.outputs, proof)
