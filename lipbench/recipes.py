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

[[loss]]
name = "tau_cross_entropy"
hyperparameters = { tau = [1, 4, 16] }     # the grid is the product of all lists
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from lipbench import files, schema
from lipbench.cards import Architecture, Loss, Preprocessing
from lipbench.errors import LipbenchError
from lipbench.schema import Finite, Name, Strict

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class ArchitectureSpec(Strict):
    """A registered architecture, under a label that names its models and that losses refer to."""

    name: str
    label: Name | Literal[""] = ""  # the name if empty
    args: dict[str, Any] = Field(default_factory=dict)

    @property
    def key(self) -> str:
        """The label, or the name where there is none."""
        return self.label or self.name


class Adversarial(Strict):
    """Adversarial training by ART's AdversarialTrainer with PGD."""

    norm: Literal["L2", "Linf"] = "L2"
    eps: Positive
    steps: Annotated[int, Field(ge=1)] = 10
    ratio: Annotated[float, Field(gt=0, le=1)] = 1.0  # share of each batch that is replaced by adversarial inputs


class LossSpec(Strict):
    """A registered loss and lists of its hyperparameters, on some or all architectures."""

    name: str
    hyperparameters: dict[str, Finite | Annotated[list[Finite], Field(min_length=1)]] = Field(default_factory=dict)
    architectures: tuple[str, ...] = ()  # labels; all if empty
    constrained: bool = True  # False: the unconstrained twin of the same shape
    adversarial: Adversarial | None = None

    def grid(self) -> Iterator[dict[str, float]]:
        """Every combination of the hyperparameters."""
        names = list(self.hyperparameters)
        values = [v if isinstance(v, list) else [v] for v in self.hyperparameters.values()]
        for point in itertools.product(*values):
            yield dict(zip(names, point, strict=True))


class Training(Strict):
    """The optimiser and its schedule."""

    epochs: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=2)] = 128
    learning_rate: Annotated[float, Field(gt=0, le=1e30)] = 1e-3
    optimizer: Literal["adam", "sgd"] = "adam"
    schedule: Literal["cosine", "constant"] = "cosine"


class Recipe(Strict):
    """A sweep: what ``lipbench train`` trains."""

    data: str
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**32)], ...], Field(min_length=1)]
    architectures: Annotated[tuple[ArchitectureSpec, ...], Field(min_length=1, alias="architecture")]
    losses: Annotated[tuple[LossSpec, ...], Field(min_length=1, alias="loss")]
    training: Training
    preprocessing: Preprocessing | None = None

    def settings(self) -> "list[Setting]":
        """Every model of the sweep, in the order of the file, seeds innermost."""
        return [
            Setting(architecture, loss, point, seed)
            for loss in self.losses
            for architecture in self.architectures
            if not loss.architectures or architecture.key in loss.architectures
            for point in loss.grid()
            for seed in self.seeds
        ]


@dataclass(frozen=True)
class Setting:
    """One model of a sweep."""

    spec: ArchitectureSpec
    loss_spec: LossSpec
    hyperparameters: dict[str, float]
    seed: int

    @property
    def name(self) -> str:
        """The name of the model and of its folder, such as ``mlp-tau_cross_entropy-tau4-seed0``."""
        parts = [self.spec.key, self.loss_spec.name]
        parts += [f"{name}{value:g}" for name, value in self.hyperparameters.items()]
        if not self.loss_spec.constrained:
            parts.append("unconstrained")
        if self.loss_spec.adversarial is not None:
            parts.append(f"adversarial{self.loss_spec.adversarial.eps:g}")
        return "-".join([*parts, f"seed{self.seed}"])

    @property
    def architecture(self) -> Architecture:
        """The architecture as cards have it."""
        return Architecture(name=self.spec.name, constrained=self.loss_spec.constrained, args=self.spec.args)

    @property
    def loss(self) -> Loss:
        """The loss as cards have it."""
        adversarial = self.loss_spec.adversarial
        return Loss(
            name=self.loss_spec.name,
            hyperparameters=self.hyperparameters,
            adversarial={} if adversarial is None else adversarial.model_dump(),
        )


def load(path: Path) -> Recipe:
    """Read a recipe; raises LipbenchError for a missing or malformed file, a misspelt key, an unknown label."""
    recipe = schema.parse(Recipe, files.read_toml(path, "recipe"), str(path), "recipe")
    for loss in recipe.losses:
        if loss.adversarial is not None and loss.name != "cross_entropy":
            raise LipbenchError(f"{path}: adversarial training takes the loss 'cross_entropy', got {loss.name!r}")
    labels = [architecture.key for architecture in recipe.architectures]
    for loss in recipe.losses:
        for label in loss.architectures:
            if label not in labels:
                raise LipbenchError(
                    f"{path}: loss {loss.name!r} names architecture {label!r}; there are {', '.join(labels)}"
                )
    names = [setting.name for setting in recipe.settings()]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise LipbenchError(
            f"{path}: the model {twice} is there twice; name each seed and hyperparameter once, "
            "and give architectures different labels"
        )
    return recipe
