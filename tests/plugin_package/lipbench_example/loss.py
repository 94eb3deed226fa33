"""A loss with one hyperparameter."""

import math

import torch.nn.functional as F
from torch import Tensor

from lipbench.training.losses.base import MulticlassLoss, positive


class LogisticMargin(MulticlassLoss):
    """The logistic loss of the signed margin: the mean of T log(1 + exp(-(f_y - max over j != y of f_j) / T)), T > 0.

    T -> 0 is max(0, max over j != y of f_j - f_y), the perceptron's loss.
    """

    def __init__(self, temperature: float):
        super().__init__()
        self._temperature = positive("temperature", temperature)

    def value(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The mean over the batch. logits: float (n, K); labels: int64 (n,)."""
        label = F.one_hot(labels, logits.shape[1]).bool()
        others = logits.masked_fill(label, -math.inf).amax(dim=1)
        margin = logits[label] - others
        return self._temperature * F.softplus(-margin / self._temperature).mean()
