"""The report's section "Do the certificates hold?", from the verification records of a run folder."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from lipbench._internal.words import at_least, at_most, count, shown
from lipbench.errors import LipbenchError
from lipbench.report.tables import Table
from lipbench.runs.folder import RunFolder
from lipbench.runs.plans import Run
from lipbench.verification import records
from lipbench.verification.result import Constant, Verdict, Verification, VerificationResult

TITLE = "Do the certificates hold?"


@dataclass(frozen=True)
class VerificationSection:
    """All that a report says of the verification of its models."""

    title: str
    passed: bool
    sentence: str  # the whole: certificates tested, how many were broken, the closest approach, grades
    remarks: tuple[str, ...]
    models: Table  # a row per model
    grades: Table  # a row per model and grade
    findings: Table | None  # of the linter; None: there are none


def section(run_folder: RunFolder, run: Run, left_out: Collection[str] = ()) -> VerificationSection | None:
    """The section on a run; None where the run folder holds no verification.

    left_out: names of models that are not in the report. Raises LipbenchError for a damaged record, and for one of a
    model that is not the run's.
    """
    if not records.has_records(run_folder.path):
        return None
    result = records.load(run_folder.path)
    result = VerificationResult(tuple(model for model in result.models if model.model not in left_out))
    if not result.models:
        return None
    digests = {model.name: model.digest for model in run.models}
    for model in result.models:
        if digests.get(model.model) != model.digest:
            raise LipbenchError(
                f"{run_folder.path} holds a verification of {model.model} that is not of the run's model; run "
                f"`lipbench verify MODEL -o {run_folder.path}` again, or delete the record"
            )
    order = {name: place for place, name in enumerate(digests)}
    result = VerificationResult(tuple(sorted(result.models, key=lambda model: order[model.model])))
    missing = [name for name in digests if name not in {model.model for model in result.models}]
    return VerificationSection(
        TITLE,
        result.passed,
        _sentence(result, len(run.models)),
        (*_how(result), *_broken(result), *_missing(missing)),
        _model_table(result.models),
        _grade_table(result.models),
        _finding_table(result.models),
    )


def _sentence(result: VerificationResult, models: int) -> str:
    verdicts = [verdict for model in result.models for verdict in model.verdicts]
    certificates = sum(verdict.samples for verdict in verdicts)
    grades: dict[str, int] = {}
    for verdict in verdicts:
        grades[verdict.grade] = grades.get(verdict.grade, 0) + verdict.samples
    by_grade = ", ".join(f"{count} of grade {grade}" for grade, count in grades.items())
    refuted = sum(model.constant.refuted for model in result.models)
    verified = len(result.models)
    of = count(verified, "model") if verified == models else f"{verified} of {count(models, 'model')}"
    text = (
        f"{'Yes' if result.passed else 'No'}: {certificates} certificates of {of} were tested ({by_grade}), "
        f"{result.violations or 'none'} broken"
    )
    text += f", {refuted} claimed constant{'s' * (refuted != 1)} refuted" if refuted else ""
    return f"{text}; closest approach {_ratio(min(v.closest_approach for v in verdicts))}" if verdicts else text


def _how(result: VerificationResult) -> list[str]:
    """How the tests were made: equal for all models, or each way named."""
    ways = sorted({(m.tested.samples, m.tested.dtype, m.tested.seed) for m in result.models})
    words = "; ".join(f"the first {samples} test samples in {dtype}, seed {seed}" for samples, dtype, seed in ways)
    near = [verdict for model in result.models for verdict in model.rounding if verdict.grade == "float"]
    remarks = [
        f"Every certified sample was attacked inside its radius, without pruning ({words}). Closest approach: the "
        "smallest adversarial distance / certified radius; below 1, a certificate is false. Slope found: that of the "
        "steepest pair of inputs; the true Lipschitz constant lies between it and the computed bound."
    ]
    if near:
        remarks.append(
            f"Next to the decision boundary, where rounding decides, {sum(v.broken for v in near)} of "
            f"{sum(v.certified for v in near)} certificates of grade float were broken."
        )
    return remarks


def _broken(result: VerificationResult) -> list[str]:
    """The models whose certificates or claims do not hold."""
    names = [model.model for model in result.models if not model.holds]
    return [f"Certificates or claims that do not hold: {', '.join(names)}."] if names else []


def _missing(names: Sequence[str]) -> list[str]:
    if not names:
        return []
    return [f"Not verified: {shown(names)}. lipbench verify MODEL -o RUN does it."]


def _model_table(models: Sequence[Verification]) -> Table:
    columns = (
        "model",
        "certificates",
        "attacks",
        "broken",
        "closest approach",
        "slope found <= bound",
        "claimed",
        "lint",
    )
    return Table("Verified models", columns, tuple(map(_model_row, models)))


def _model_row(model: Verification) -> tuple[str, ...]:
    closest = min((verdict.closest_approach for verdict in model.verdicts), default=math.inf)
    return (
        model.model,
        str(sum(verdict.samples for verdict in model.verdicts)),
        str(max((verdict.attacked for verdict in model.verdicts), default=0)),
        str(sum(verdict.violations for verdict in model.verdicts)),
        _ratio(closest),
        _slope(model.constant),
        _claim(model.constant),
        ", ".join(dict.fromkeys(finding.code for finding in model.findings)) or "none",
    )


def _grade_table(models: Sequence[Verification]) -> Table:
    columns = (
        "model",
        "grade",
        "L",
        "certificates",
        "attacks",
        "broken",
        "closest approach",
        "broken by rounding",
    )
    rows = [_grade_row(model, verdict) for model in models for verdict in model.verdicts]
    return Table("Verification by grade", columns, tuple(rows))


def _grade_row(model: Verification, verdict: Verdict) -> tuple[str, ...]:
    near = next((one for one in model.rounding if one.grade == verdict.grade), None)
    return (
        model.model,
        verdict.grade,
        "n/a" if verdict.lipschitz is None else at_most(verdict.lipschitz),
        str(verdict.samples),
        str(verdict.attacked),
        str(verdict.violations),
        _ratio(verdict.closest_approach),
        "n/a" if near is None else f"{near.broken} of {near.certified}",
    )


def _finding_table(models: Sequence[Verification]) -> Table | None:
    rows = [
        (model.model, finding.code, finding.severity, finding.sentence, finding.reference)
        for model in models
        for finding in model.findings
    ]
    return Table("Lint findings", ("model", "code", "severity", "finding", "reference"), tuple(rows)) if rows else None


def _ratio(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else "none found"


def _slope(constant: Constant) -> str:
    mark = "" if constant.steepest_proven else " (measured)"
    if constant.bound is None:
        return f"{at_least(constant.steepest)}{mark}, no bound"
    if constant.bound_witness is not None:  # a rule is wrong
        return f"{at_least(constant.steepest)}{mark} > {at_most(constant.bound)}: not confirmed"
    return f"{at_least(constant.steepest)}{mark} <= {at_most(constant.bound)}"


def _claim(constant: Constant) -> str:
    if constant.claimed is None:
        return "nothing"
    word = (
        "not confirmed: refuted" if constant.refuted else "confirmed" if constant.claim_confirmed else "not confirmed"
    )
    return f"{constant.claimed:g}, {word}"
