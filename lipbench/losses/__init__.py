"""Losses by registry name: modules called with logits (n, K) and index labels int64 (n,), returning a scalar.

``multiclass`` holds the losses of heads with one logit per class, ``binary`` those of single-logit heads: logits (n, 1)
and labels 0 or 1, where the sign of the logit is the prediction. The class attribute ``binary`` tells them apart; a
plugin's loss without it is multiclass.

deel-torchlip's margin losses want one-hot labels, and with index labels some of them broadcast silently to a wrong
value when n == K. Here labels are indices, shapes are checked, and the one-hot form is made inside.

All margins and temperatures are in the units of the logits of a network fed with inputs in [0, 1]. The experiments of
"Pay attention to your loss" (Bethune et al., NeurIPS 2022, arXiv 2104.05097) feed pixels in 0..255: their margin m
is m / 255 here, and their tau is 255 tau here.
"""

import inspect
from collections.abc import Mapping

from torch import nn

from lipbench.errors import LipbenchError
from lipbench.registry import LOSSES


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
