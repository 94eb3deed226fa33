"""Model cards: what a model is, in TOML, beside its weights. Reading one imports no model code."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import AfterValidator, Field, SerializerFunctionWrapHandler, StrictInt, model_serializer, model_validator

from lipbench._internal import files, schema
from lipbench._internal.schema import Finite, Name, Strict
from lipbench.errors import LipbenchError

CARD = "card.toml"
WEIGHTS = "weights.safetensors"
GRAPH = "graph.json"
RECIPE = "recipe.toml"
FACTORY = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$"
LARGEST_INPUT = 2**28  # numbers, a gibibyte in float32: a card may come from anywhere
UNSPECIFIED = "loss not given"  # the loss of a model whose author does not name one
GIVEN = "given"  # the data of a model that was evaluated on tensors


def _held_in_memory(shape: tuple[int, ...]) -> tuple[int, ...]:
    if math.prod(shape) > LARGEST_INPUT:
        raise ValueError(f"an input should have at most {LARGEST_INPUT} numbers")
    return shape


InputShape = Annotated[
    tuple[Annotated[StrictInt, Field(ge=1)], ...], Field(min_length=1, max_length=3), AfterValidator(_held_in_memory)
]


class Preprocessing(Strict):
    """Normalisation inside the model: (x - mean) / std, per channel."""

    mean: Annotated[tuple[Finite, ...], Field(min_length=1)]
    std: Annotated[tuple[Annotated[Finite, Field(gt=0)], ...], Field(min_length=1)]


class Architecture(Strict):
    """How the network is built from its weights: by one of the forms below.

    registered   ``name`` is a registered architecture, ``args`` are its arguments
    graph        the operations in ``graph.json`` beside the card; ``name`` is what reports call the network
    factory      ``factory`` is called with ``args``; its package is imported only where the user trusts it
    module       given as a torch module, and only in memory: no folder holds such a card
    """

    name: str
    form: Literal["registered", "graph", "factory", "module"] = "registered"
    factory: Annotated[str, Field(pattern=FACTORY)] | None = None  # "package.module:function"
    label: Name | None = None  # what its recipe calls it, where it has several of one name
    constrained: bool  # True: 1-Lipschitz layers; False: the unconstrained twin of the same shape
    layers: str = "torchlip"  # the registered set of 1-Lipschitz layers that it was trained with
    stored_as: str | None = None  # the set of layers whose own exported form it is stored in; None: plain torch layers
    args: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _names_a_factory(self) -> "Architecture":
        if (self.form == "factory") != (self.factory is not None):
            raise ValueError('form = "factory" and the key factory = "package.module:function" go together')
        return self

    @model_serializer(mode="wrap")
    def _without_defaults(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A card does not mention the default form and the default layers, so that neither changes a digest."""
        plain: dict[str, Any] = serialize(self)
        for name, default in (("layers", "torchlip"), ("form", "registered"), ("stored_as", None)):
            if name in plain and plain[name] == default:
                del plain[name]
        return plain


class Loss(Strict):
    """A registered loss and its hyperparameters."""

    name: str
    label: Name | None = None  # what its recipe calls it, where it has the same loss several times
    hyperparameters: dict[str, Finite] = Field(default_factory=dict)
    adversarial: dict[str, Any] = Field(default_factory=dict)  # empty: plain training


class Lipschitz(Strict):
    """The constant that the model's author claims, for the whole network, inputs in their range."""

    constant: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    norm: Literal["L2"] = "L2"  # the only one that certificates here start from
    # what the layers were to give; only where the bound of the trained weights, which is claimed then, is above it
    by_construction: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None


class Card(Strict):
    """What ``card.toml`` says of a model."""

    name: Name
    data: str  # as given to --data: "digits", "npz:PATH", ...
    input_shape: InputShape  # (c, h, w), (c, l) or (d,)
    input_range: tuple[float, float] = (0.0, 1.0)
    num_classes: Annotated[int, Field(ge=2)]
    seed: int
    weights_sha256: str
    graph_sha256: str | None = None  # of graph.json, for a model of that form
    module_sha256: str | None = None  # of the code and the settings of a module in memory
    architecture: Architecture
    loss: Loss
    preprocessing: Preprocessing | None = None
    claimed: Lipschitz | None = None  # None: no claim, as for unconstrained networks
    training: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)  # of the libraries that trained it

    def plain(self) -> dict[str, Any]:
        """The card as plain data, without the fields that are None."""
        return self.model_dump(mode="json", exclude_none=True)

    @property
    def family(self) -> str:
        """The loss family, as reports group models: the loss, and how the baselines were trained."""
        if self.loss.name == UNSPECIFIED:
            return UNSPECIFIED
        free = "adversarial training" if self.loss.adversarial else "unconstrained"
        family = self.loss.name if self.architecture.constrained else free
        return family if self.loss.label is None else f"{family} ({self.loss.label})"


def read(folder: Path) -> Card:
    """The card of the model in ``folder``; raises LipbenchError for a missing or malformed one."""
    path = folder / CARD
    card = schema.parse(Card, files.read_toml(path, "card"), str(path), "card")
    if card.input_range != (0.0, 1.0):
        raise LipbenchError(
            f"{path}: input_range is {list(card.input_range)}, expected [0, 1]: eps is in units of that range; "
            "move the scaling into the model's preprocessing"
        )
    return card


def write(folder: Path, card: Card) -> None:
    """Write ``card.toml`` into ``folder``."""
    files.write_bytes(folder / CARD, tomli_w.dumps(card.plain()).encode())


def digest_of(card: Mapping[str, Any]) -> str:
    """The digest of a card, as plain data, and of the weights that it names."""
    return files.sha256_json({"card": card, "weights": card.get("weights_sha256")})
