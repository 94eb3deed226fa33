"""L3xx: units of inputs, eps, margins and hyperparameters; ties."""

from lipbench._internal.words import count
from lipbench.certification.certificate import Certificate
from lipbench.verification.linter.checks.constants import PIXELS
from lipbench.verification.linter.subject import Subject
from lipbench.verification.linter.table import Remarks, check

PAPER = "Bethune et al., NeurIPS 2022, arXiv 2104.05097, feeds pixels 0..255: its m is m / 255 here, its tau 255 tau"
SMALL_TAU = 0.1  # the two smallest of the paper's Pareto front are .05 and .1, on pixels 0..255
LARGE_TAU = 1e4  # its largest, 3 there, is 765 here; a larger one was multiplied by 255 twice


@check("L301", "the inputs do not lie in [0, 1]", PAPER)
def _inputs(subject: Subject) -> Remarks:
    if subject.x is None or subject.x.numel() == 0:
        return
    x = subject.x.float()
    low, high = (value.item() for value in x.aminmax())
    if low < -1e-6 or high > 1 + 1e-6:
        pixels = "; all are integers: pixels 0..255" if high > 1 and bool((x == x.round()).all()) else ""
        yield (
            "error",
            f"the inputs lie in [{low:.5g}, {high:.5g}]{pixels}: eps, radii and clipping are for [0, 1], so move the "
            "scaling into the model",
        )


@check("L302", "the network divides its inputs by 255", PAPER)
def _divides(subject: Subject) -> Remarks:
    for name, step in subject.steps:
        if abs(step.effect.lipschitz[0] * PIXELS - 1) < 1e-3:
            yield (
                "warning",
                f"{name} has constant 1 / 255: the network seems to take pixels 0..255, and the card says "
                f"{list(subject.card.input_range)}",
            )
            return


@check("L303", "an eps is larger than the diameter of the inputs' range", PAPER)
def _eps(subject: Subject) -> Remarks:
    beyond = [eps for eps in subject.eps if eps > subject.diameter]
    if beyond:
        yield (
            "warning",
            f"eps = {max(beyond):g} is above sqrt(d) = {subject.diameter:.5g}, the largest L2 distance in [0, 1]^d: on "
            f"pixels 0..255 it would be {max(beyond) / PIXELS:.4g} here",
        )


@check("L304", "nominal radii are larger than the diameter of the inputs' range", PAPER)
def _radii(subject: Subject) -> Remarks:
    logits, proof = subject.logits, subject.proof
    if logits is None or proof is None or subject.claimed is None or logits.shape[1] != len(proof.pairwise):
        return
    classes = logits.argmax(dim=1) if subject.labels is None else subject.labels.cpu()
    radii = proof.radii(logits, classes, "nominal")
    beyond = radii > subject.diameter
    if beyond.any():
        yield (
            "warning",
            f"{int(beyond.sum())} of {len(radii)} nominal radii are above sqrt(d) = {subject.diameter:.5g}, up to "
            f"{radii.max().item():.5g}: no input in [0, 1]^d lies so far away: margins or claim are on another scale",
        )


@check(
    "L305",
    "samples with two equal largest logits",
    "Jin, Ohrimenko, Rubinstein, arXiv 2205.10159: a tie is broken by rounding; lipbench certifies none",
)
def _ties(subject: Subject) -> Remarks:
    if subject.logits is None or subject.logits.shape[1] < 2:
        return
    top = subject.logits.topk(2, dim=1).values
    tied = (top[:, 0] == top[:, 1]).nonzero().flatten().tolist()
    if tied:
        yield (
            "warning",
            f"{len(tied)} of {len(top)} samples have two equal largest logits (first: sample {tied[0]}): ties are "
            "never certified",
        )


@check(
    "L306",
    "two rows of the head are identical",
    "lipbench, docs/certificates.md, Radii and their grades: L_ij = L_g |w_i - w_j|, which is 0 for identical rows",
)
def _identical_rows(subject: Subject) -> Remarks:
    proof: Certificate | None = subject.proof
    if proof is None or not proof.head.operations:
        return
    pairs = [(i, j) for i, j in (proof.head.spread == 0).nonzero().tolist() if i < j]
    if pairs:
        i, j = pairs[0]
        yield (
            "warning",
            f"{count(len(pairs), 'pair')} of rows of the head are identical (first: classes {i}, {j}): the difference "
            "of their logits is the same for every input",
        )


@check(
    "L307",
    "alpha of an HKR loss outside [0, 1]",
    "deel-torchlip 1.0.5 HKRLoss: alpha in [0, 1], and above 1 it becomes alpha / (1 + alpha); the paper's (Serrurier "
    "et al., CVPR 2021, arXiv 2006.06520) is of the second kind",
)
def _alpha(subject: Subject) -> Remarks:
    loss = subject.card.loss
    alpha = loss.hyperparameters.get("alpha")
    if alpha is None or "hkr" not in loss.name.lower() or 0 <= alpha <= 1:
        return
    meant = f"deel-torchlip takes it for {alpha / (1 + alpha):.5g}" if alpha > 1 else "no convention has such a value"
    yield "warning", f"alpha = {alpha:g} of {loss.name} is outside [0, 1]: {meant}"


@check("L308", "a temperature tau in units of pixels 0..255, or not above 0", PAPER)
def _tau(subject: Subject) -> Remarks:
    tau = subject.card.loss.hyperparameters.get("tau")
    if tau is None or SMALL_TAU < tau <= LARGE_TAU:
        return
    if tau <= 0:
        yield "warning", f"tau = {tau:g} is not above 0: the loss has no meaning"
    elif tau <= SMALL_TAU:
        yield (
            "warning",
            f"tau = {tau:g} looks like a value for pixels 0..255, which is {tau * PIXELS:.5g} on [0, 1]; here it is "
            "the limit of the KR loss",
        )
    else:
        yield (
            "warning",
            f"tau = {tau:g} looks multiplied by 255 once too often: it would be {tau / PIXELS:.5g} on [0, 1]",
        )


@check("L309", "a margin of the loss larger than any that the network can have", PAPER)
def _margin(subject: Subject) -> Remarks:
    margin = subject.card.loss.hyperparameters.get("min_margin")
    limit = subject.diameter * (subject.claimed or 1.0)
    if margin is None or 0 < margin <= limit:
        return
    if margin <= 0:
        yield "warning", f"min_margin = {margin:g} is not above 0: the loss asks for no margin"
    else:
        yield (
            "warning",
            f"min_margin = {margin:g} is above L sqrt(d) = {limit:.5g}, the most that a logit changes over [0, 1]^d; "
            f"as a value for pixels 0..255 it is {margin / PIXELS:.4g} here",
        )
