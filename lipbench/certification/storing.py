"""Storing a network of the caller's own as a model of a zoo, and the check that it comes back the same."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import tomli_w
import torch
from torch import Tensor, nn

from lipbench._internal import arguments, files, schema
from lipbench._internal.folders import new_folder, refuse_existing
from lipbench._internal.versions import versions
from lipbench.certification.certificate import Certificate, certificate
from lipbench.certification.grades import CLAIM_TOLERANCE
from lipbench.certification.graph_writing import graph_of
from lipbench.certification.lipschitz import copied
from lipbench.data import Data, dataset_of
from lipbench.errors import LipbenchError, UnsupportedError, unknown_name
from lipbench.models import cards, factories
from lipbench.models.cards import GIVEN, Architecture, Card, Lipschitz
from lipbench.models.fingerprint import code_sha256, weights_sha256
from lipbench.models.model import Model
from lipbench.models.stored import load_model
from lipbench.models.weights import check_numbers, serialize_state

Form = Literal["graph", "factory"]
FORMS = ("graph", "factory")
COMPARED = (1, 2, 3, 8)  # batch sizes at which the stored network is compared with the given one
LIBRARIES = ("lipbench", "torch", "deel-torchlip")


@dataclass(frozen=True)
class Stored:
    """A model that was stored. Printed, it says what is in its folder."""

    folder: Path
    card: Card
    bound: float | None  # the Lipschitz bound of the network (L2); None where none is known
    remarks: tuple[str, ...] = ()  # what a reader should know, in sentences

    def __str__(self) -> str:
        form = self.card.architecture.form
        how = {"graph": "a graph of operations", "factory": f"the factory {self.card.architecture.factory}"}.get(
            form, f"the architecture {self.card.architecture.name}"
        )
        bound = "no Lipschitz bound" if self.bound is None else f"Lipschitz bound {self.bound:.6g}"
        claim = "no claim" if self.card.claimed is None else f"claims {self.card.claimed.constant:.6g}"
        return "\n".join([f"{self.folder}: stored as {how}; {bound}, {claim}", *self.remarks])


@dataclass(frozen=True)
class Entry:
    """What is written beside a card: the form of the architecture, and the files; and what it must compute."""

    architecture: Mapping[str, Any]  # the keys of ``cards.Architecture`` that say how the network is built
    state: Mapping[str, Tensor]
    reference: Callable[[Tensor], Tensor]  # inputs (n, ...) to logits, as the stored network must give them
    proof: Certificate | None
    graph: bytes | None = None
    remarks: tuple[str, ...] = field(default=())


def save(
    model: nn.Module | Model,
    folder: str | Path,
    *,
    data: Data | None = None,
    data_dir: str | Path | None = None,
    inputs: Any = None,
    input_shape: tuple[int, ...] | None = None,
    num_classes: int | None = None,
    form: Form | None = None,
    factory: str | None = None,
    args: Mapping[str, Any] | None = None,
) -> Stored:
    """Store a network as a model of a zoo: its card, its weights, and the graph of its operations, or its factory.

    model: a network, or a ``Model`` with what its author says; folder: a new one, such as "zoo/mine", whose name is the
    model's unless the ``Model`` has one. What its inputs are comes from one of: data, as for ``evaluate``, which the
    card then names; inputs, some of them, floats (n, ...) in [0, 1]; input_shape, of one, such as (1, 28, 28).
    data_dir: the folder with the files of mnist, cifar10, cifar100; num_classes: by default those of the data, or the
    network's outputs.

    form: "graph", "factory", or None for the graph where that is possible. A graph holds the operations that the
    certificate has rules for, with the weights as the network uses them now; reading it runs no code. factory:
    "package.module:function", which builds the network from ``args``, for all others: who loads the model must trust
    the package. The factory is called once here.

    The card claims what was computed: the constant of the ``Model`` where the bound of the weights confirms it, else
    the bound. Without a claim of the ``Model`` none is made, unless it is said to be constrained: then the bound is.

    Before the folder gets its name, the model is loaded again: at batches of 1, 2, 3 and 8 inputs its outputs must be
    equal to the bit, and its bound must be equal. Raises LipbenchError if they are not, for a folder that exists, and
    for a network that has no such form.
    """
    if not isinstance(model, Model):
        model = Model(model)
    place = arguments.path("folder", folder)
    refuse_existing(place)
    _check_form(form, factory, args)
    model, x, named, spec = _prepared(model, place, data, data_dir, inputs, input_shape, num_classes)
    classes = model.num_classes(x[:2])
    if named is not None and named != classes:
        raise LipbenchError(f"{model.name} has {classes} classes, expected {named}")
    return store(place, model, entry_of(model, x, form, factory, dict(args or {})), x, classes, spec)


def _check_form(form: Any, factory: Any, args: Any) -> None:
    if form is not None and form not in FORMS:
        raise unknown_name("form", form, FORMS)
    if form == "factory" and factory is None:
        raise LipbenchError('the form "factory" needs factory="package.module:function", which builds the network')
    if args is not None and factory is None:
        raise LipbenchError("args are those of a factory: give factory as well")


def _prepared(
    model: Model, folder: Path, data: Any, data_dir: Any, inputs: Any, input_shape: Any, num_classes: Any
) -> tuple[Model, Tensor, int | None, str]:
    """A copy of the model on the CPU; inputs to compare at; how many classes it should have; the spec of the data."""
    given = {"data": data, "inputs": inputs, "input_shape": input_shape}
    named = [name for name, value in given.items() if value is not None]
    if len(named) != 1:
        raise LipbenchError(
            f"what are the inputs? give one of data, inputs and input_shape, got {', '.join(named) or 'none'}"
        )
    classes = None if num_classes is None else arguments.whole_number("num_classes", num_classes, 2)
    spec = GIVEN
    if data is not None:
        dataset = dataset_of(data, None if data_dir is None else arguments.path("data_dir", data_dir), classes)
        x = torch.from_numpy(dataset.test.first(COMPARED[-1]).x)
        classes, spec = classes if dataset.may_lack_classes else dataset.num_classes, dataset.spec
    elif inputs is not None:
        unlabelled = torch.zeros(len(inputs), dtype=torch.int64)
        x = torch.from_numpy(dataset_of((inputs, unlabelled)).test.first(COMPARED[-1]).x)
    else:
        shape = [arguments.whole_number("a size in input_shape", size, 1) for size in input_shape]
        x = torch.rand(COMPARED[-1], *shape, generator=torch.Generator().manual_seed(0))
    name = folder.resolve().name if model.name == type(model.module).__name__ else model.name
    fields = {key: value for key, value in vars(model).items() if key not in ("module", "name")}
    return Model(copied(model.module).cpu(), name=name, **fields), x, classes, spec


# --- the forms -------------------------------------------------------------------------------------------------------


def entry_of(model: Model, x: Tensor, form: Form | None, factory: str | None, args: dict[str, Any]) -> Entry:
    """The form that a network is stored in; arguments as for ``save``. Raises LipbenchError where it has none."""
    proof, why = _proof(model, x)
    if form != "factory":
        if proof is not None:
            try:
                return _as_graph(model, proof)
            except UnsupportedError as error:
                why = error
        if form == "graph" or factory is None:
            hint = (
                "" if factory else '; give factory="package.module:function", which builds it, and it is stored as that'
            )
            raise LipbenchError(f"{model.name} cannot be stored as a graph: {why}{hint}") from why
    reason = "has no Lipschitz bound" if proof is None else "is not stored as a graph"
    remarks = () if why is None else (f"{model.name} {reason}: {why}",)
    return _as_factory(model, proof, str(factory), args, remarks)


def _proof(model: Model, x: Tensor) -> tuple[Certificate | None, LipbenchError | None]:
    """The certificate of a network, or why it has none."""
    try:
        return certificate(model.module, tuple(x.shape[1:])), None
    except LipbenchError as error:
        return None, error


def _as_graph(model: Model, proof: Certificate) -> Entry:
    graph, state = graph_of(model.module, proof.graph.module)
    name = model.called(type(model.module).__name__)
    reference = Model(proof.graph.module, name=model.name)  # layers such as orthogonium's move with each forward
    return Entry({"name": name, "form": "graph"}, state, reference.outputs, proof, graph.encoded())


def _as_factory(
    model: Model, proof: Certificate | None, factory: str, args: dict[str, Any], remarks: tuple[str, ...]
) -> Entry:
    try:
        tomli_w.dumps(args)
    except (TypeError, ValueError) as error:
        raise LipbenchError(f"the args of a factory must be numbers, strings, lists and tables: {error}") from error
    name = model.called(factory.rpartition(":")[2])
    how = {"name": name, "form": "factory", "factory": factory, "args": args}
    return Entry(how, model.module.state_dict(), model.outputs, proof, None, remarks)


# --- writing and checking --------------------------------------------------------------------------------------------


def store(folder: Path, model: Model, entry: Entry, x: Tensor, num_classes: int, data: str) -> Stored:
    """Write a model into a new folder, checked. x: inputs (n, ...) to compare at; data: the spec for the card."""
    check_numbers(entry.state, str(model.name))
    weights = serialize_state(entry.state)
    card = _card(model, entry, tuple(x.shape[1:]), num_classes, data, files.sha256_bytes(weights))
    with new_folder(folder) as temporary:
        files.write_bytes(temporary / cards.WEIGHTS, weights)
        if entry.graph is not None:
            files.write_bytes(temporary / cards.GRAPH, entry.graph)
        cards.write(temporary, card)
        try:
            unlike = _check_loaded(temporary, model, entry, x)
        except LipbenchError as error:
            raise LipbenchError(str(error).replace(str(temporary), str(folder))) from error
    remarks = (*entry.remarks, *unlike)
    if card.claimed is not None and card.claimed.by_construction is not None:
        remarks = (
            *remarks,
            f"the claim of {card.claimed.by_construction:.6g} does not hold for these weights: the card claims their "
            f"bound, {card.claimed.constant:.6g}",
        )
    return Stored(folder, card, None if entry.proof is None else entry.proof.bound, remarks)


def _card(
    model: Model, entry: Entry, input_shape: tuple[int, ...], num_classes: int, data: str, weights_sha256: str
) -> Card:
    made = model.card(input_shape, num_classes)
    architecture = {**made.architecture.model_dump(), "factory": None, **entry.architecture}
    bound = None if entry.proof is None else entry.proof.bound
    return made.model_copy(
        update={
            "data": data,
            "weights_sha256": weights_sha256,
            "graph_sha256": None if entry.graph is None else files.sha256_bytes(entry.graph),
            "module_sha256": None,
            "architecture": schema.parse(Architecture, architecture, f"the model {model.name!r}", "architecture"),
            "claimed": _claim(made, bound),
            "versions": versions(LIBRARIES),
        }
    )


def _claim(made: Card, bound: float | None) -> Lipschitz | None:
    given = None if made.claimed is None else made.claimed.constant
    if bound is None:
        return made.claimed
    if given is not None:
        return claim_of(given, bound)
    return Lipschitz(constant=bound) if made.architecture.constrained and bound > 0 else None


def claim_of(given: float, bound: float) -> Lipschitz:
    """The claim of a card: the constant that is given, or the bound of the weights where it exceeds that by more than
    roundings.
    """
    if bound <= given * (1 + CLAIM_TOLERANCE):
        return Lipschitz(constant=given)
    return Lipschitz(constant=bound, by_construction=given)


def _check_loaded(folder: Path, model: Model, entry: Entry, x: Tensor) -> tuple[str, ...]:
    """Raise LipbenchError unless the model in a folder computes what was stored, and has its bound.

    Inputs other than the compared ones may show a difference that these do not, so that what a factory makes must have
    the same buffers, also those that are not stored. Returns remarks: other attributes may differ and mean nothing.
    """
    factory = entry.architecture.get("factory")
    loaded = load_model(folder, () if factory is None else (factories.module_name(factory),))
    network = Model(loaded.module, name=loaded.card.name)
    for count in COMPARED:
        expected, found = entry.reference(x[:count]), network.outputs(x[:count])
        if not torch.isfinite(expected).all():
            raise LipbenchError(f"{loaded.card.name} gives outputs that are not finite: it is not stored")
        if not torch.equal(expected, found):
            raise LipbenchError(
                f"{loaded.card.name} computes something else when it is loaded again: {count} inputs give outputs that "
                "differ; something that is no tensor of its state_dict decides what it computes"
            )
    if entry.proof is not None:
        again = certificate(loaded.module, tuple(x.shape[1:]))
        if again.bound != entry.proof.bound or not torch.equal(again.pairwise, entry.proof.pairwise):
            raise LipbenchError(
                f"{loaded.card.name} has the Lipschitz bound {again.bound} when it is loaded again, and had "
                f"{entry.proof.bound}: it is not stored"
            )
    if factory is None:
        return ()
    if weights_sha256(loaded.module) != weights_sha256(model.module):
        raise LipbenchError(
            f"{model.name} has buffers that are not stored (persistent=False), and {factory} gives them other values: "
            "make them persistent, or pass what decides them as args"
        )
    if code_sha256(loaded.module) != code_sha256(model.module):
        return (f"{model.name}: what {factory} gives has other attributes, or other code, than the network at hand",)
    return ()
