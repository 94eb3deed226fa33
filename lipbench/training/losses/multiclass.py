"""Losses of heads with one logit per class: logits f (n, K), labels in 0..K-1, y the label of a sample."""

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from deel.torchlip import (
    CategoricalHingeLoss,
    HingeMulticlassLoss,
    HKRMulticlassLoss,
    KRMulticlassLoss,
    TauCrossEntropyLoss,
)
from torch import Tensor, nn

from lipbench.training.losses.base import MulticlassLoss, OneHotLoss, check, hinge_share, non_negative, positive, share
from lipbench.training.notation import Notation


def _is_label(logits: Tensor, labels: Tensor) -> Tensor:
    """Bool (n, K): True in the label's column."""
    return F.one_hot(labels, logits.shape[1]).bool()


def _label_logit(logits: Tensor, labels: Tensor) -> Tensor:
    """f_y, (n,)."""
    return logits.gather(1, labels[:, None]).squeeze(1)


def signed_margin(logits: Tensor, labels: Tensor) -> Tensor:
    """f_y - max over j != y of f_j, negative where misclassified, (n,). logits: float (n, K); labels: int64 (n,).

    Where others tie for the maximum, its gradient is shared equally among them.
    """
    others = logits.masked_fill(_is_label(logits, labels), -math.inf)
    return _label_logit(logits, labels) - others.amax(1)


class CrossEntropy(MulticlassLoss):
    """Cross-entropy of softmax(f), for unconstrained networks: TauCrossEntropy with tau = 1."""

    name = "cross_entropy"
    notation = Notation("CE without tau")

    def value(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The mean over the batch."""
        return F.cross_entropy(logits, labels)


class TauCrossEntropy(MulticlassLoss):
    """Cross-entropy with temperature, CE(tau f, y) / tau.

    Library (deel-torchlip ``TauCrossEntropyLoss``): the division by tau keeps the size of gradients. Paper (Bethune
    et al. 2022, section 2): CE(tau f, y), the same minimisers. tau -> 0 maximises the mean certifiable robustness (its
    gradient is then that of kr_multiclass, up to a factor, if the batch has as many samples of each class; low
    accuracy); tau -> infinity is accuracy: max(0, max over j != y of f_j - f_y), the perceptron's. The paper's
    tau = 0.05 on pixels 0..255 is 12.75 here. tau > 0.
    """

    name = "tau_cross_entropy"
    notation = Notation("CE", {"tau": "τ"})

    def __init__(self, tau: float):
        super().__init__()
        self._loss = TauCrossEntropyLoss(positive("tau", tau))

    def value(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The library's mean over the batch."""
        value: Tensor = self._loss(logits, labels)
        return value


class HKRMulticlass(OneHotLoss):
    """Hinge-regularised Kantorovich-Rubinstein loss: alpha * hinge_multiclass + (1 - alpha) * kr_multiclass.

    Library (deel-torchlip ``HKRMulticlassLoss``): alpha in [0, 1]. Paper (Serrurier et al. 2021; Bethune et al. 2022):
    -y f + alpha_p max(0, m - y f) with alpha_p >= 0, so alpha_p = alpha / (1 - alpha): its 5, 10, 100 are 0.8333,
    0.9091, 0.9901 here (up to (K - 1) / K, the weight of the library's hinge beside its KR on balanced classes).
    alpha = 0 is KR, alpha = 1 hinge. The margin: hinge here is max(0, min_margin / 2 - y f), so min_margin is twice the
    paper's m, and its m = 20 on pixels 0..255 is min_margin = 40 / 255 here. min_margin > 0.
    """

    name = "hkr_multiclass"
    notation = Notation("HKR", {"alpha": "α", "min_margin": "m"}, odds=("alpha",))

    def __init__(self, alpha: float, min_margin: float):
        super().__init__(HKRMulticlassLoss(alpha=hinge_share(alpha), min_margin=positive("min_margin", min_margin)))


class HingeMulticlass(OneHotLoss):
    """Multiclass margin loss: mean over classes of max(0, min_margin / 2 - y_k f_k), y_k = +1 for the label, else -1.

    Library (deel-torchlip ``HingeMulticlassLoss``): half of the margin on each side, the label's term weighted by
    K - 1. Paper (Bethune et al. 2022): max(0, m - y f), so min_margin is twice its m, and its m = 36 on pixels 0..255
    is min_margin = 72 / 255 here. min_margin -> 0 is accuracy. min_margin > 0.
    """

    name = "hinge_multiclass"
    notation = Notation("hinge", {"min_margin": "m"})

    def __init__(self, min_margin: float):
        super().__init__(HingeMulticlassLoss(min_margin=positive("min_margin", min_margin)))


class KRMulticlass(OneHotLoss):
    """Kantorovich-Rubinstein loss: minus the mean over classes k of E[f_k | y = k] - E[f_k | y != k].

    Library (deel-torchlip ``KRMulticlassLoss``) returns the quantity to be maximised; here it is negated. Paper: the
    dual of the Wasserstein-1 distance of each class to the others (the WGAN discriminator), the limit tau -> 0.
    The expectations are over the batch; a class without samples there has its second term only. Pixels in 0..255
    multiply it by 255.
    """

    name = "kr_multiclass"
    notation = Notation("KR")

    def __init__(self) -> None:
        super().__init__(KRMulticlassLoss())

    def value(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Minus the library's mean over the batch."""
        return -super().value(logits, labels)


class CategoricalHinge(OneHotLoss):
    """Hinge loss of the margin: the mean of max(0, min_margin - (f_y - max over j != y of f_j)).

    Library (deel-torchlip ``CategoricalHingeLoss``), after Crammer & Singer (2001): the whole min_margin, not half of
    it, between the label and the runner-up. On a network that is 1-Lipschitz as a whole, a loss of 0 certifies the
    radius min_margin / sqrt(2). min_margin -> 0 is the perceptron's loss, a min_margin that no sample reaches gives
    mcr + min_margin. Not in Bethune et al. (2022); a min_margin for pixels 0..255 is min_margin / 255 here.
    min_margin > 0.
    """

    name = "categorical_hinge"
    notation = Notation("categorical hinge", {"min_margin": "m"})

    def __init__(self, min_margin: float):
        super().__init__(CategoricalHingeLoss(min_margin=positive("min_margin", min_margin)))


class MCR(nn.Module):
    """Mean certifiable robustness, negated: minus the mean signed margin f_y - max over j != y of f_j.

    On a single-logit head, logits (n, 1), minus the mean of y f with y = +1 for the label 1, -1 for 0: the margin of
    the logits (-f / 2, f / 2). Paper (Bethune et al. 2022): E[y f], whose maximum over 1-Lipschitz f is proportional
    to the Wasserstein-1 distance on balanced classes. Divided by the pairwise Lipschitz bound it is the MCR of the
    reports. It takes both heads; the registry builds networks for it with one logit per class. Pixels in 0..255
    multiply it by 255.
    """

    name = "mcr"
    notation = Notation("MCR loss")
    binary: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Minus the mean over the batch, a scalar. logits: float (n, K) or (n, 1); labels: int64 (n,)."""
        check(logits, labels)
        margin = (2 * labels - 1) * logits.squeeze(1) if logits.shape[1] == 1 else signed_margin(logits, labels)
        return -margin.mean()


class SoftHKRMulticlass(MulticlassLoss):
    """HKR of the label against a softmax of the other classes.

    The mean of sum over k of w_k (alpha max(0, min_margin / 2 - y_k f_k) - (1 - alpha) y_k f_k), with y_k = +1 and
    w_k = 1 for the label, else y_k = -1 and w = softmax of s f over the other classes.
    s = temperature * min_margin / max(M, min_margin), where M is a running mean of |f|: it starts at min_margin, and
    each batch in train mode moves it to alpha_mean * M + (1 - alpha_mean) * mean |f|. So the value depends on the
    batches before it. As in the library, s is kept in [0.005, 250] and M in [0.005, 1000], and gradients do not pass
    through s.

    Library (deel-torchlip ``SoftHKRMulticlassLoss``), after Serrurier et al. (2024, arXiv 2206.06854), here without
    the host-to-device copies in each of its steps, with alpha in double precision, and with M left alone in eval mode.
    Limits: alpha and alpha_mean in [0, 1]; min_margin > 0, temperature > 0 (large: the runner-up only; small: all other
    classes alike). For pixels in 0..255, min_margin is min_margin / 255 here and temperature 255 * temperature.
    """

    name = "soft_hkr_multiclass"
    notation = Notation("soft HKR", {"alpha": "α", "min_margin": "m"}, odds=("alpha",))
    _magnitude: Tensor  # M

    def __init__(self, alpha: float, min_margin: float, alpha_mean: float, temperature: float):
        super().__init__()
        self._alpha = hinge_share(alpha)
        self._min_margin = positive("min_margin", min_margin)
        self._alpha_mean = share("alpha_mean", alpha_mean)
        self._temperature = positive("temperature", temperature)
        self.register_buffer("_magnitude", torch.tensor(self._min_margin, dtype=torch.float64))

    def value(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The mean over the batch."""
        label = _is_label(logits, labels)
        sharpness = self._sharpness(logits.detach())
        weights = (sharpness * logits).masked_fill(label, -math.inf).softmax(1).masked_fill(label, 1.0)
        signed = torch.where(label, logits, -logits)
        terms = self._alpha * F.relu(self._min_margin / 2 - signed) - (1 - self._alpha) * signed
        return (weights * terms).sum(1).mean()

    def _sharpness(self, logits: Tensor) -> Tensor:
        """The factor s, a scalar on the device of the logits."""
        magnitude = self._alpha_mean * self._magnitude + (1 - self._alpha_mean) * logits.abs().mean()
        if self.training:
            self._magnitude = magnitude.clamp(0.005, 1000)
        return (self._temperature * self._min_margin / magnitude.clamp(min=self._min_margin)).clamp(0.005, 250)


class LseHKRMulticlass(MulticlassLoss):
    """HKR of the label against the log-sum-exp of the other classes.

    With g = temperature * f, o = log(sum over j != y of exp(t g_j)) / t and t = 2 log(K - 1) / (penalty * min_margin),
    the mean of alpha (max(0, min_margin / 2 - g_y) + max(0, min_margin / 2 + o)) - (1 - alpha) (g_y - o). By the choice
    of t, o lies between the largest other logit and that plus penalty * min_margin / 2.

    Library (deel-torchlip ``LseHKRMulticlassLoss``), here without its indexing by a mask, which makes a GPU wait, with
    alpha in double precision, and with o the other logit for K = 2, where the library divides by t = 0 and returns nan.
    Limits: alpha in [0, 1]; min_margin, temperature, penalty > 0; temperature acts as a min_margin / temperature. For
    pixels in 0..255, min_margin is min_margin / 255 here, temperature and penalty are the same.
    """

    name = "lse_hkr_multiclass"
    notation = Notation("LSE-HKR", {"alpha": "α", "min_margin": "m"}, odds=("alpha",))

    def __init__(self, alpha: float, min_margin: float, temperature: float, penalty: float):
        super().__init__()
        self._alpha = hinge_share(alpha)
        self._min_margin = positive("min_margin", min_margin)
        self._temperature = positive("temperature", temperature)
        self._penalty = positive("penalty", penalty)

    def value(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The mean over the batch."""
        scaled = self._temperature * logits
        own, other = _label_logit(scaled, labels), self._other(scaled, labels)
        hinge = F.relu(self._min_margin / 2 - own) + F.relu(self._min_margin / 2 + other)
        return (self._alpha * hinge - (1 - self._alpha) * (own - other)).mean()

    def _other(self, scaled: Tensor, labels: Tensor) -> Tensor:
        """The smooth maximum o of the other classes, (n,)."""
        others = scaled.masked_fill(_is_label(scaled, labels), -math.inf)
        if scaled.shape[1] == 2:
            return others.amax(1)
        sharpness = 2 * math.log(scaled.shape[1] - 1) / (self._penalty * self._min_margin)
        return (sharpness * others).logsumexp(1) / sharpness


class OffsetCrossEntropy(MulticlassLoss):
    """Cross-entropy with an offset and a temperature: temperature * CE((f - offset * onehot(y)) / temperature, y).

    Source: Prach & Lampert (2022, arXiv 2208.03160), offset sqrt(2) and temperature 1/4, on inputs in [0, 1];
    orthogonium's ``LossXent`` has the same formula with offset 3 / sqrt(2). Here the formula itself: that class wants
    the number of classes beforehand, and its import brings all of orthogonium's layers. The label has to lead by the
    offset before its loss falls off: offset = 0 is tau_cross_entropy with tau = 1 / temperature, temperature -> 0 is
    categorical_hinge with min_margin = offset. Values for pixels in 0..255 are both divided by 255 here.
    offset >= 0, temperature > 0.
    """

    name = "offset_cross_entropy"
    notation = Notation("offset CE")

    def __init__(self, offset: float, temperature: float):
        super().__init__()
        self._offset = non_negative("offset", offset)
        self._temperature = positive("temperature", temperature)

    def value(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The mean over the batch."""
        shifted = logits - self._offset * F.one_hot(labels, logits.shape[1]).to(logits.dtype)
        return self._temperature * F.cross_entropy(shifted / self._temperature, labels)


class CertificateRegularizedCrossEntropy(MulticlassLoss):
    """Cross-entropy with certificate regularisation: CE(f, y) - gamma * mean of max(0, certificate).

    Source: Singla, Singla & Feizi (2022, arXiv 2108.04062), certificate = (f_y - max over j != y of f_j) / (sqrt(2) L),
    the radius of correct samples under the Lipschitz constant L of the whole network; misclassified ones do not count.
    Here L = 1, that of a network on inputs in [0, 1]. Theirs are normalised by a standard deviation of 0.2507, so
    L = 1 / 0.2507: with the same preprocessing in the recipe, gamma here is 0.2507 times theirs. Their variant for a
    normalised last layer needs its weights, which a loss does not see. gamma >= 0; gamma = 0 is cross_entropy.
    The loss is not bounded from below, but its gradient is bounded by that of CE plus gamma.
    """

    name = "certificate_regularized_cross_entropy"
    notation = Notation("CE-CR", {"gamma": "γ"})

    def __init__(self, gamma: float):
        super().__init__()
        self._gamma = non_negative("gamma", gamma)

    def value(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The mean over the batch."""
        certificates = F.relu(signed_margin(logits, labels)) / math.sqrt(2)
        return F.cross_entropy(logits, labels) - self._gamma * certificates.mean()
