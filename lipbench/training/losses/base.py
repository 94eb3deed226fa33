"""What losses share: the checks of their arguments and hyperparameters, and a template for each kind of head."""

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lipbench.errors import LipbenchError
from lipbench.training.notation import Notation

# Shapes and types only: a check of the labels' values would synchronise a GPU with the host at every step.


def check(logits: Tensor, labels: Tensor) -> None:
    """Logits float (n, K) and labels int64 (n,), with n, K >= 1; raises LipbenchError."""
    if (
        logits.ndim != 2
        or not logits.is_floating_point()
        or 0 in logits.shape
        or labels.shape != logits.shape[:1]
        or labels.dtype != torch.int64
    ):
        raise LipbenchError(
            f"a loss takes logits (n, K) of floats and index labels (n,) of int64, n >= 1; got {tuple(logits.shape)} "
            f"of {logits.dtype} and {tuple(labels.shape)} of {labels.dtype}"
        )


def check_multiclass(logits: Tensor, labels: Tensor) -> None:
    """As ``check``, with K >= 2."""
    check(logits, labels)
    if logits.shape[1] < 2:
        raise LipbenchError(
            f"a multiclass loss takes logits (n, K), K >= 2, one per class; got {tuple(logits.shape)}: a single-logit "
            "head takes a binary loss, such as tau_binary_cross_entropy"
        )


def check_binary(logits: Tensor, labels: Tensor) -> None:
    """As ``check``, with K = 1."""
    check(logits, labels)
    if logits.shape[1] != 1:
        raise LipbenchError(
            f"a binary loss takes the logits (n, 1) of a single-logit head; got {tuple(logits.shape)}: a head with one "
            "logit per class takes a multiclass loss, such as tau_cross_entropy"
        )


def positive(name: str, value: float) -> float:
    """A hyperparameter in (0, infinity); raises LipbenchError."""
    if not (math.isfinite(value) and value > 0):
        raise LipbenchError(f"{name} must be a finite number above 0, got {value}")
    return float(value)


def non_negative(name: str, value: float) -> float:
    """A hyperparameter in [0, infinity); raises LipbenchError."""
    if not (math.isfinite(value) and value >= 0):
        raise LipbenchError(f"{name} must be a finite number, 0 or above, got {value}")
    return float(value)


def share(name: str, value: float, hint: str = "") -> float:
    """A hyperparameter in [0, 1]; raises LipbenchError, whose message ends with ``hint``."""
    if not 0 <= value <= 1:
        raise LipbenchError(f"{name} must be in [0, 1], got {value}{hint}")
    return float(value)


def hinge_share(alpha: float) -> float:
    """The alpha of all HKR losses, in [0, 1]. deel-torchlip takes larger ones, warns, and makes them a share."""
    return share("alpha", alpha, ": a weight alpha of the hinge beside a KR of weight 1 is alpha / (1 + alpha) here")


class MulticlassLoss(nn.Module):
    """Template of the losses of heads with one logit per class: checks, then takes the mean from ``value``."""

    binary: ClassVar[bool] = False
    notation: ClassVar[Notation] = Notation()

    def __init__(self) -> None:  # the arguments are the hyperparameters: none
        super().__init__()

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The mean over the batch, a scalar. logits: float (n, K), K >= 2; labels: int64 (n,), in 0..K-1."""
        check_multiclass(logits, labels)
        return self.value(logits, labels)

    def value(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The mean over the batch, for arguments that were checked."""
        raise NotImplementedError


class OneHotLoss(MulticlassLoss):
    """A loss of deel-torchlip on one-hot labels, called with index labels."""

    def __init__(self, loss: nn.Module):
        super().__init__()
        self._loss = loss

    def value(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The library's mean over the batch."""
        value: Tensor = self._loss(logits, F.one_hot(labels, logits.shape[1]).to(logits.dtype))
        return value


class BinaryLoss(nn.Module):
    """A loss of deel-torchlip on a single-logit head, called with the labels 0 and 1."""

    binary: ClassVar[bool] = True
    notation: ClassVar[Notation] = Notation()

    def __init__(self, loss: nn.Module):
        super().__init__()
        self._loss = loss

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The mean over the batch, a scalar. logits: float (n, 1); labels: int64 (n,), 0 or 1."""
        check_binary(logits, labels)
        value: Tensor = self._loss(logits, labels[:, None])
        return value
