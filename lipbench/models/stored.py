"""Models on disk: a card and its weights to a plain torch network, and back."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
from torch import nn

from lipbench._internal import files
from lipbench.data import Dataset
from lipbench.data.arrays import layout_hint
from lipbench.errors import LipbenchError
from lipbench.models import architectures, cards, factories, graphs, weights
from lipbench.models.cards import Card, digest_of
from lipbench.models.fingerprint import code_sha256


@dataclass(frozen=True)
class LoadedModel:
    """A network and its card. ``module``: preprocessing included, inputs (n, ...) in [0, 1]; from disk in eval mode."""

    card: Card
    module: nn.Module
    digest: str  # of the card and the weights


def serialize(module: nn.Module) -> bytes:
    """The weights as safetensors."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    return safetensors.torch.save(state)


def load_model(folder: Path, trust: Collection[str] = ()) -> LoadedModel:
    """The model in ``folder``, in the precision of its weights.

    trust: the packages whose factories may be imported. Raises LipbenchError for a missing or malformed card or graph,
    a factory that is not trusted or fails, and weights that are missing, truncated, do not match the card's hash or
    architecture, are of another type, or are not finite.
    """
    card = cards.read(folder)
    form, path = card.architecture.form, folder / cards.WEIGHTS
    if form == "module":
        raise LipbenchError(
            f"{folder} has the card of a network in memory, which no folder holds: lipbench.save stores it"
        )
    if form != "registered" and card.preprocessing is not None:
        raise LipbenchError(f"{folder}: the preprocessing of a model of the form {form} is a part of its network")
    if form == "registered":
        network = rebuilt(folder, card, weights.read_stored(path, card.weights_sha256))
    elif form == "graph":
        network = graphs.read_network(
            _read_graph(folder, card), str(folder / cards.GRAPH), card.input_shape, card.num_classes
        )
        _load(network, card, path, assign=True)
    else:
        architecture = card.architecture
        network = factories.build(str(architecture.factory), architecture.args, trust, str(folder))
        _load(network, card, path, assign=False)
        card = card.model_copy(update={"module_sha256": code_sha256(network)})  # the weights do not tell of its code
    return LoadedModel(card, network.eval().requires_grad_(False), digest_of(card.plain()))


def _load(network: nn.Module, card: Card, path: Path, *, assign: bool) -> None:
    expected = sum(tensor.nbytes for tensor in network.state_dict().values())
    data = weights.read_stored(path, card.weights_sha256, expected)
    weights.load_into(network, weights.parse_stored(data, str(path)), str(path), assign=assign)
    if any(tensor.is_meta for tensor in (*network.parameters(), *network.buffers())):
        raise LipbenchError(f"{path} does not hold all tensors of the network")


def _read_graph(folder: Path, card: Card) -> bytes:
    path = folder / cards.GRAPH
    if path.exists() and not path.is_file():  # reading a pipe would block for ever
        raise LipbenchError(f"cannot read the graph {path}: it is no regular file")
    if path.exists() and path.stat().st_size > graphs.MOST_BYTES:
        raise LipbenchError(f"{path} is larger than {graphs.MOST_BYTES} bytes: no graph of lipbench is")
    data = files.read_bytes(path, "graph")
    if files.sha256_bytes(data) != card.graph_sha256:
        raise LipbenchError(f"{path} does not match the hash on its card: it was changed or truncated; restore it")
    return data


def rebuilt(folder: Path, card: Card, data: bytes) -> nn.Module:
    """The network of a registered architecture, preprocessing included, with the weights in ``data``.

    ``folder`` is named in messages. Raises LipbenchError as ``load_model`` does.
    """
    path = folder / cards.WEIGHTS
    layers = architectures.stored_layers(card.architecture.stored_as, card.architecture.constrained)
    outputs = card.architecture.args.get("outputs", card.num_classes)
    if outputs != card.num_classes and (outputs, card.num_classes) != (1, 2):
        raise LipbenchError(
            f"{folder}: the card says {card.num_classes} classes and {outputs!r} outputs; expected as many, "
            "or 1 output (a single logit) for 2 classes"
        )
    args = {key: value for key, value in card.architecture.args.items() if key != "outputs"}
    built = architectures.build(card.architecture.name, layers, card.input_shape, outputs, args)
    chain = architectures.plain_form(built, layers.plain_forms)  # an architecture may have layers of its own
    weights.load_into(chain, weights.parse_stored(data, str(path)), str(path), what="card's architecture")
    if card.preprocessing is not None:
        channels = {len(card.preprocessing.mean), len(card.preprocessing.std), card.input_shape[0]}
        if len(channels) != 1:
            raise LipbenchError(
                f"{path.parent}: preprocessing needs one mean and std per channel of {card.input_shape}"
            )
        chain = nn.Sequential(architectures.Normalize(card.preprocessing.mean, card.preprocessing.std), *chain)
    return chain


def check_fits(card: Card, dataset: Dataset) -> None:
    """Raise LipbenchError unless the model takes the inputs of the data set and has as many classes."""
    check_shape(card, dataset.input_shape, f"the data set {dataset.spec!r}", "; pass the right one with --data")
    if card.num_classes != dataset.num_classes and not (
        dataset.may_lack_classes and card.num_classes > dataset.num_classes
    ):
        raise LipbenchError(
            f"{card.name} has {card.num_classes} classes, the data set {dataset.spec!r} has {dataset.num_classes}; "
            f"pass the right one with --data{_counted_from_1(card, dataset)}"
        )


def _counted_from_1(card: Card, dataset: Dataset) -> str:
    labels = dataset.test.labels
    return "; are labels counted from 1? pass y - 1" if labels.min() == 1 and labels.max() == card.num_classes else ""


def check_shape(card: Card, input_shape: tuple[int, ...], what: str, advice: str = "") -> None:
    """Raise LipbenchError unless the model takes inputs of this shape; what: has it, advice: follows the message."""
    if card.input_shape != input_shape:
        raise LipbenchError(
            f"{card.name} takes inputs of shape {card.input_shape}, {what} has {input_shape}{advice}"
            f"{layout_hint(input_shape)}"
        )
