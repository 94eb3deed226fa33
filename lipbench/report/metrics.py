"""The numbers of a model under a suite, as one frame: summary.csv. Each column is declared here, once.

To add a column, add its ``Metric`` to ``METRICS``: summary.csv, the tables, the definitions and the remarks read the
declaration. ``value`` computes it from the results of a model at one eps.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from lipbench._internal.arrays import Bools
from lipbench.certification.grades import GRADES
from lipbench.report import cautions, columns, settings
from lipbench.report.columns import EPS, EVALUATIONS, NORM, SAMPLES, SUITE, Column, Metric
from lipbench.report.signs import ALONE, SIGNS
from lipbench.runs.results import ModelResults

NOTHING = float("nan")


# --- how they are computed ---


def _certified(grade: str) -> Callable[[ModelResults, float], Bools | None]:
    return lambda item, eps: item.bounds_by_grade[grade].certified(eps) if grade in item.bounds_by_grade else None


def _violations(grade: str) -> Callable[[ModelResults, float], Any]:
    return lambda item, eps: item.violations.get(grade, pd.NA)


def _of_certificate(column: Column) -> Callable[[ModelResults, float], Any]:
    return lambda item, eps: getattr(item.certificate, column.name)


def _gap(item: ModelResults, eps: float) -> float:
    if not item.certified:
        return NOTHING
    robust, certified = ~item.bounds.broken(eps), item.bounds.certified(eps)
    return (int(robust.sum()) - int(certified.sum())) / item.n if item.n else NOTHING


def _mean_gap(item: ModelResults, eps: float) -> float:
    """Each sample is between the curves from its radius to its distance: the area is the mean of these lengths."""
    if not item.certified or not item.n:
        return NOTHING
    eps_max = max(item.suite.eps)
    return float(item.bounds.between(eps_max).mean()) / eps_max


def _tightness(item: ModelResults, eps: float) -> float:
    return float(np.median(item.tightness)) if len(item.tightness) else NOTHING


def _spent(name: str) -> Callable[[ModelResults, float], int]:
    return lambda item, eps: getattr(item.spent[eps], name)


# --- what they are called ---

CLEAN = Metric(
    "clean",
    "share",
    SAMPLES,
    "share classified correctly",
    term="clean accuracy",
    value=lambda item, eps: item.bounds.correct,
    interval=True,
    over_seeds=True,
    drawn=True,
)
CERTIFIED = Metric(
    "certified",
    "share",
    SAMPLES,
    "share correct with certified_radius > eps",
    term="certified accuracy",
    value=lambda item, eps: item.bounds.certified(eps) if item.certified else None,
    interval=True,
    over_seeds=True,
    drawn=True,
    by_eps=True,
)
CERTIFIED_BY_GRADE = tuple(
    Metric(
        f"certified_{grade}",
        "share",
        SAMPLES,
        f"certified accuracy of grade {grade}",
        heading=f"certified ({grade})",
        optional=True,
        value=_certified(grade),
        interval=True,
        by_eps=True,
    )
    for grade in GRADES
)
ROBUST = Metric(
    "robust",
    "share",
    SAMPLES,
    "share correct with adversarial_distance > eps, after the suite was run at eps",
    term="robust accuracy",
    value=lambda item, eps: ~item.bounds.broken(eps),
    interval=True,
    over_seeds=True,
    drawn=True,
    by_eps=True,
)
GAP = Metric(
    "gap",
    "share",
    SAMPLES,
    "robust accuracy - certified accuracy",
    term="gap",
    value=_gap,
    over_seeds=True,
    drawn=True,
    by_eps=True,
)
MEAN_GAP = Metric(
    "mean_gap",
    "share",
    SAMPLES,
    "area between the curves of robust and certified accuracy from 0 to eps_max, over eps_max: the gap that no single "
    "eps decides",
    heading="mean gap",
    term="mean gap",
    value=_mean_gap,
    over_seeds=True,
    drawn=True,
)
EPS_MAX = Metric(
    "eps_max",
    "number",
    "suite's norm, input range [0, 1]",
    "largest eps of the suite: the mean gap reaches to it",
    value=lambda item, eps: max(item.suite.eps),
)
TIGHTNESS = Metric(
    "tightness",
    "number",
    "",
    "certified_radius / adversarial_distance of a correct sample, median; 1 is the physical limit",
    term="tightness",
    optional=True,
    value=_tightness,
    over_seeds=True,
    drawn=True,
    digits=2,
)
MCR = Metric(
    "mcr",
    "number",
    "suite's norm, input range [0, 1]",
    "mean certifiable robustness: mean signed margin over its pairwise bound, in the suite's norm; grade real",
    heading="MCR",
    term="MCR",
    rank=1,
    value=lambda item, eps: item.mcr,
    over_seeds=True,
)
FALSE = "adversarial_distance < certified_radius: the certificate is false"
BROKEN = {  # what a violation of each grade means
    "float": FALSE,
    "real": "the same for radii of grade real: rounding next to the boundary, or a fault",
    "nominal": "the same for radii of grade nominal: the claim on the card is false",
}
VIOLATIONS = {
    grade: Metric(
        f"violations_{grade}",
        "count",
        SAMPLES,
        BROKEN[grade],
        term="violation" if grade == "float" else "",
        optional=True,
        value=_violations(grade),
    )
    for grade in GRADES
}
OF_CERTIFICATE = tuple(
    Metric(column.name, column.kind, column.unit, column.words, optional=column.optional, value=_of_certificate(column))
    for column in (
        Column("lipschitz_bound", "number", "L2", "computed Lipschitz bound of the whole network; n/a without one"),
        Column("claimed", "number", "L2", "Lipschitz constant that the card claims", optional=True),
        Column("claim_confirmed", "flag", "", "the computed bound is within the claim", optional=True),
        Column("dtype", "text", "", "what the network computed in"),
        Column("not_analysed", "text", "", "why there is no certificate of grade float", optional=True),
    )
)
# minimal-norm attacks serve every eps, and count at each
ATTACKED = Column("attacked:", "count", SAMPLES, "samples that the attack saw for eps", optional=True, prefix=True)
WORK = (
    Metric(
        "audited",
        "count",
        SAMPLES,
        "certified samples that an attack saw for eps, as an audit",
        heading="of these, certified samples (audit)",
        value=_spent("audited"),
        by_eps=True,
    ),
    *(
        Metric(
            name,
            "count",
            EVALUATIONS,
            f"{name} passes of the suite for eps",
            heading=f"{name} evaluations",
            value=_spent(name),
            by_eps=True,
        )
        for name in ("forward", "backward")
    ),
)
N = Metric("n", "count", SAMPLES, "number of samples", value=lambda item, eps: item.n)
GRADE = Metric(
    "grade",
    "text",
    "",
    "of certified, gap and tightness: float where the model has an error analysis, else real; none without a "
    "certificate",
    value=lambda item, eps: item.grade,
)

WITHOUT_CERTIFICATE = tuple(  # summary.csv has them where one of them says something of a model of the run
    Metric(column.name, column.kind, column.unit, column.words, optional=True, value=_of_certificate(column))
    for column in (
        Column("no_certificate", "text", "", "why the network has no Lipschitz bound; empty where it has one"),
        Column("caution", "text", "", "what makes the robust accuracy an estimate; empty if nothing"),
    )
)
WARNINGS = Metric(
    "warnings",
    "text",
    "",
    "what to know before believing the row: false certificates, attacks left out, signs of weak attacks, a claim that "
    "is not confirmed, a missing grade; empty where there is nothing",
    value=lambda item, eps: cautions.warnings(item),
)

METRICS: tuple[Metric, ...] = (  # in the order of the columns of summary.csv
    *(N, CLEAN, GRADE, CERTIFIED, *CERTIFIED_BY_GRADE, ROBUST, GAP, MEAN_GAP, EPS_MAX, TIGHTNESS),
    Metric(
        "tightness_n",
        "count",
        SAMPLES,
        "correct samples with a known adversarial distance: those of tightness",
        value=lambda item, eps: len(item.tightness),
    ),
    *(MCR, *VIOLATIONS.values(), *OF_CERTIFICATE),
    *(*SIGNS, *ALONE),
    WARNINGS,
)
OVER_SEEDS = tuple(metric for metric in METRICS if metric.over_seeds)
SHARES = tuple(metric for metric in OVER_SEEDS if metric.kind == "share")
SUMMARY: tuple[Column, ...] = (  # every column of summary.csv
    *(*columns.OF_MODELS, SUITE, NORM, EPS),
    *(column for metric in (*METRICS, *WITHOUT_CERTIFICATE) for column in metric.of_summary),
    *(ATTACKED, *WORK),
)


def summary(items: Sequence[ModelResults]) -> pd.DataFrame:
    """One row per model, suite, norm and eps, in the order of the run. ``SUMMARY`` declares the columns.

    Accuracies are shares in [0, 1]; each has its interval in ``<name>_lo`` and ``<name>_hi``. Hyperparameters are
    ``loss.NAME``, arguments of adversarial training ``adversarial.NAME``, and what else differs from card to card has
    its path, such as ``training.epochs``. ``attacked:<library>/<name>`` counts the samples that an attack saw.
    """
    cells, copies = settings.cells(items), settings.copies(items)
    unusual = any(not item.certified or item.certificate.caution for item in items)
    further = WITHOUT_CERTIFICATE if unusual else ()
    frame = pd.DataFrame(
        {
            columns.MODEL.name: item.model,
            columns.COPY_OF.name: copies.get(item.model, ""),
            **cells[item.model],
            columns.SEED.name: item.card.seed,
            **{SUITE.name: item.suite.name, NORM.name: str(item.suite.norm), EPS.name: eps},
            **columns.cells([(metric, metric.value(item, eps)) for metric in (*METRICS, *further, *WORK)]),
            **{f"{ATTACKED.name}{name}": count for name, count in item.spent[eps].attacked.items()},
        }
        for item in items
        for eps in item.suite.eps
    )
    work = [metric.name for metric in WORK]  # last: the attacks of a later suite are columns to the right
    frame = frame[[*(str(name) for name in frame if name not in work), *work]]
    return columns.typed(frame, SUMMARY)


def attacked_columns(frame: pd.DataFrame) -> Iterator[str]:
    """The columns that count the samples which an attack saw, ``attacked:NAME``."""
    return (str(name) for name in frame if ATTACKED.covers(str(name)))
