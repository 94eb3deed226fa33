"""Certified radii: the L2 distance that every input can be moved before its class can change.

With f = W g, a body g of Lipschitz bound L_g and a last linear layer W of rows w_i, a sample predicted i has

    radius = min over j != i of (f_i - f_j - E_ij) / L_ij,      L_ij = L_g |w_i - w_j|_2

(Tsuzuku, Sato, Sugiyama, NeurIPS 2018, arXiv 1802.04034, for the margin; Singla, Singla, Feizi, ICLR 2022,
arXiv 2108.04062, for the last layer), which is never looser than margin / (sqrt(2) L) but for E_ij. A sample is
certified at eps where its radius is above eps; ``grades`` defines what each grade holds for. This module computes

    float     E_ij bounds the rounding errors of both logits, at the sample and at every point of the ball
              (``rounding``); rounded down; a tie is never certified
    real      L from the stored weights; E_ij bounds the rounding errors of the sample's own logits, in the arithmetic
              that they were computed in; rounded down
    nominal   margin / (sqrt(2) L), with L the claim; a margin that may be a rounding error of float64 counts as 0

Two identical rows of the last layer have L_ij = 0, and the difference of their logits is that of their biases for every
input. For every grade it is read off the weights, since only rounding errors separate two equal logits. Where a layer
has no error analysis, grades real and nominal assume that it is computed to ``range_errors.ASSUMED`` roundings.
"""

import contextlib
import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from lipbench.certification.grades import CLAIM_TOLERANCE, GRADES
from lipbench.certification.head import SQRT2, Head, head_of
from lipbench.certification.lipschitz import trace
from lipbench.certification.lipschitz.graph import Graph
from lipbench.certification.probabilities import refuse_squashed
from lipbench.certification.range_errors import range_errors, with_assumed_roundings
from lipbench.certification.rounding import (
    ROUND_DOWN,
    ROUND_UP,
    TINY,
    UP,
    NotAnalysed,
    StepErrors,
    analyse,
    gamma,
    unit_roundoff,
)
from lipbench.errors import LipbenchError, UnsupportedError, quoted


@dataclass(frozen=True)
class Certificate:
    """The Lipschitz bounds of one network, its rounding errors, and the radii that follow."""

    pairwise: Tensor  # float64 (K, K), L_ij for the logit differences f_i - f_j, zero on the diagonal
    bound: float  # of the whole network
    claimed: float | None  # the constant on the card
    head: Head
    graph: Graph = field(repr=False)
    body: int  # the step that the head takes
    dtype: torch.dtype = torch.float64
    errors: StepErrors | None = None  # of the body, at every point of [0, 1]^d; None where no analysis is known
    output_error: float | None = None  # of all outputs together (L2), at every point of [0, 1]^d; None as above
    not_analysed: str | None = None  # why ``errors`` is None
    # for the grades of exact arithmetic: ``errors``, or those of ``assumed``; None where nothing is known, as under
    # autocast: then grade real certifies nothing
    exact_errors: StepErrors | None = None
    # the graph with ``ASSUMED`` roundings for each layer without an error analysis; None where all have one
    assumed: Graph | None = field(default=None, repr=False)

    @property
    def no_certificate(self) -> None:
        """Why there is none: there is one. See ``uncertified``."""
        return

    @property
    def single_logit(self) -> bool:
        """True for a head with one logit f, shown as (-f/2, f/2)."""
        return self.graph.output.shape == (1,)

    @property
    def claim_confirmed(self) -> bool | None:
        """True if the computed bound is within the claim, None without a claim. False refutes nothing by itself."""
        return None if self.claimed is None else self.bound <= self.claimed * (1 + CLAIM_TOLERANCE)

    @property
    def diameter(self) -> float:
        """sqrt(d): no two inputs of [0, 1]^d lie further apart, so that no ``float`` radius is larger."""
        return math.sqrt(math.prod(self.graph.steps[0].shape))

    @cached_property
    def nominal_pairwise(self) -> Tensor | None:
        """L_ij that the claim implies: sqrt(2) L for several logits, L for the logits (-f/2, f/2) of a single one."""
        if self.claimed is None:
            return None
        constant = self.claimed if self.single_logit else SQRT2 * self.claimed
        return torch.full_like(self.pairwise, constant).fill_diagonal_(0)

    def signed_margins(self, logits: Tensor, classes: Tensor) -> Tensor:
        """Min over j != i of (f_i - f_j) / L_ij: float64 (n,), negative where class i is not predicted.

        logits: float64 (n, K); classes i: int64 (n,). In units of the input, L2. Its mean with the labels for classes
        is the mean certifiable robustness (MCR). A difference within its rounding errors counts as 0, one of identical
        rows as infinitely far from 0 unless it is 0.
        """
        margins, error = self._margins(logits, classes, None)
        distances = self.pairwise.to(logits)[classes]
        quotients = torch.where(self._settled(margins, error), margins / distances, 0.0)
        return quotients.scatter(1, classes[:, None], torch.inf).amin(dim=1)

    def _margins(self, logits: Tensor, classes: Tensor, errors: StepErrors | None) -> tuple[Tensor, Tensor]:
        """f_i - f_j in exact arithmetic for given classes i and all j, and a bound of its error: float64 (n, K) each.

        For identical rows it is the difference of their biases, without an error. An error of inf: nothing is known.
        """
        same, held = self._identical(logits, classes)
        margins = torch.where(same, held, logits.gather(1, classes[:, None]) - logits)
        known = errors or self.exact_errors
        if known is None:
            return margins, torch.full_like(margins, torch.inf).masked_fill(same, 0.0)
        return margins, self.difference_errors(classes, known)[0].to(logits).masked_fill(same, 0.0)

    def _identical(self, logits: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Where the rows of given classes i and of j are the same, bool (n, K); b_i - b_j, float64 (n, K)."""
        spread, bias = self.head.spread.to(logits), self.head.bias.to(logits)
        return spread[classes] == 0, bias[classes][:, None] - bias

    def _settled(self, margins: Tensor, error: Tensor) -> Tensor:
        """Where a difference is larger than its rounding error in float64, so that its sign is settled: bool (n, K).

        For grade nominal and the signed margins. Papers compute both in float32 too, whose errors they do not cover.
        """
        in_float64 = error * (unit_roundoff(torch.float64) / unit_roundoff(self.dtype))
        return margins.abs() > in_float64.nan_to_num(posinf=0.0)

    def radii(self, logits: Tensor, labels: Tensor, grade: str = "real", errors: StepErrors | None = None) -> Tensor:
        """Certified L2 radii: float64 (n,), 0 where misclassified or tied; arguments as for ``pairwise_radii``."""
        return self.pairwise_radii(logits, labels, grade, errors).amin(dim=1)

    def pairwise_radii(
        self, logits: Tensor, labels: Tensor, grade: str = "real", errors: StepErrors | None = None
    ) -> Tensor:
        """How far each sample can be moved, in L2, before class j can outrank the label: float64 (n, K).

        0 where class j outranks it already, or is tied; inf for the label itself, and for a class that is never
        reached. No targeted attack closer than that can succeed.

        logits: float64 (n, K), as computed in the certificate's dtype; labels: int64 (n,); grade: "float",
        "real" or "nominal"; errors: of each sample, from ``sample_errors`` (by default those of the whole input range).
        NaN for nominal without a claim, and for float without an error analysis.
        """
        if grade not in GRADES:
            raise LipbenchError(f"unknown grade {quoted(grade)}: expected {', '.join(GRADES)}")
        if grade == "float":
            return self._float_radii(logits, labels, errors)
        pairwise = self.pairwise if grade == "real" else self.nominal_pairwise
        if pairwise is None:
            return torch.full_like(logits, torch.nan)
        margins, error = self._margins(logits, labels, errors)
        real = margins * ROUND_DOWN - error * ROUND_UP
        left = real if grade == "real" else margins.masked_fill(~self._settled(margins, error), 0.0)
        radius = left / (pairwise.to(logits)[labels] * ROUND_UP) * ROUND_DOWN
        return torch.where(left > 0, radius, 0.0).scatter(1, labels[:, None], torch.inf)

    def radii_of(self, x: Tensor, logits: Tensor, labels: Tensor, grades: Sequence[str] = GRADES) -> dict[str, Tensor]:
        """``radii`` of samples x (n, ...) by grade, with the errors of each sample where the dtype is float32.

        In float64 the errors of the whole range cost nothing, and are some 1e-11 of a radius.
        """
        errors = self.sample_errors(x) if self.dtype is torch.float32 else None
        return {grade: self.radii(logits, labels, grade, errors) for grade in grades}

    def _float_radii(self, logits: Tensor, labels: Tensor, errors: StepErrors | None) -> Tensor:
        if self.errors is None:
            return torch.full_like(logits, torch.nan)
        constant, slope = self.difference_errors(labels, errors or self.errors)
        margins = (logits.gather(1, labels[:, None]) - logits) * ROUND_DOWN
        # once for the sample's own logits, once for those of the point it is moved to
        left = margins - 2 * constant.to(logits) * ROUND_UP
        radius = left / ((self.pairwise.to(logits)[labels] + slope.to(logits)) * ROUND_UP) * ROUND_DOWN
        same, held = self._identical(logits, labels)
        radius = torch.where((left > 0) & ~(same & (held <= 0)), radius, 0.0).clamp_max(self.diameter * ROUND_DOWN)
        return radius.scatter(1, labels[:, None], torch.inf)

    def difference_errors(self, classes: Tensor, errors: StepErrors) -> tuple[Tensor, Tensor]:
        """Bounds of the error of f_i - f_j for given i and all j: constant (n, K) and slope (n, K), per unit of rho."""
        head = self.head
        classes = classes.cpu()
        factor = gamma(head.operations, self.dtype) if head.operations else 0.0
        spread, rows = head.spread[classes], head.rows[classes][:, None] + head.rows
        bias = head.bias[classes].abs()[:, None] + head.bias.abs()
        tiny = head.underflows * torch.finfo(self.dtype).tiny
        constant = spread * errors.constant.cpu()[:, None] + factor * (rows * errors.size.cpu()[:, None] + bias) + tiny
        slope = spread * errors.slope + factor * rows * errors.growth
        return constant * UP + TINY, slope * UP + TINY

    def sample_errors(self, x: Tensor, batch_size: int = 1000, *, sharp: bool = True) -> StepErrors | None:
        """The rounding errors around each sample, tighter than those of the whole range; None where unknown.

        x: float32 (n, ...), on the network's device; sharp: see ``rounding.analyse``. Where a layer has no error
        analysis, they are those of ``assumed``, which grade float does not use.
        """
        graph = self.graph if self.errors is not None else self.assumed
        if graph is None:
            return None
        parts = [
            analyse(graph, part.to(self.dtype), (self.body,), self.diameter, sharp=sharp)[0]
            for part in x.split(batch_size)
        ]
        constant = torch.cat([part.constant.cpu() for part in parts])
        return replace(parts[0], constant=constant, size=torch.cat([part.size.cpu() for part in parts]))


def certificate(
    module: nn.Module,
    input_shape: Sequence[int],
    claimed: float | None = None,
    dtype: torch.dtype | None = None,
) -> Certificate:
    """Bound a network, pairwise in its last linear layer, and its rounding errors in the dtype that it runs in.

    module: outputs logits (n, K), or (n, 1) for a single-logit head; input_shape: of one input; dtype: float32 or
    float64, by default that of its weights (float64 for a network without weights). Raises LipbenchError for a
    claim that is not a finite number above 0, for outputs that are no logits, and all that ``lipschitz_bound`` raises.
    """
    claimed = checked_claim(claimed)
    graph = trace(module, tuple(int(size) for size in input_shape))
    output = graph.output
    if len(output.shape) != 1:
        raise LipbenchError(f"expected logits of shape (n, classes), the network gives (n, {output.shape})")
    if not math.isfinite(output.lipschitz):
        raise LipbenchError(
            f"the Lipschitz bound of the network is {output.lipschitz}: its weights are too large for float64"
        )
    body, head = head_of(graph)
    like = _like_its_weights(module, dtype)
    refuse_squashed(graph, like)
    pairwise = _pairwise(head, graph.steps[body].lipschitz)
    return _with_errors(Certificate(pairwise, output.lipschitz, claimed, head, graph, body, like.dtype), like.device)


def checked_claim(claimed: float | None) -> float | None:
    """The claimed constant as float. Raises LipbenchError unless it is a finite number above 0, or None."""
    number = isinstance(claimed, numbers.Real) and not isinstance(claimed, bool)
    if claimed is not None and not (number and 0 < claimed < math.inf):
        raise LipbenchError(f"a claimed Lipschitz constant is a finite number above 0, got {quoted(claimed)}")
    return None if claimed is None else float(claimed)


def _like_its_weights(module: nn.Module, dtype: torch.dtype | None) -> Tensor:
    """A number, (), of the type and on the device of a network's weights, or of the given type.

    Raises UnsupportedError for types other than float32 and float64.
    """
    held = [tensor for tensor in (*module.parameters(), *module.buffers()) if tensor.is_floating_point()]
    like = held[0] if held else torch.zeros((), dtype=torch.float64)
    dtype = dtype or like.dtype
    for kind in (dtype, *(tensor.dtype for tensor in held)):
        if kind not in (torch.float32, torch.float64):
            raise UnsupportedError(f"the network's weights are {kind}: certificates are for float32 and float64")
    return torch.zeros((), dtype=dtype, device=like.device)


def _pairwise(head: Head, lipschitz: float) -> Tensor:
    """L_ij, float64 (K, K), for a body of this bound. A product of small numbers that are not 0 is not 0."""
    if not lipschitz > 0:
        return torch.zeros_like(head.spread)
    product = (head.spread * lipschitz * ROUND_UP).clamp_min(TINY)
    return torch.where(head.spread > 0, product, 0.0)


def _with_errors(proof: Certificate, device: torch.device) -> Certificate:
    """The certificate with its rounding errors, as far as they are known."""
    try:
        errors, output_error = range_errors(proof.graph, proof.body, proof.dtype, device)
        return replace(proof, errors=errors, output_error=output_error, exact_errors=errors)
    except NotAnalysed as error:
        proof = replace(proof, not_analysed=str(error))
    with contextlib.suppress(NotAnalysed):
        assumed = with_assumed_roundings(proof.graph, proof.dtype, device)
        errors, _ = range_errors(assumed, proof.body, proof.dtype, device)
        return replace(proof, exact_errors=errors, assumed=assumed)
    return proof
