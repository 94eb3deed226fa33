"""The lines that ``lipbench verify`` prints: results in words, without any computation of their own."""

from typing import TYPE_CHECKING

from lipbench._internal.words import at_least, at_most
from lipbench.certification.grades import CLAIM_TOLERANCE, GRADES

if TYPE_CHECKING:
    from lipbench.verification.result import Verdict, Verification, VerificationResult
    from lipbench.verification.witness import Replay


def lines(model: "Verification") -> list[str]:
    """What was found about one model: the linter's findings, a line per grade, the constant, the rounding search."""
    found = [
        f"LINT {one.code} {one.severity} {model.model}: {one.sentence} [{one.reference}]" for one in model.findings
    ]
    found += [_verdict(model.model, verdict) for verdict in model.verdicts]
    if model.no_certificate is not None:
        found.append(f"NO CERTIFICATE {model.model}: {model.no_certificate}")
    if model.not_analysed is not None:
        found.append(f"NO GRADE float {model.model}: {model.not_analysed}")
    found.append(_constant(model))
    broken = [verdict for verdict in model.rounding if verdict.broken]
    if broken:
        by_grade = ", ".join(
            f"grade {one.grade} {one.broken} of {one.certified}, witness {one.witness}" for one in broken
        )
        word = "FAIL" if any(one.grade == "float" for one in broken) else "NOTE"
        why = "" if word == "FAIL" else " (no failure: these grades speak of exact arithmetic)"
        found.append(f"{word} {model.model}: certificates next to the boundary that rounding breaks: {by_grade}{why}")
    return found


def _verdict(model: str, verdict: "Verdict") -> str:
    word = "FAIL" if not verdict.holds else "PASS" if verdict.samples else "NOTHING CERTIFIED"
    constant = "" if verdict.lipschitz is None else f" (L = {at_most(verdict.lipschitz)})"
    text = (
        f"{word} {model} {verdict.grade}{constant}: "
        f"{verdict.samples} samples, closest approach {verdict.closest_approach:.4f}"
    )
    if verdict.holds:
        return text
    own = f" ({verdict.misclassified} of them misclassified or tied: radius 0)" if verdict.misclassified else ""
    return f"{text}, {verdict.violations} broken{own}, witness {verdict.witness}"


def _constant(model: "Verification") -> str:
    constant = model.constant
    how = "found" if constant.steepest_proven else "measured, not proven,"
    if constant.bound is None:
        found = f"{at_least(constant.steepest)} {how} <= L, no bound computed"
    else:
        found = f"{at_least(constant.steepest)} {how} <= L <= {at_most(constant.bound)} computed"
    if constant.bound_witness is not None:
        also = "" if not constant.refuted else f"; and the claim {constant.claimed:g}, {constant.claim_witness}"
        return f"FAIL {model.model}: {found}: the computed bound is false, witness {constant.bound_witness}{also}"
    if constant.claimed is None:
        return f"CONSTANT {model.model}: {found}; nothing claimed"
    claims = f"the card claims {constant.claimed:g}"
    if constant.refuted:
        return f"REFUTED {model.model}: {found}; {claims}, witness {constant.claim_witness}"
    if not constant.claim_confirmed:
        return f"FLAG {model.model}: {found}; {claims}: not confirmed, and not refuted"
    above = constant.bound is not None and constant.bound > constant.claimed
    up_to = f" up to {CLAIM_TOLERANCE:g}" if above else ""
    return f"CONSTANT {model.model}: {found}; the claim {constant.claimed:g} is confirmed{up_to}"


def total(result: "VerificationResult") -> str:
    """The last line, about all models together; a second one where the rounding search had points to look at."""
    verdicts = [verdict for model in result.models for verdict in model.verdicts]
    closest = min((verdict.closest_approach for verdict in verdicts), default=float("inf"))
    attacked = sum(max((verdict.attacked for verdict in model.verdicts), default=0) for model in result.models)
    claims = [constant for constant in result.constant.values() if constant.claimed is not None]
    refuted = sum(constant.refuted for constant in claims)
    flagged = sum(not constant.claim_confirmed for constant in claims if not constant.refuted)
    holds = all(model.holds for model in result.models)
    word = "PASS" if result.passed else "INCOMPLETE" if holds else "FAIL"
    text = (
        f"{word}: {len(result.models)} "
        f"model{'s' if len(result.models) > 1 else ''}, {attacked} attacks on samples, {result.violations} "
        f"certificates broken; closest approach {closest:.4f} (adversarial distance / certified radius: below 1 the "
        "certificate is false)"
    )
    text += f"; {refuted} claims refuted" if refuted else ""
    text += f"; {flagged} claims not confirmed by the weights (FLAG)" if flagged else ""
    text += f"; failed: {', '.join(result.failures)}" if result.failures else ""
    near = [(grade, [v for model in result.models for v in model.rounding if v.grade == grade]) for grade in GRADES]
    rounded = [f"{grade} {sum(v.broken for v in vs)} of {sum(v.certified for v in vs)}" for grade, vs in near if vs]
    return text + (f"\nbroken by rounding next to the boundary: {', '.join(rounded)}" if rounded else "")


def replay(found: "Replay") -> str:
    """One line about a witness that was measured again."""
    witness = found.witness
    word = "REPRODUCED" if found.reproduced else "NOT REPRODUCED"
    against = f"grade {witness.grade}"
    if witness.kind == "lipschitz":
        against = "the claimed constant" if witness.grade == "nominal" else "the computed bound"
    return (
        f"{word} {witness.model}: {found.reproduced} of {found.rows} {witness.kind} witnesses against {against} "
        f"({witness.dtype})"
    )
