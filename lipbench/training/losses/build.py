"""Losses by their registered names.

A loss is one of these, registered in the entry point group ``lipbench.losses`` or given in a recipe in Python:

    a class      its arguments are the hyperparameters, its objects are called with (logits, labels)
    a function   (logits, labels, *, hyperparameters), which returns the mean over the batch, a scalar
    an object    called with (logits, labels), without hyperparameters; each training takes a copy
"""

import copy
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from lipbench._internal.registry import LOSSES
from lipbench.errors import LipbenchError


class FunctionLoss(nn.Module):
    """A loss that is a function ``(logits, labels, **hyperparameters)``: logits float (n, K), labels int64 (n,)."""

    def __init__(self, function: Callable[..., Tensor], hyperparameters: Mapping[str, float]):
        super().__init__()
        self._function, self._hyperparameters = function, dict(hyperparameters)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """What the function returns: the mean over the batch, a scalar."""
        return self._function(logits, labels, **self._hyperparameters)


def hyperparameters_of(name: str) -> list[str]:
    """The names of a loss's hyperparameters, in the order of its signature.

    Raises LipbenchError for an unknown name, and for a function that does not take (logits, labels).
    """
    found = LOSSES.get(name)
    if isinstance(found, nn.Module):
        return []
    with LOSSES.calling(name, "has no signature"):
        signature = inspect.signature(found)
    parameters = signature.parameters.values()
    if inspect.isclass(found):
        return [parameter.name for parameter in parameters]
    keywords = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    try:
        signature.bind(None, None, **dict.fromkeys(keywords))
    except TypeError as error:
        raise LipbenchError(
            f"{LOSSES.said(name)} must be a class, or a function (logits, labels, *, hyperparameters); got "
            f"{signature}: hyperparameters follow a star"
        ) from error
    return keywords


def build(name: str, hyperparameters: Mapping[str, float]) -> nn.Module:
    """The loss called ``name``; raises LipbenchError for an unknown name, hyperparameter or a value out of range."""
    found, known = LOSSES.get(name), hyperparameters_of(name)
    if set(known) != set(hyperparameters):
        raise LipbenchError(
            f"loss {name!r} takes {', '.join(known) or 'no hyperparameters'}; "
            f"got {', '.join(hyperparameters) or 'none'}"
        )
    if isinstance(found, nn.Module):
        return copy.deepcopy(found)
    if not inspect.isclass(found):
        return FunctionLoss(found, hyperparameters)
    with LOSSES.calling(name):
        loss: Any = found(**hyperparameters)
    if not callable(loss):
        raise LipbenchError(f"{LOSSES.said(name)} must make objects that are called with (logits, labels)")
    return loss if isinstance(loss, nn.Module) else FunctionLoss(loss, {})


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
