"""What is wrong with the numbers of one model, in one short text: the column ``warnings``, and a line on the terminal.

Each sign is a function from the results of a model under a suite to phrases; to add one, add it to ``SIGNS``.
"""

from collections.abc import Callable, Iterable, Iterator

import pandas as pd

from lipbench.report import signs
from lipbench.report.columns import Metric
from lipbench.runs.results import ModelResults

NO_CERTIFICATE = "no certificate"
ESTIMATE = "robust accuracy is an estimate, and may be too high"
Sign = Callable[[ModelResults], Iterable[str]]


def warnings(*items: ModelResults) -> str:
    """Every phrase about a model under one suite or several, with semicolons between them; empty if there is none."""
    return "; ".join(dict.fromkeys(phrase for item in items for sign in SIGNS for phrase in sign(item)))


def _violations(item: ModelResults) -> Iterator[str]:
    for grade, count in item.violations.items():
        if count:
            yield f"{count} certificates of grade {grade} are false"


def left_out_attacks(item: ModelResults) -> Iterator[str]:
    """The attacks that failed on the model, those with the same reason together."""
    by_reason: dict[str, list[str]] = {}
    for attack, why in item.left_out.items():
        by_reason.setdefault(why, []).append(attack)
    for why, attacks in by_reason.items():
        yield f"{', '.join(attacks)} left out: {why}"


def _weak_attacks(item: ModelResults) -> Iterator[str]:
    found = [sign for metric in signs.REMARKED if (sign := signs.shown(metric, _worst(metric, item))) is not None]
    if found:
        yield f"robust accuracy may be too high: {', '.join(found)}"


def _worst(metric: Metric, item: ModelResults) -> float:
    """The largest share of the samples over the eps of the suite; NaN where the sign is not known."""
    values = pd.Series([metric.value(item, eps) for eps in item.suite.eps], dtype=float)
    return float((values / item.n if metric.kind == "count" else values).max())


def _no_certificate(item: ModelResults) -> Iterator[str]:
    if item.certificate.no_certificate is not None:
        yield f"{NO_CERTIFICATE}: {item.certificate.no_certificate}"


def _caution(item: ModelResults) -> Iterator[str]:
    if item.certificate.caution is not None:
        yield f"{ESTIMATE}: {item.certificate.caution}"


def _claim(item: ModelResults) -> Iterator[str]:
    facts = item.certificate
    if facts.claim_confirmed is False:
        yield f"claim {facts.claimed:g} not confirmed, computed bound {facts.lipschitz_bound:.6g}"


def _certificate(item: ModelResults) -> Iterator[str]:
    if item.certificate.not_analysed is not None and item.certificate.no_certificate is None:
        yield f"no certificate of grade float ({item.certificate.not_analysed})"


SIGNS: tuple[Sign, ...] = (
    _violations,
    left_out_attacks,
    _no_certificate,
    _caution,
    _weak_attacks,
    _claim,
    _certificate,
)
