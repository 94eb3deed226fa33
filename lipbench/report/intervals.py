"""Intervals of the numbers in a report, at 95 %."""

import functools

import numpy as np
from scipy.special import betaincinv, ndtri  # scipy.stats would take a second to import

CONFIDENCE = 0.95


@functools.cache  # models of a run have few counts among them
def clopper_pearson(count: int, n: int) -> tuple[float, float]:
    """The exact interval of a share of ``count`` in ``n`` (Clopper and Pearson 1934); NaN where n is 0."""
    if n == 0:
        return float("nan"), float("nan")
    tail = (1 - CONFIDENCE) / 2
    low = float(betaincinv(count, n - count + 1, tail)) if count > 0 else 0.0
    high = float(betaincinv(count + 1, n - count, 1 - tail)) if count < n else 1.0
    return low, high


def spearman_interval(rho: float, n: int) -> tuple[float, float]:
    """An interval of Spearman's rho over n points; NaN for n < 4.

    tanh(atanh(rho) -+ z sqrt((1 + rho^2 / 2) / (n - 3))), Bonett and Wright 2000 (Psychometrika 65). For a perfect
    order that is a single point, whatever n is. It is replaced by the next order that n points can have, with two
    neighbours exchanged: 1 - 12 / (n (n^2 - 1)).
    """
    if n < 4 or not np.isfinite(rho):
        return float("nan"), float("nan")
    most = 1 - 12 / (n * (n**2 - 1))
    within = float(np.clip(rho, -most, most))
    half = float(ndtri((1 + CONFIDENCE) / 2)) * np.sqrt((1 + within**2 / 2) / (n - 3))
    low, high = np.tanh(np.arctanh(within) - half), np.tanh(np.arctanh(within) + half)
    return (float(low), 1.0) if rho > most else (-1.0, float(high)) if rho < -most else (float(low), float(high))
