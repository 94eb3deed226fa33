"""L1xx: the claimed constant against the bound computed from the weights."""

from torch import Tensor

from lipbench._internal.words import at_most
from lipbench.certification.grades import CLAIM_TOLERANCE
from lipbench.certification.head import SQRT2
from lipbench.verification.linter.subject import Subject
from lipbench.verification.linter.table import Remarks, check

CLOSE = 0.05  # bounds have some slack: a factor is recognised to within 5 %
PIXELS = 255.0
PAIRS = 1.01  # a head that exceeds sqrt(2) by less does so as any layer exceeds its norm, not because it needs 2


def is_close(value: float, expected: float) -> bool:
    """True within 5 %."""
    return abs(value / expected - 1) <= CLOSE


@check(
    "L101",
    "the claimed constant lies below the bound computed from the weights",
    "lipbench, docs/certificates.md: grade nominal checks nothing, grade real holds for the weights as they are stored",
)
def _below_bound(subject: Subject) -> Remarks:
    if subject.proof is not None and subject.excess is not None:
        yield (
            "error",
            f"the card claims L = {subject.claimed:.9g}, the weights give the upper bound "
            f"{at_most(subject.proof.bound)}, {subject.excess:.7g} times as much: the claim is not confirmed (an upper "
            "bound alone refutes nothing)",
        )


@check(
    "L102",
    "margins are divided by sqrt(2) L where the head is only 1-Lipschitz for each logit alone",
    "Singla, Singla, Feizi, ICLR 2022, arXiv 2108.04062, on normalised last layers; deel-torchlip 1.0.5 "
    "FrobeniusLinear(disjoint_neurons=True) and orthogonium 0.0.4 UnitNormLinear normalise rows, not the matrix",
)
def _head_factor(subject: Subject) -> Remarks:
    if subject.excess is None or not head_needs_two(subject):
        return
    proof, claim = subject.proof, subject.claimed
    assert proof is not None
    assert claim is not None
    alone = proof.graph.steps[proof.body].lipschitz * proof.head.rows.max().item()
    yield (
        "error",
        f"the claim L = {claim:.9g} is confirmed for each logit alone (at most {at_most(alone, 7)}) but not for the "
        f"network ({at_most(proof.bound, 7)}): two logits may come together by {proof.pairwise.max().item():.7g} per "
        f"unit of input, more than sqrt(2) L = {SQRT2 * claim:.7g}, so margin / (sqrt(2) L) is no radius; divide by "
        "2 L or by the pairwise bounds",
    )


def head_needs_two(subject: Subject) -> bool:
    """True if the claim holds for each logit alone, and some pair of logits needs more than sqrt(2) times it."""
    proof, claim = subject.proof, subject.claimed
    if proof is None or claim is None or not proof.head.operations:
        return False
    limit = claim * (1 + CLAIM_TOLERANCE)
    alone = proof.graph.steps[proof.body].lipschitz * proof.head.rows.max().item()
    return alone <= limit and proof.pairwise.max().item() > SQRT2 * claim * PAIRS


@check(
    "L103",
    "the claimed constant is in units of pixels 0..255",
    "Bethune et al., NeurIPS 2022, arXiv 2104.05097: its experiments feed pixels 0..255, eps here is for [0, 1]",
)
def _pixel_constant(subject: Subject) -> Remarks:
    if subject.excess is not None and is_close(subject.excess, PIXELS):
        yield (
            "error",
            f"the bound is {subject.excess:.5g} times the claim L = {subject.claimed:.7g}, about 255: the claim is for "
            "pixels 0..255, while inputs and eps are in [0, 1]",
        )


@check(
    "L104",
    "the claimed constant leaves the preprocessing out, or divides by another std than the smallest",
    "lipbench, docs/certificates.md: preprocessing is part of the model, its constant is 1 / min std",
)
def _preprocessing(subject: Subject) -> Remarks:
    stds = _stds(subject)
    if not stds:
        return
    smallest = min(stds)
    card = subject.card.preprocessing
    if card is not None and subject.proof is not None and not _normalises(subject, 1 / smallest):
        yield (
            subject.grave,
            f"the card lists a preprocessing with smallest std {smallest:.5g}, but no step of the network has the "
            f"constant {1 / smallest:.5g}: the bound {subject.proof.bound:.7g} leaves it out",
        )
    if subject.excess is None or is_close(subject.excess, PIXELS):
        return
    used = {"the largest std": max(stds), "the mean of the stds": sum(stds) / len(stds), "no std at all": 1.0}
    for words, std in used.items():
        factor = std / smallest
        if not is_close(factor, 1) and is_close(subject.excess, factor):
            yield (
                "error",
                f"the bound is {subject.excess:.5g} times the claim L = {subject.claimed:.7g}: the claim fits {words} "
                f"({std:.5g}) instead of the smallest ({smallest:.5g}), which decides",
            )
            return


def _stds(subject: Subject) -> list[float]:
    """The stds of the preprocessing: the card's, else those of the modules that have an attribute ``std``."""
    if subject.card.preprocessing is not None:
        return list(subject.card.preprocessing.std)
    held = [getattr(module, "std", None) for module in subject.module.modules()]
    values = [value for std in held if isinstance(std, Tensor) for value in std.detach().flatten().abs().tolist()]
    return [value for value in values if value > 0]


def _normalises(subject: Subject, factor: float) -> bool:
    return any(abs(step.effect.lipschitz[0] / factor - 1) < 1e-3 for _, step in subject.steps)
