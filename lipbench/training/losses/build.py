"""Losses by their registered names."""

import inspect
from collections.abc import Mapping

from torch import nn

from lipbench._internal.registry import LOSSES
from lipbench.errors import LipbenchError


def build(name: str, hyperparameters: Mapping[str, float]) -> nn.Module:
    """The loss called ``name``; raises LipbenchError for an unknown name, hyperparameter or a value out of range."""
    factory = LOSSES.get(name)
    known = list(inspect.signature(factory).parameters)
    if set(known) != set(hyperparameters):
        raise LipbenchError(
            f"loss {name!r} takes {', '.join(known) or 'no hyperparameters'}; "
            f"got {', '.join(hyperparameters) or 'none'}"
        )
    loss: nn.Module = factory(**hyperparameters)
    return loss


def head(name: str, num_classes: int) -> int:
    """How many outputs the head of a network trained with the loss ``name`` has: 1 if it is binary, else one per class.

    Raises LipbenchError for an unknown name, and for a binary loss unless there are two classes.
    """
    if not getattr(LOSSES.get(name), "binary", False):
        return num_classes
    if num_classes != 2:
        raise LipbenchError(
            f"loss {name!r} is binary, its head has a single logit: it takes data of 2 classes, not {num_classes}; "
            "choose a multiclass loss, such as tau_cross_entropy"
        )
    return 1
