"""Losses by registry name: modules called with logits (n, K) and index labels int64 (n,), returning a scalar.

deel-torchlip's margin losses want one-hot labels, and with index labels some of them broadcast silently to a wrong
value when n == K. Here labels are indices, shapes are checked, and the one-hot form is made inside.

All margins and temperatures are in the units of the logits of a network fed with inputs in [0, 1]. The experiments of
"Pay attention to your loss" (Bethune et al., NeurIPS 2022, arXiv 2104.05097) feed pixels in 0..255: their margin m
is m / 255 here, and their tau is 255 tau here.
"""

import inspect
import math
from collections.abc import Mapping

import torch.nn.functional as F
from deel.torchlip import HingeMulticlassLoss, HKRMulticlassLoss, KRMulticlassLoss, TauCrossEntropyLoss
from torch import Tensor, nn

from lipbench.errors import LipbenchError
from lipbench.registry import LOSSES


def build(name: str, hyperparameters: Mapping[str, float]) -> nn.Module:
    """The loss called ``name``; raises LipbenchError for an unknown name, hyperparameter or a value out of range."""
    factory = LOSSES.get(name)
    known = list(inspect.signature(factory.__init__).parameters)[1:]
    if set(known) != set(hyperparameters):
        raise LipbenchError(
            f"loss {name!r} takes {', '.join(known) or 'no hyperparameters'}; "
            f"got {', '.join(hyperparameters) or 'none'}"
        )
    loss: nn.Module = factory(**hyperparameters)
    return loss


def _check(logits: Tensor, labels: Tensor) -> None:
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or labels.dtype.is_floating_point:
        raise LipbenchError(
            f"a loss takes logits (n, K) and index labels (n,) of integers; got {tuple(logits.shape)} and "
            f"{tuple(labels.shape)} of {labels.dtype}"
        )


def _positive(name: str, value: float) -> float:
    if not (math.isfinite(value) and value > 0):
        raise LipbenchError(f"{name} must be a finite number above 0, got {value}")
    return float(value)


class CrossEntropy(nn.CrossEntropyLoss):
    """Cross-entropy of softmax(f), for unconstrained networks: TauCrossEntropy with tau = 1."""

    def __init__(self) -> None:
        super().__init__()

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean over the batch. logits: float (n, K); labels: int64 (n,)."""
        _check(logits, labels)
        return super().forward(logits, labels)


class TauCrossEntropy(nn.Module):
    """Cross-entropy with temperature, CE(tau f, y) / tau.

    Library (deel-torchlip ``TauCrossEntropyLoss``): the division by tau keeps the size of gradients. Paper
    (section 2): CE(tau f, y), the same minimisers. tau -> 0 maximises the mean certifiable robustness (KR, low
    accuracy), tau -> infinity the accuracy. The paper's tau = 0.05 on pixels 0..255 is 12.75 here. tau > 0.
    """

    def __init__(self, tau: float):
        super().__init__()
        self._loss = TauCrossEntropyLoss(_positive("tau", tau))

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean over the batch. logits: float (n, K); labels: int64 (n,)."""
        _check(logits, labels)
        loss: Tensor = self._loss(logits, labels)
        return loss


class _OneHot(nn.Module):
    """A deel-torchlip margin loss on one-hot labels, called with index labels."""

    def __init__(self, loss: nn.Module):
        super().__init__()
        self._loss = loss

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean over the batch. logits: float (n, K); labels: int64 (n,)."""
        _check(logits, labels)
        loss: Tensor = self._loss(logits, F.one_hot(labels, logits.shape[1]).to(logits.dtype))
        return loss


class HKRMulticlass(_OneHot):
    """Hinge-regularised Kantorovich-Rubinstein loss, alpha * hinge - (1 - alpha) * KR, per class and averaged.

    Library (deel-torchlip ``HKRMulticlassLoss``): alpha in [0, 1], hinge and KR as in the two classes below.
    Paper (Serrurier et al. 2021; Bethune et al. 2022): -y f + alpha_p max(0, m - y f) with alpha_p >= 0, so
    alpha_p = alpha / (1 - alpha): its 5, 10, 100 are 0.8333, 0.9091, 0.9901 here. alpha = 0 is KR, alpha = 1 hinge.
    The margin: hinge here is max(0, min_margin / 2 - y f), so min_margin is twice the paper's m.
    """

    def __init__(self, alpha: float, min_margin: float):
        if not 0 <= alpha <= 1:
            raise LipbenchError(
                f"alpha must be in [0, 1], got {alpha}: the paper's alpha of the other kind is alpha / (1 + alpha) here"
            )
        super().__init__(HKRMulticlassLoss(alpha=float(alpha), min_margin=_positive("min_margin", min_margin)))


class HingeMulticlass(_OneHot):
    """Multiclass margin loss: mean over classes of max(0, min_margin / 2 - y_k f_k), y_k = +1 for the label, else -1.

    Library (deel-torchlip ``HingeMulticlassLoss``): half of the margin on each side, the label's term weighted by
    K - 1. Paper: max(0, m - y f), so min_margin is twice its m. min_margin -> 0 is accuracy. min_margin > 0.
    """

    def __init__(self, min_margin: float):
        super().__init__(HingeMulticlassLoss(min_margin=_positive("min_margin", min_margin)))


class KRMulticlass(_OneHot):
    """Kantorovich-Rubinstein loss: minus the mean over classes k of E[f_k | y = k] - E[f_k | y != k].

    Library (deel-torchlip ``KRMulticlassLoss``) returns the quantity to be maximised; here it is negated. Paper: the
    dual of the Wasserstein-1 distance of each class to the others (the WGAN discriminator), the limit tau -> 0.
    The expectations are over the batch.
    """

    def __init__(self) -> None:
        super().__init__(KRMulticlassLoss())

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Minus the mean over the batch. logits: float (n, K); labels: int64 (n,)."""
        return -super().forward(logits, labels)
