"""Losses of single-logit heads: logits f (n, 1), labels 0 and 1; below, y = +1 for the label 1 and y = -1 for 0."""

from deel.torchlip import HingeMarginLoss, HKRLoss, KRLoss, TauBCEWithLogitsLoss
from torch import Tensor

from lipbench.training.losses.base import BinaryLoss, hinge_share, positive
from lipbench.training.notation import Notation


class TauBinaryCrossEntropy(BinaryLoss):
    """Binary cross-entropy with temperature: the mean of log(1 + exp(-tau y f)) / tau.

    Library (deel-torchlip ``TauBCEWithLogitsLoss``): the division by tau keeps the size of gradients. Paper (Bethune
    et al. 2022, section 2): log(1 + exp(-tau y f)), the same minimisers. tau -> 0 maximises the mean of y f, which is
    half of KR on balanced classes; tau -> infinity is max(0, -y f), the perceptron's. It is tau_cross_entropy on the
    logits (-f / 2, f / 2). The paper's tau on pixels 0..255 is 255 tau here. tau > 0.
    """

    name = "tau_binary_cross_entropy"
    notation = Notation("BCE", {"tau": "τ"})

    def __init__(self, tau: float):
        super().__init__(TauBCEWithLogitsLoss(positive("tau", tau)))


class HingeBinary(BinaryLoss):
    """Hinge loss: the mean of max(0, min_margin / 2 - y f).

    Library (deel-torchlip ``HingeMarginLoss``): half of the margin on each side of the boundary. Paper (Bethune et al.
    2022): max(0, m - y f), so min_margin is twice its m, and its m = 36 on pixels 0..255 is min_margin = 72 / 255 here.
    On a 1-Lipschitz network a loss of 0 certifies the radius min_margin / 2. min_margin -> 0 is accuracy: max(0, -y f).
    min_margin > 0.
    """

    name = "hinge_binary"
    notation = Notation("binary hinge", {"min_margin": "m"})

    def __init__(self, min_margin: float):
        super().__init__(HingeMarginLoss(min_margin=positive("min_margin", min_margin)))


class HKRBinary(BinaryLoss):
    """Hinge-regularised Kantorovich-Rubinstein loss: alpha * hinge_binary + (1 - alpha) * kr_binary.

    Library (deel-torchlip ``HKRLoss``): alpha in [0, 1]; 0 is KR, 1 is hinge. Paper (Serrurier et al. 2021, arXiv
    2006.06520): KR + alpha_s * hinge, so alpha = alpha_s / (1 + alpha_s). Paper (Bethune et al. 2022): the mean of
    -y f + alpha_p max(0, m - y f), whose first term is half of KR on balanced classes, so
    alpha = 2 alpha_p / (1 + 2 alpha_p): 5, 10, 100 are 0.9091, 0.9524, 0.9950. min_margin > 0 is twice its m, and its
    m = 20 on pixels 0..255 is min_margin = 40 / 255 here; alpha does not depend on the range of pixels.
    """

    name = "hkr_binary"
    notation = Notation("binary HKR", {"alpha": "α", "min_margin": "m"}, odds=("alpha",))

    def __init__(self, alpha: float, min_margin: float):
        super().__init__(HKRLoss(alpha=hinge_share(alpha), min_margin=positive("min_margin", min_margin)))


class KRBinary(BinaryLoss):
    """Kantorovich-Rubinstein loss: -(E[f | y = 1] - E[f | y = -1]), expectations over the batch.

    Library (deel-torchlip ``KRLoss``) returns the quantity to be maximised; here it is negated. Over all 1-Lipschitz f
    the best value is minus the Wasserstein-1 distance of the two classes (the WGAN discriminator). Paper (Bethune et
    al. 2022): minus the mean of y f, which is half of it on balanced classes. A batch of one class only has one of the
    two terms. Pixels in 0..255 multiply it by 255.
    """

    name = "kr_binary"
    notation = Notation("binary KR")

    def __init__(self) -> None:
        super().__init__(KRLoss())

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Minus KR of the batch, a scalar. logits: float (n, 1); labels: int64 (n,), 0 or 1."""
        return -super().forward(logits, labels)
