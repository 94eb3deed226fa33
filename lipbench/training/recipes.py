"""Training recipes: TOML files whose grid of losses, hyperparameters and seeds is a zoo.

data = "digits"
seeds = [0, 1, 2]

[[architecture]]
name = "mlp"
args = { widths = [128, 64] }

[training]
epochs = 60
batch_size = 128
learning_rate = 1e-3
augmentation = { flip = true, crop = 4 }

[[loss]]
name = "tau_cross_entropy"
hyperparameters = { tau = [1, 4, 16] }     # the grid is the product of all lists

[[loss]]
name = "cross_entropy"
constrained = false                        # the unconstrained twin
training = { weight_decay = 0.1 }          # what differs for this loss; architectures have such a table too
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import BeforeValidator, Field, StrictBool

from lipbench._internal import arguments, files, resources, schema
from lipbench._internal.registry import ARCHITECTURES, LAYERS, LOSSES, OPTIMIZERS
from lipbench._internal.schema import Finite, Name, Strict
from lipbench._internal.versions import versions
from lipbench.attacks.eps import of_a_file
from lipbench.attacks.norm import Norm
from lipbench.errors import LipbenchError
from lipbench.models.cards import Architecture, Loss, Preprocessing

VERSIONED = ("lipbench", "torch", "deel-torchlip")  # on every card
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Radius = Annotated[Positive, BeforeValidator(lambda eps: float(of_a_file(eps)) if isinstance(eps, str) else eps)]


def _registered_architecture(value: Any) -> Any:
    if callable(value):
        raise ValueError(
            "an architecture is given by its name, as cards name it and later processes build it: register the "
            "function as an entry point of the group lipbench.architectures"
        )
    return value


def _changes(value: Any) -> Any:
    if isinstance(value, dict) and "optimizer" in value:
        return {**value, "optimizer": OPTIMIZERS.name_of(value["optimizer"])}
    return value


# an object in place of a name is registered under its own
LossName = Annotated[str, BeforeValidator(LOSSES.name_of)]
LayersName = Annotated[str, BeforeValidator(LAYERS.name_of)]
OptimizerName = Annotated[str, BeforeValidator(OPTIMIZERS.name_of)]
Changes = Annotated[dict[str, Any], BeforeValidator(_changes)]
Seeds = Annotated[tuple[Annotated[int, Field(ge=0, lt=2**32)], ...], Field(min_length=1)]


class ArchitectureSpec(Strict):
    """A registered architecture, under a label that names its models and that losses refer to."""

    name: Annotated[str, BeforeValidator(_registered_architecture)]
    label: Name | None = None
    layers: LayersName = "torchlip"  # the registered set of 1-Lipschitz layers that it is trained with
    args: dict[str, Any] = Field(default_factory=dict)
    training: Changes = Field(default_factory=dict)  # keys of [training] that differ for it

    @property
    def key(self) -> str:
        """The label, or the name where there is none."""
        return self.label or self.name


class Adversarial(Strict):
    """Training at adversarial inputs, which steps of gradient ascent find."""

    norm: Annotated[Literal["L2", "Linf"], BeforeValidator(lambda norm: Norm.of_a_file(norm).value)] = "L2"
    eps: Radius
    steps: Annotated[int, Field(ge=1)] = 10


class PGDTraining(Adversarial):
    """Adversarial training with PGD (Madry et al. 2018, arXiv 1706.06083)."""

    ratio: Annotated[float, Field(gt=0, le=1)] = 1.0  # share of each batch that is replaced by adversarial inputs


class Trades(Adversarial):
    """TRADES (Zhang et al. 2019, arXiv 1901.08573): ``beta`` times the divergence between x and its neighbour."""

    beta: Positive


class LossSpec(Strict):
    """A registered loss and lists of its hyperparameters, on some or all architectures."""

    name: LossName
    label: Name | None = None  # needed only where the same loss is trained in several ways
    hyperparameters: dict[str, Finite | Annotated[list[Finite], Field(min_length=1)]] = Field(default_factory=dict)
    architectures: tuple[str, ...] = ()  # labels; all if empty
    constrained: StrictBool = True  # False: the unconstrained twin of the same shape
    adversarial: Trades | PGDTraining | None = None
    seeds: Seeds | None = None  # the recipe's where it names none
    training: Changes = Field(default_factory=dict)  # keys of [training] that differ for this loss

    def grid(self) -> Iterator[dict[str, float]]:
        """Every combination of the hyperparameters, which come in alphabetical order."""
        names = sorted(self.hyperparameters)
        lists = [self.hyperparameters[name] for name in names]
        values = [v if isinstance(v, list) else [v] for v in lists]
        for point in itertools.product(*values):
            yield dict(zip(names, point, strict=True))


class Augmentation(Strict):
    """What happens to a batch of training images before the network sees it (``training.augmentation``)."""

    flip: bool = False  # left to right, with probability 1/2
    crop: Annotated[int, Field(ge=0)] = 0  # shifts by up to so many pixels, zeros come in
    resized_crop: Annotated[float, Field(gt=0, le=1)] = 1.0  # the least share of the area that is kept and enlarged
    brightness: Annotated[float, Field(ge=0, lt=1)] = 0.0  # the factor is drawn from 1 - b .. 1 + b; so for the others
    contrast: Annotated[float, Field(ge=0, lt=1)] = 0.0
    saturation: Annotated[float, Field(ge=0, lt=1)] = 0.0


class Training(Strict):
    """The optimiser and its schedule."""

    epochs: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=2)] = 128
    learning_rate: Annotated[float, Field(gt=0, le=1e30)] = 1e-3  # the largest of the schedule
    optimizer: OptimizerName = "adam"
    optimizer_args: dict[str, Any] | None = None  # what it takes beside the learning rate and weight_decay
    schedule: Literal["cosine", "one_cycle", "constant"] = "cosine"
    # times learning_rate, if adam: AdamW's, where .1 does what 5e-4 does to sgd with a learning rate of .1
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    gradient_clip: Positive | None = None  # the largest L2 norm of the whole gradient
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None  # decay of an average of the weights: that is the model
    precision: Literal["float32", "bfloat16"] = "float32"  # of the forward pass; weights are made in float32
    augmentation: Augmentation = Augmentation()


class History(Strict):
    """What is measured in training; it changes nothing in the model."""

    samples: Annotated[int, Field(ge=1)] = 1000  # the first so many of the test set
    eps: Annotated[tuple[Radius, ...], Field(min_length=1)] = (36 / 255,)  # L2, of the certified accuracy
    every: Annotated[int, Field(ge=1)] = 1  # epochs from one measurement to the next; the last epoch has one

    def is_due(self, epoch: int, epochs: int) -> bool:
        """Whether a model is measured after this epoch, counted from 1, of so many."""
        return epoch % self.every == 0 or epoch == epochs


class Recipe(Strict):
    """A sweep: what ``lipbench train`` trains."""

    data: str
    seeds: Seeds
    architectures: Annotated[tuple[ArchitectureSpec, ...], Field(min_length=1, alias="architecture")]
    losses: Annotated[tuple[LossSpec, ...], Field(min_length=1, alias="loss")]
    training: Training
    preprocessing: Preprocessing | None = None
    history: History = History()

    def plain(self) -> dict[str, Any]:
        """The recipe as plain data, in the keys of the file, without those that have their defaults."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)

    def training_jobs(self) -> "list[TrainingJob]":
        """Every model of the sweep, in the order of the file, seeds innermost."""
        return [
            TrainingJob(architecture, loss, point, seed, self.training)
            for loss in self.losses
            for architecture in self.architectures
            if not loss.architectures or architecture.key in loss.architectures
            for point in loss.grid()
            for seed in loss.seeds or self.seeds
        ]


@dataclass(frozen=True)
class TrainingJob:
    """One model of a sweep."""

    spec: ArchitectureSpec
    loss_spec: LossSpec
    hyperparameters: dict[str, float]
    seed: int
    base: Training

    @property
    def training(self) -> Training:
        """The recipe's [training] with what the architecture and then the loss change in it."""
        changed = {**self.base.model_dump(), **self.spec.training, **self.loss_spec.training}
        return schema.parse(Training, changed, self.name, "[training]")

    def check(self) -> None:
        """Raise LipbenchError if what the architecture or the loss changes in [training] is wrong."""
        _ = self.training

    @property
    def name(self) -> str:
        """The name of the model and of its folder, such as ``mlp-tau_cross_entropy-tau4-seed0``."""
        parts = [self.spec.key, self.loss_spec.name, *filter(None, [self.loss_spec.label])]
        parts += [f"{name}{value:g}" for name, value in self.hyperparameters.items()]
        if not self.loss_spec.constrained:
            parts.append("unconstrained")
        adversarial = self.loss_spec.adversarial
        if adversarial is not None:
            trades = f"trades{adversarial.beta:g}-" if isinstance(adversarial, Trades) else "adversarial"
            parts.append(f"{trades}{adversarial.eps:g}")
        return "-".join([*parts, f"seed{self.seed}"])

    @property
    def architecture(self) -> Architecture:
        """The architecture as cards have it."""
        spec = self.spec
        return Architecture(
            name=spec.name,
            label=spec.label,
            constrained=self.loss_spec.constrained,
            layers=spec.layers,
            args=spec.args,
        )

    @property
    def loss(self) -> Loss:
        """The loss as cards have it."""
        adversarial = self.loss_spec.adversarial
        return Loss(
            name=self.loss_spec.name,
            label=self.loss_spec.label,
            hyperparameters=self.hyperparameters,
            adversarial={} if adversarial is None else adversarial.model_dump(),
        )

    @property
    def versions(self) -> dict[str, str]:
        """The installed versions of the packages that the weights depend on, those of plugins included."""
        names = (*VERSIONED, "orthogonium") if self.spec.layers == "orthogonium" else VERSIONED
        named = (
            (ARCHITECTURES, self.spec.name),
            (LAYERS, self.spec.layers),
            (LOSSES, self.loss_spec.name),
            (OPTIMIZERS, self.training.optimizer),
        )
        origins = [origin for registry, name in named for origin in registry.origins(name) if origin.is_plugin]
        return versions(names) | {origin.package: origin.version for origin in origins}


def names() -> list[str]:
    """The bundled recipes."""
    return resources.toml_names("recipes")


def find(name_or_path: str) -> Path:
    """The file of a recipe, by its name (``mnist``) or its path; raises LipbenchError for an unknown name."""
    return resources.find_toml("recipe", "recipes", name_or_path)


def load(path: Path) -> Recipe:
    """Read a recipe; raises LipbenchError for a missing or malformed file, a misspelt key, an unknown label."""
    return read(path)[0]


def read(path: Path) -> tuple[Recipe, bytes]:
    """As ``load``, with the bytes that the recipe was read from: the file may be another one a moment later."""
    data = files.read_bytes(path, "recipe")
    return parse(files.parse_toml(data, path, "recipe"), str(path)), data


def given(recipe: "Recipe | Mapping[str, Any]") -> tuple[Recipe, bytes]:
    """A recipe given in Python, and its file: a ``Recipe``, or the content of a file as plain data.

    A loss, a set of layers and an optimizer may be an object in place of a name. It is registered under its own name,
    which the file and the cards have. Raises LipbenchError as ``load`` does.
    """
    content = recipe.plain() if isinstance(recipe, Recipe) else dict(recipe)
    named = parse(content, "the recipe").plain()  # names in place of objects
    try:
        data = tomli_w.dumps(named).encode()
    except TypeError as error:
        raise LipbenchError(f"the recipe holds something that a TOML file cannot hold: {error}") from error
    return parse(files.parse_toml(data, Path("recipe.toml"), "recipe"), "the recipe"), data


def parse(content: dict[str, Any], where: str) -> Recipe:
    """Check the content of a recipe; ``where`` names it in errors. Raises LipbenchError as ``load`` does."""
    recipe = schema.parse(Recipe, content, where, "recipe")
    for loss in recipe.losses:
        if loss.adversarial is not None and loss.name != "cross_entropy":
            raise LipbenchError(f"{where}: adversarial training takes the loss 'cross_entropy', got {loss.name!r}")
    labels = [architecture.key for architecture in recipe.architectures]
    for loss in recipe.losses:
        for label in loss.architectures:
            if label not in labels:
                raise LipbenchError(
                    f"{where}: loss {loss.name!r} names architecture {label!r}; there are {', '.join(labels)}"
                )
    twice = arguments.repeated(job.name for job in recipe.training_jobs())
    if twice is not None:
        raise LipbenchError(
            f"{where}: the model {twice} is there twice; name each seed and hyperparameter once, and give blocks "
            "[[architecture]] or [[loss]] that differ in something else a label each"
        )
    return recipe
