"""Certified radii: how far every input can be moved, in L2, before the class can change.

With f = W g, a body g of Lipschitz bound L_g and a last linear layer W of rows w_i, a sample predicted i has

    radius = min over j != i of (f_i - f_j) / L_ij,      L_ij = L_g |w_i - w_j|_2

(Tsuzuku, Sato, Sugiyama, NeurIPS 2018, arXiv 1802.04034, for the margin; Singla, Singla, Feizi, ICLR 2022,
arXiv 2108.04062, for the last layer), which is never looser than margin / (sqrt(2) L). Grades:

    real      holds in exact arithmetic: L from the stored weights; evaluated in float64
    nominal   holds if the constant claimed on the card is true: margin / (sqrt(2) L); nothing is checked
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from lipbench.errors import LipbenchError
from lipbench.lipschitz import flatten, layer_bound, layers, lipschitz_bound
from lipbench.network import Network

SQRT2 = 2.0**0.5
CLAIM_TOLERANCE = 3e-6  # float32 weights that are orthogonal by construction end about 1.5e-7 above 1 per dense layer
ROUND_UP = 1 + 4 * 2.0**-53


@dataclass(frozen=True)
class Certificate:
    """The Lipschitz bounds of one network, and the radii that follow.

    pairwise: float64 (K, K), L_ij for the logit differences f_i - f_j, zero on the diagonal;
    bound: float, of the whole network; claimed: float or None, the constant on the card.
    """

    pairwise: Tensor
    bound: float
    claimed: float | None = None
    single_logit: bool = False

    @property
    def claim_confirmed(self) -> bool | None:
        """True if the computed bound is within the claim, None without a claim. False refutes nothing by itself."""
        return None if self.claimed is None else self.bound <= self.claimed * (1 + CLAIM_TOLERANCE)

    @cached_property
    def nominal_pairwise(self) -> Tensor | None:
        """L_ij that the claim implies: sqrt(2) L for several logits, L for the logits (-f/2, f/2) of a single one."""
        if self.claimed is None:
            return None
        constant = self.claimed if self.single_logit else SQRT2 * self.claimed
        return torch.full_like(self.pairwise, constant).fill_diagonal_(0)

    def signed_margins(self, logits: Tensor, classes: Tensor, pairwise: Tensor | None = None) -> Tensor:
        """Min over j != i of (f_i - f_j) / L_ij: float64 (n,), negative where class i is not predicted.

        logits: float64 (n, K); classes i: int64 (n,); pairwise: (K, K), the computed one by default. In units of the
        input, L2. Its mean with the labels for classes is the mean certifiable robustness (MCR).
        """
        table = (self.pairwise if pairwise is None else pairwise).to(logits)[classes]
        margins = logits.gather(1, classes[:, None]) - logits
        # a pair of identical rows has L_ij = 0: the sign of the difference then holds everywhere, a tie nowhere
        quotients = torch.where(margins == 0, 0.0, margins / table)
        return quotients.scatter(1, classes[:, None], torch.inf).amin(dim=1)

    def radii(self, logits: Tensor, labels: Tensor, grade: str = "real") -> Tensor:
        """Certified L2 radii: float64 (n,), 0 where misclassified or tied, NaN for nominal without a claim.

        logits: float64 (n, K); labels: int64 (n,); grade: "real" or "nominal".
        """
        if grade not in ("real", "nominal"):
            raise LipbenchError(f"unknown grade {grade!r}: expected real or nominal")
        pairwise = self.pairwise if grade == "real" else self.nominal_pairwise
        if pairwise is None:
            return torch.full((len(labels),), torch.nan, dtype=torch.float64)
        return self.signed_margins(logits, labels, pairwise).clamp_min(0)


def certificate(module: nn.Module, input_shape: Sequence[int], claimed: float | None = None) -> Certificate:
    """Bound a chain of layers, pairwise in its last linear layer. See ``lipschitz.lipschitz_bound`` for what is raised.

    module: outputs logits (n, K), or (n, 1) for a single-logit head; input_shape: (c, h, w).
    """
    if claimed is not None and not (math.isfinite(claimed) and claimed > 0):
        raise LipbenchError(f"a claimed Lipschitz constant is a finite number above 0, got {claimed}")
    shape = tuple(int(size) for size in input_shape)
    chain = list(flatten(module))
    if not chain or type(chain[-1]) is not nn.Linear:
        return _no_linear_head(module, shape, claimed)
    body = 1.0
    for layer, size in list(layers(module, shape))[:-1]:
        body *= layer_bound(layer, size) * ROUND_UP
    bound = _finite(lipschitz_bound(module, shape))
    weight = chain[-1].weight.detach().double()
    if len(weight) == 1:
        return Certificate(_two_logits(bound), bound, claimed, single_logit=True)
    differences = (weight[:, None] - weight[None]).norm(dim=2)
    rounding = 1 + (weight.shape[1] + 10) * 2.0**-53  # of the norm: gamma_n, Higham 2002, section 3.1
    return Certificate((differences * body * rounding).cpu(), bound, claimed)


def _no_linear_head(module: nn.Module, shape: tuple[int, ...], claimed: float | None) -> Certificate:
    """A chain that does not end in a linear layer: |f_i - f_j| <= sqrt(2) |f|, so L_ij = sqrt(2) L."""
    bound = _finite(lipschitz_bound(module, shape))
    network = Network(module, (shape[0], shape[1], shape[2]))
    if network.single_logit:
        return Certificate(_two_logits(bound), bound, claimed, single_logit=True)
    classes = network.num_classes
    return Certificate(
        torch.full((classes, classes), SQRT2 * bound * ROUND_UP).double().fill_diagonal_(0), bound, claimed
    )


def _finite(bound: float) -> float:
    if not math.isfinite(bound):
        raise LipbenchError(f"the Lipschitz bound of the network is {bound}: its weights are too large for float64")
    return bound


def _two_logits(bound: float) -> Tensor:
    """L_ij of (-f/2, f/2): the difference is f itself."""
    return torch.tensor([[0.0, bound], [bound, 0.0]], dtype=torch.float64)
