"""A network of the caller's own, with what its author says about it."""

import copy
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lipbench._internal import arguments, schema
from lipbench._internal.randomness import keeping_random_numbers
from lipbench.data.arrays import layout_hint
from lipbench.errors import LipbenchError, one_line
from lipbench.models.cards import GIVEN, UNSPECIFIED, Card
from lipbench.models.fingerprint import code_sha256, weights_sha256
from lipbench.models.stored import load_model
from lipbench.models.unchanged import as_it_was


@dataclass(frozen=True, eq=False)
class Model:
    """A torch module to evaluate, verify or store, and what its author says about it.

    module: takes float inputs (n, ...) in [0, 1] and gives logits (n, classes), or (n, 1) for two classes; its own
    preprocessing is a part of it. lipbench works on copies and leaves it as it is.
    name: for tables and folders, by default that of the module's class; loss and hyperparameters: what it was trained
    with, such as "tau_cross_entropy" and {"tau": 4}; claimed: the L2 Lipschitz constant that its author claims, None
    for no claim; constrained: whether it is a 1-Lipschitz network, for the tables, by default where there is a claim;
    architecture: what tables call the network, by default its module's class, or its name where no loss is named:
    nothing says then that two networks of a class were made alike; training: further settings, for the tables;
    seed: of its training.

    Raises LipbenchError unless ``module`` is a torch module.
    """

    module: nn.Module
    name: str | None = None
    loss: str | None = None
    hyperparameters: Mapping[str, float] = field(default_factory=dict)
    claimed: float | None = None
    constrained: bool | None = None
    architecture: str | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.module, nn.Module):
            raise LipbenchError(f"expected a network as a torch.nn.Module, got {type(self.module).__name__}")
        object.__setattr__(self, "name", type(self.module).__name__ if self.name is None else self.name)

    @classmethod
    def load(cls, folder: str | os.PathLike[str], trust: Collection[str] = ()) -> "Model":
        """The stored model in a folder, with what its card says: ``module`` in eval mode, in the weights' own dtype.

        trust: packages that may be imported for a model stored as a factory. Raises LipbenchError for a folder that
        holds no model, and for files that are damaged or do not fit together.
        """
        found = load_model(arguments.path("the folder of a model", folder), trust)
        card = found.card
        return cls(
            found.module,
            name=card.name,
            loss=None if card.loss.name == UNSPECIFIED else card.loss.name,
            hyperparameters=card.loss.hyperparameters,
            claimed=None if card.claimed is None else card.claimed.constant,
            constrained=card.architecture.constrained,
            architecture=card.architecture.name,
            training=card.training,
            seed=card.seed,
        )

    def called(self, kind: str) -> str:
        """What tables call the network, if ``kind`` is the kind that it is of: see ``architecture``."""
        return self.architecture or (kind if self.loss else str(self.name))

    def card(self, input_shape: tuple[int, ...], num_classes: int) -> Card:
        """The card of the model as it is in memory. Raises LipbenchError for a field of the wrong kind."""
        content = {
            "name": self.name,
            "data": GIVEN,
            "input_shape": input_shape,
            "num_classes": num_classes,
            "seed": self.seed,
            "weights_sha256": weights_sha256(self.module),
            "module_sha256": code_sha256(self.module),
            "architecture": {
                "name": self.called(type(self.module).__name__),
                "form": "module",
                "constrained": self.claimed is not None if self.constrained is None else self.constrained,
            },
            "loss": {"name": self.loss or UNSPECIFIED, "hyperparameters": dict(self.hyperparameters)},
            "training": dict(self.training),
        }
        if self.claimed is not None:
            content["claimed"] = {"constant": self.claimed}
        return schema.parse(Card, content, f"lipbench.Model {self.name!r}", "model")

    def num_classes(self, x: Tensor) -> int:
        """How many classes the network tells apart, seen at inputs x (n, ...): its outputs, and 2 for a single one.

        Raises LipbenchError if the network does not run on x, or gives no logits (n, classes).
        """
        return max(2, self.outputs(x).shape[1])

    def outputs(self, x: Tensor) -> Tensor:
        """The logits (n, classes) of inputs x (n, ...) in eval mode; the module stays as it is.

        Raises LipbenchError if the network does not run on x, or gives no logits (n, classes).
        """
        scripted = any(isinstance(part, torch.jit.ScriptModule) for part in self.module.modules())  # takes no state
        with torch.no_grad(), keeping_random_numbers():
            try:
                inputs = _like(self.module, x)
                if scripted:
                    out = copy.deepcopy(self.module).eval()(inputs)
                else:
                    with as_it_was(self.module):
                        out = self.module.eval()(inputs)
            except Exception as error:  # whatever the network's own code raises
                raise LipbenchError(
                    f"{self.name} does not accept inputs of shape {tuple(x.shape[1:])}: {one_line(error)}"
                    f"{layout_hint(tuple(x.shape[1:]))}"
                ) from error
        if not isinstance(out, Tensor) or out.ndim != 2 or len(out) != len(x):
            found = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise LipbenchError(f"{self.name} gives {found} for {len(x)} inputs, expected logits ({len(x)}, classes)")
        return out


def _like(module: nn.Module, x: Tensor) -> Tensor:
    held = (*module.parameters(), *module.buffers())
    like = next((tensor for tensor in held if tensor.is_floating_point()), torch.zeros(()))
    return x.to(like)
