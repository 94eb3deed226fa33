"""A network without a Lipschitz bound: what stands in for its certificate, and why there is none."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lipbench.certification.certificate import Certificate
from lipbench.certification.grades import GRADES, NOMINAL
from lipbench.certification.head import SQRT2
from lipbench.certification.rounding import ROUND_DOWN, ROUND_UP, StepErrors


@dataclass(frozen=True)
class Uncertified:
    """In place of the ``Certificate`` of a network without a bound: no radius but the nominal ones of its claim.

    It answers as a certificate does, so that nobody asks which of the two it is: radii that nothing proves are NaN.
    """

    no_certificate: str  # why
    claimed: float | None  # the constant on the card
    input_shape: tuple[int, ...]
    single_logit: bool  # a head with one logit f, shown as (-f/2, f/2)
    bound: None = None
    claim_confirmed: None = None
    not_analysed: None = None
    errors: None = None
    output_error: None = None

    @property
    def diameter(self) -> float:
        """sqrt(d): no two inputs of [0, 1]^d lie further apart."""
        return math.sqrt(math.prod(self.input_shape))

    def signed_margins(self, logits: Tensor, classes: Tensor) -> Tensor:
        """NaN, float64 (n,): margins have no unit of the input. logits: float64 (n, K); classes: int64 (n,)."""
        return torch.full_like(logits[:, 0], torch.nan)

    def pairwise_radii(
        self, logits: Tensor, labels: Tensor, grade: str = "real", errors: StepErrors | None = None
    ) -> Tensor:
        """How far each sample can be moved, in L2, before class j can outrank the label: float64 (n, K).

        NaN, but for grade nominal with a claim L: (f_i - f_j) / (sqrt(2) L), or (f_i - f_j) / L for a single logit, as
        in ``Certificate``. logits: float64 (n, K); labels: int64 (n,).
        """
        if grade != NOMINAL.name or self.claimed is None:
            return torch.full_like(logits, torch.nan)
        constant = self.claimed if self.single_logit else SQRT2 * self.claimed
        margins = logits.gather(1, labels[:, None]) - logits
        radius = margins / (constant * ROUND_UP) * ROUND_DOWN
        return torch.where(margins > 0, radius, 0.0).scatter(1, labels[:, None], torch.inf)

    def radii(self, logits: Tensor, labels: Tensor, grade: str = "real", errors: StepErrors | None = None) -> Tensor:
        """As ``pairwise_radii``, to the nearest class: float64 (n,)."""
        return self.pairwise_radii(logits, labels, grade).amin(dim=1)

    def radii_of(self, x: Tensor, logits: Tensor, labels: Tensor, grades: Sequence[str] = GRADES) -> dict[str, Tensor]:
        """``radii`` of samples x (n, ...) by grade."""
        return {grade: self.radii(logits, labels, grade) for grade in grades}

    def sample_errors(self, x: Tensor) -> None:
        """None: rounding errors are unknown."""
        return


Proof = Certificate | Uncertified
