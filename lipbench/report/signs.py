"""Signs that attacks fail (Pintor et al. 2022, arXiv 2106.09947), and AutoAttack standard alone beside the suite.

Columns of summary.csv, declared as in ``metrics``: shares of all samples, and counts.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from lipbench.report.columns import EVALUATIONS, SAMPLES, Metric, Remark
from lipbench.runs.results import ModelResults, Reference

NOTHING = float("nan")


def _square_only(item: ModelResults, eps: float) -> float:
    broken = item.broken_by(eps)
    square, others = ([broken[name] for name in broken if ("square" in name) is wanted] for wanted in (True, False))
    if not (item.n and square and others):
        return NOTHING
    return int((np.any(square, axis=0) & ~np.any(others, axis=0)).sum()) / item.n


def _unreached(item: ModelResults, eps: float) -> float:
    return float(np.isinf(item.bounds.adversarial_distance).mean()) if item.n and item.minimal_norm else NOTHING


def _beside(value: Callable[[Reference, ModelResults, float], Any]) -> Callable[[ModelResults, float], Any]:
    """A column that is n/a without a reference attack."""
    return lambda item, eps: NOTHING if item.reference is None else value(item.reference, item, eps)


def _indicator(name: str) -> Callable[[ModelResults, float], float]:
    """The share of samples where an indicator is set."""
    return lambda item, eps: NOTHING if item.indicators is None else float(getattr(item.indicators, name).mean())


UNREACHED = Metric(
    "unreached",
    "share",
    SAMPLES,
    "correct, and no attack found an adversarial input at any distance; 0 is good",
    heading="never reached",
    term="never reached",
    rank=-1,
    optional=True,
    value=_unreached,
    remark=Remark(0.0, "were broken by no attack at any size"),
)
SQUARE_ONLY = Metric(
    "square_only",
    "share",
    SAMPLES,
    "broken at an eps, but only by the attack of the suite that follows no gradient, as where gradients are "
    "masked; 0 is good; of all eps the one with the most, n/a for a suite without Square",
    heading="only by Square",
    term="only by Square",
    optional=True,
    value=_square_only,
    by_eps=True,
    remark=Remark(0.002, "were broken only by Square, which follows no gradient"),  # AutoAttack's limit
)
ZERO_GRADIENTS = Metric(
    "zero_gradients",
    "share",
    SAMPLES,
    "correct, and the gradient of cross-entropy there is zero, NaN or infinite, in float32; 0 is good",
    heading="no gradient",
    term="no gradient",
    optional=True,
    value=_indicator("zero_gradient"),
    remark=Remark(0.01, "have no gradient of cross-entropy to follow"),
    compared=True,
)
LOSS_STUCK = Metric(
    "loss_stuck",
    "share",
    SAMPLES,
    "correct, and no step of a short ascent along the gradient, inside the largest eps, raises cross-entropy; "
    "0 is good (with the one above, indicators of attack failure: Pintor et al. 2022)",
    heading="loss stuck",
    term="loss stuck",
    optional=True,
    value=_indicator("loss_stuck"),
    remark=Remark(0.01, "have a loss that gradient ascent does not raise"),
    compared=True,
)
ROBUST_ALONE = Metric(
    "robust_alone",
    "share",
    SAMPLES,
    "AutoAttack standard as others run it: anew at each eps, on every correct sample, whatever is certified. "
    "Robust accuracy stays the suite's, but what it finds inside a certified radius is a violation. "
    "Suite only, alone only: samples that one of the two broke at an eps and the other did not, added up over "
    "eps. Evaluations: its forward and backward passes at all eps, over those of the suite if each eps were "
    "run by itself",
    heading="alone",
    term="AutoAttack alone",
    optional=True,
    value=_beside(lambda reference, item, eps: float((~reference.broken(eps)).mean())),
    by_eps=True,
    compared=True,
)
EVALUATIONS_ALONE = Metric(
    "evaluations_alone",
    "count",
    EVALUATIONS,
    "forward and backward passes that AutoAttack alone took at eps",
    optional=True,
    value=_beside(lambda reference, item, eps: reference.evaluations[eps]),
    by_eps=True,
    compared=True,
)
ONLY_ALONE = Metric(
    "only_alone",
    "count",
    SAMPLES,
    "samples that AutoAttack alone broke at eps, and the suite did not",
    heading="alone only",
    optional=True,
    value=_beside(lambda reference, item, eps: int((reference.broken(eps) & ~item.bounds.broken(eps)).sum())),
    by_eps=True,
    remark=Remark(0.0, "were broken by AutoAttack standard alone and not by the suite", rank=-1),
    compared=True,
)
ONLY_SUITE = Metric(
    "only_suite",
    "count",
    SAMPLES,
    "samples that the suite broke at eps, and AutoAttack alone did not",
    heading="suite only",
    optional=True,
    value=_beside(lambda reference, item, eps: int((item.bounds.broken(eps) & ~reference.broken(eps)).sum())),
    by_eps=True,
    compared=True,
)

SIGNS = (SQUARE_ONLY, UNREACHED, ZERO_GRADIENTS, LOSS_STUCK)
ALONE = (ROBUST_ALONE, EVALUATIONS_ALONE, ONLY_ALONE, ONLY_SUITE)
REMARKED = tuple(sorted((m for m in (*SIGNS, *ALONE) if m.remark), key=lambda m: m.remark.rank if m.remark else 0))


def shown(metric: Metric, worst: float) -> str | None:
    """A sign in words, from its largest share of the samples over eps; None below its limit, and for NaN."""
    if metric.remark is None or not worst > metric.remark.limit:
        return None
    return f"{100 * worst:.3g} % {metric.remark.words}"
