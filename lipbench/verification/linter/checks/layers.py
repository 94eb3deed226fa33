"""L2xx: which layers have no rule, and which explain a bound above the claim."""

import math
from collections.abc import Iterator

from torch import Tensor, nn

from lipbench._internal.randomness import keeping_random_numbers
from lipbench._internal.words import count, shown
from lipbench.certification.certificate import certificate
from lipbench.certification.grades import CLAIM_TOLERANCE
from lipbench.certification.lipschitz.graph import Step
from lipbench.errors import LipbenchError
from lipbench.verification.linter.checks.constants import head_needs_two, is_close
from lipbench.verification.linter.subject import Subject
from lipbench.verification.linter.table import UNBOUNDED, Remarks, check, unbounded

REPEATING = ("reflect", "replicate", "symmetric")
LINEAR = nn.Linear | nn.Conv1d | nn.Conv2d | nn.ConvTranspose1d | nn.ConvTranspose2d
SLIGHTLY = (1 + 1e-5, 1.5)  # norms that a power iteration leaves when it is stopped early
ROW = 1e-4


@check(
    UNBOUNDED,
    "the network cannot be bounded: a layer or function without a rule, or a forward that cannot be traced",
    "lipbench, docs/certificates.md: a layer without a rule is an error that names the layer; it never counts as 1",
)
def _no_rule(subject: Subject) -> Remarks:
    if subject.proof is not None:
        return
    if subject.no_certificate is not None:
        yield subject.grave, unbounded(LipbenchError(subject.no_certificate))
        return
    try:
        with keeping_random_numbers(subject.weight.device):
            certificate(subject.module, subject.card.input_shape)
    except LipbenchError as error:
        yield subject.grave, unbounded(error)


@check(
    "L202",
    "padding that repeats inputs, or a pool with ceil_mode, has a norm above 1",
    "deel-torchlip 1.0.5: SpectralConv2d(padding_mode='reflect') has operator norm 1.333, 'replicate' with k = 5 1.2, "
    "pools with ceil_mode=True up to 4",
)
def _padding(subject: Subject) -> Remarks:
    if subject.proof is None and subject.claimed is not None:
        names = [
            f"{name} ({type(module).__name__}, {kind})"
            for name, module in subject.module.named_modules()
            if (kind := _repeats(module))
        ]
        if names:
            yield "warning", f"{shown(names)} may have a norm above 1, which the claim does not show"
    if subject.excess is None:
        return
    for name, step in _repeating(subject):
        yield (
            "error",
            f"{name} has constant {step.effect.lipschitz[0]:.7g} through its {_kind(step)}: the claim "
            f"L = {subject.claimed:.7g} is not confirmed (bound {subject.excess:.7g} times as large)",
        )


def _repeating(subject: Subject) -> Iterator[tuple[str, Step]]:
    for name, step in subject.steps:
        if _kind(step) and step.effect.lipschitz[0] > 1 + CLAIM_TOLERANCE:
            yield name, step


def _kind(step: Step) -> str | None:
    if step.layer is None:
        return "padding, which repeats inputs" if step.name == "pad" else None
    return _repeats(step.layer)


def _repeats(module: nn.Module) -> str | None:
    """How a layer uses some inputs more than once."""
    mode = str(getattr(module, "old_padding_mode", getattr(module, "padding_mode", "zeros")))
    padding = getattr(module, "old_padding", getattr(module, "padding", 0))
    if mode in REPEATING and padding not in (0, (0,), (0, 0), "valid"):
        return f"{mode} padding"
    if type(module).__name__.startswith(("ReflectionPad", "ReplicationPad")):
        return "padding, which repeats inputs"
    return "ceil_mode" if getattr(module, "ceil_mode", False) is True else None


@check(
    "L203",
    "a residual sum without its factor 1/2",
    "Gouk, Frank, Pfahringer, Cree, Machine Learning 110 (2021), arXiv 1804.04368: the constants of a sum's terms "
    "add up, x + f(x) has 1 + L_f",
)
def _residual(subject: Subject) -> Remarks:
    if subject.excess is None or not 1.5 < subject.excess < math.inf:
        return
    sums = [name for name, step in subject.steps if _doubles(subject, step)]
    doublings = round(math.log2(subject.excess))
    if 1 <= doublings <= len(sums) and is_close(subject.excess, 2.0**doublings):
        yield (
            "warning",
            f"the bound is {subject.excess:.5g} times the claim, about 2^{doublings}, and the constant doubles in "
            f"{count(len(sums), 'sum')} of branches ({shown(sums)}): a residual block of constant 1 is (x + f) / 2",
        )


def _doubles(subject: Subject, step: Step) -> bool:
    if len(step.inputs) != 2 or step.effect.stacked or any(abs(factor - 1) > 1e-6 for factor in step.effect.lipschitz):
        return False
    assert subject.proof is not None
    return is_close(step.lipschitz, 2 * max(subject.proof.graph.steps[place].lipschitz for place in step.inputs))


@check(
    "L204",
    "a layer is normalised row by row, not by its spectral norm",
    "a matrix of m unit rows has a spectral norm of up to sqrt(m); FrobeniusLinear (deel-torchlip 1.0.5) measured 2.59",
)
def _rows(subject: Subject) -> Remarks:
    if subject.excess is None:
        return
    for name, step in subject.steps:
        if _row_normalised(step) and not (step is subject.steps[-1][1] and head_needs_two(subject)):
            yield (
                "error",
                f"the rows of {name} each have norm 1, its spectral norm is {step.effect.lipschitz[0]:.7g}: it is "
                "normalised neuron by neuron, and counts as 1 only for one output",
            )


def _row_normalised(step: Step) -> bool:
    if not isinstance(step.layer, LINEAR) or step.effect.lipschitz[0] <= 1 + ROW:
        return False
    weight = step.layer.weight.detach().double()
    rows: Tensor = weight.flatten(1).norm(dim=1)
    return bool(((rows - 1).abs() <= ROW).all())


@check(
    "L205",
    "a layer's norm is slightly above 1, as a power iteration that was stopped early leaves it",
    "a power iteration converges from below, so that dividing by it leaves a norm above 1: Delattre et al., ICML 2023, "
    "arXiv 2305.16173; deel-torchlip with eps_bjorck=None overshot by 1e-2",
)
def _power_iteration(subject: Subject) -> Remarks:
    if subject.excess is None or subject.claimed != 1:
        return
    explained = {id(step) for _, step in _repeating(subject)}
    if head_needs_two(subject):
        explained.add(id(subject.steps[-1][1]))
    found = [
        (step.effect.lipschitz[0], name)
        for name, step in subject.steps
        if (isinstance(step.layer, LINEAR) or step.name in ("linear", "conv1d", "conv2d"))
        and SLIGHTLY[0] < step.effect.lipschitz[0] < SLIGHTLY[1]
        and id(step) not in explained
        and not _row_normalised(step)
    ]
    if found:
        norm, name = max(found)
        yield (
            "warning",
            f"{count(len(found), 'layer')} with a norm slightly above 1, the largest {name} with {norm:.7g}: iterate "
            "longer, or claim the bound",
        )
