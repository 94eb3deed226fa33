"""Intervals and probabilities of settings, from one set of resamples.

What varies is resampled on both levels. Samples: drawn with replacement, the same ones for every model, so that
comparisons are paired (Efron and Tibshirani 1993, chapter 6). Seeds: the mean over k seeds moves by a draw from
Student's t with k - 1 degrees of freedom times its standard error s / sqrt(k). Drawing three seeds with replacement
would cover too little (Hesterberg 2015, The American Statistician 69). The draw is one vector of coefficients for the
seeds of a setting, so that accuracies of the setting move together. With one seed nothing is known of other seeds: the
interval then covers the samples alone.

``benchmarks/coverage.py`` measures how often these intervals hold the truth.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lipbench._internal.arrays import Bools, Floats
from lipbench.report import settings
from lipbench.report.columns import MODEL, NORM, SETTING, SUITE
from lipbench.report.intervals import CONFIDENCE, clopper_pearson
from lipbench.runs.bounds import Bounds
from lipbench.runs.results import ModelResults

RESAMPLES = 1000
SEED = 20260  # of the generator; MT19937, whose streams NumPy keeps from version to version (NEP 19)
PAIRED = ("clean", "certified", "robust", "gap", "mean_gap", "tightness")  # the metrics that have intervals
COUNTED = ("clean", "certified", "robust", "gap")  # each counts samples, as long as no certificate is false
TAILS = (100 * (1 - CONFIDENCE) / 2, 100 * (1 + CONFIDENCE) / 2)  # percentiles
Single = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Measured:
    """The two bounds of m models on the same n samples, under one suite."""

    settings: tuple[str, ...]  # of each model, (m,)
    correct: Bools  # (m, n)
    certified_radius: Floats  # (m, n), in the suite's norm; NaN for models without a certificate
    adversarial_distance: Floats  # (m, n), likewise
    grid: tuple[float, ...]  # the eps of the suite

    @property
    def eps_max(self) -> float:
        """The mean gap reaches to it."""
        return max(self.grid)

    @classmethod
    def of(cls, items: Sequence[ModelResults], summary: pd.DataFrame) -> "Measured":
        """The models of one suite that ``summary`` lists, those with the weights of another of their setting left out.

        items: of one suite; summary: of ``metrics.summary``.
        """
        suite = items[0].suite
        part = summary[(summary[SUITE.name] == suite.name) & (summary[NORM.name] == str(suite.norm))]
        part = settings.distinct(part).drop_duplicates(MODEL.name)
        setting = dict(zip(part[MODEL.name], part[SETTING.name], strict=True))
        kept = [item for item in items if item.model in setting]
        return cls(
            tuple(setting[item.model] for item in kept),
            np.stack([item.bounds.correct for item in kept]),
            np.stack([item.bounds.certified_radius for item in kept]),
            np.stack([item.bounds.adversarial_distance for item in kept]),
            tuple(float(eps) for eps in suite.eps),
        )

    @property
    def certified(self) -> Bools:
        """Which models have a certificate: bool (m,)."""
        # the radius of a misclassified sample is 0 with a certificate and without one
        return np.logical_not(np.isnan(self.certified_radius).any(axis=1))

    def per_sample(self, metric: str, eps: float | None = None) -> Single:
        """What each sample adds to a share or the gap: (m, n), whole numbers, whose sums are exact; NaN where n/a.

        metric: clean, certified, robust or gap; eps: of those that depend on one.
        """
        radius, distance = self.certified_radius, self.adversarial_distance
        if metric == "clean":
            values: NDArray[np.generic] = self.correct
        else:
            if eps is None:
                raise ValueError(f"{metric} is of an eps")
            robust, certified = distance > eps, self.correct & (radius > eps)
            values = {"robust": robust, "certified": certified, "gap": robust.astype(int) - certified}[metric]
        found = values.astype(np.float32)
        if metric not in ("clean", "robust"):
            found[~self.certified] = np.nan
        return found

    def between(self) -> Floats:
        """The share of 0 to eps_max that lies between the bounds of each sample, whose mean is the mean gap: (m, n)."""
        bounds = Bounds(self.correct, self.certified_radius, self.adversarial_distance)
        found = bounds.between(self.eps_max) / self.eps_max
        found[~self.certified] = np.nan
        return found

    def tightness(self, model: int) -> tuple[Floats, NDArray[np.intp]]:
        """The tightness of a model's correct samples with a known adversarial input, ascending, and their places."""
        bounds = Bounds(self.correct[model], self.certified_radius[model], self.adversarial_distance[model])
        values = bounds.tightness()
        order = np.argsort(values, kind="stable")
        return values[order], np.flatnonzero(bounds.comparable())[order]


@dataclass(frozen=True, eq=False)
class Draws:
    """Every metric of every setting, as measured and in each resample. S settings, B resamples.

    seeds_of: settings whose models are, place by place, the networks of another, earlier one: both take its draw of the
    seeds, so that what differs from network to network cancels in the difference of the two.
    """

    measured: Measured
    resamples: int = RESAMPLES
    seed: int = SEED
    seeds_of: Mapping[str, str] = field(default_factory=dict)
    _computed: dict[tuple[str, float | None], tuple[Floats, Floats, Floats]] = field(default_factory=dict, repr=False)

    @functools.cached_property
    def settings(self) -> tuple[str, ...]:
        """The settings, in the order of their first model: (S,)."""
        return tuple(dict.fromkeys(self.measured.settings))

    @functools.cached_property
    def members(self) -> tuple[NDArray[np.intp], ...]:
        """The places of the models of each setting: its seeds."""
        held = np.array(self.measured.settings)
        return tuple(np.flatnonzero(held == setting) for setting in self.settings)

    def estimate(self, metric: str, eps: float | None = None) -> Floats:
        """The mean over seeds, (S,); NaN where n/a. Of tightness: the mean of the models' medians."""
        return self._of(metric, eps)[1]

    def drawn(self, metric: str, eps: float | None = None) -> Floats:
        """The metric in each resample: (B, S)."""
        return self._of(metric, eps)[2]

    def interval(self, metric: str, eps: float | None = None) -> tuple[Floats, Floats]:
        """The 95 % interval of each setting over seeds and samples, lower and upper ends: (S,) each.

        With one seed the interval of a share, and of a gap, is that of Clopper and Pearson; with several, all of which
        are at 0 or all at 1, it reaches as far as that of one. A gap below 0 takes a false certificate.
        """
        models, estimate, drawn = self._of(metric, eps)
        low, high = ends(drawn)
        if metric != "tightness":
            low, high = low.clip(0.0, 1.0), high.clip(0.0, 1.0)
        n = self.measured.correct.shape[1]
        for place, members in enumerate(self.members if metric in COUNTED else ()):
            share = models[members][0]
            if len(set(models[members])) == 1 and (len(members) == 1 or share in (0, 1)) and 0 <= share <= 1:
                exact = clopper_pearson(round(float(share) * n), n)
                alone = len(members) == 1
                low[place], high[place] = exact if alone else (min(low[place], exact[0]), max(high[place], exact[1]))
        return np.minimum(low, estimate), np.maximum(high, estimate)

    def ends_at(self, eps: float) -> pd.DataFrame:
        """The intervals of every metric at an eps: a row per setting, columns ``setting``, ``NAME_lo``, ``NAME_hi``."""
        found: dict[str, object] = {SETTING.name: self.settings}
        for name in PAIRED:
            found[f"{name}_lo"], found[f"{name}_hi"] = self.interval(name, eps)
        return pd.DataFrame(found)

    def _of(self, metric: str, eps: float | None) -> tuple[Floats, Floats, Floats]:
        """The metric of each model (m,), of each setting (S,), and in each resample (B, S)."""
        key = metric, None if metric in ("clean", "mean_gap", "tightness") else eps
        if key not in self._computed:
            self._computed[key] = self._compute(*key)
        return self._computed[key]

    def _compute(self, metric: str, eps: float | None) -> tuple[Floats, Floats, Floats]:
        models, resampled = self._tightness() if metric == "tightness" else self._means(metric, eps)
        estimate = np.array([models[members].mean() for members in self.members])
        drawn = np.empty((self.resamples, len(self.settings)))
        for place, (members, seeds) in enumerate(zip(self.members, self._seeds, strict=True)):
            drawn[:, place] = resampled[:, members].mean(axis=1) + seeds @ models[members]
        return models, estimate, drawn

    def _means(self, metric: str, eps: float | None) -> tuple[Floats, Floats]:
        """Of each model (m,), and under each resample of the samples (B, m)."""
        whole = metric != "mean_gap"
        values = self.measured.per_sample(metric, eps) if whole else self.measured.between()
        n = values.shape[1]
        if n == 0:
            return np.full(len(values), np.nan), np.full((self.resamples, len(values)), np.nan)
        sums = values @ self._weights.astype(values.dtype, copy=False)
        return values.mean(axis=1, dtype=np.float64), sums.T.astype(np.float64) / n

    def _tightness(self) -> tuple[Floats, Floats]:
        """Medians, as ``_means``."""
        count = len(self.measured.correct)
        models, resampled = np.full(count, np.nan), np.full((self.resamples, count), np.nan)
        for model in range(count):
            values, places = self.measured.tightness(model)
            if len(values):
                models[model] = np.median(values)
                middle = medians(values, self._weights[places])
                resampled[:, model] = np.where(np.isnan(middle), models[model], middle)  # none of them was drawn
        return models, resampled

    @functools.cached_property
    def _weights(self) -> Single:
        """How often each resample holds each sample: (n, B). Whole numbers: sums of shares are exact."""
        n, random = self.measured.correct.shape[1], np.random.RandomState(self.seed)
        rows = [np.bincount(random.randint(0, n, n), minlength=n) for _ in range(self.resamples)] if n else []
        return np.ascontiguousarray(np.array(rows, dtype=np.float32).reshape(self.resamples, n).T)

    @functools.cached_property
    def _seeds(self) -> tuple[Floats, ...]:
        """For each setting the coefficients of its k seeds, (B, k): they add up to 0.

        With normal z: sum of z_i (x_i - mean x) / sqrt(k (k - 1)) has the variance s^2 / k; divided by
        sqrt(chi2_{k-1} / (k - 1)) it is Student's t times s / sqrt(k).
        """
        random = np.random.RandomState(self.seed + 1)
        found: dict[str, Floats] = {}
        for setting, members in zip(self.settings, self.members, strict=True):
            k = len(members)
            if setting in self.seeds_of:
                found[setting] = found[self.seeds_of[setting]]
                continue
            if k == 1:
                found[setting] = np.zeros((self.resamples, 1))
                continue
            z = random.standard_normal((self.resamples, k))
            scale = np.sqrt(random.chisquare(k - 1, (self.resamples, 1)) / (k - 1))
            found[setting] = (z - z.mean(axis=1, keepdims=True)) / (np.sqrt(k * (k - 1)) * scale)
        return tuple(found.values())


def medians(values: Floats, weights: Single) -> Floats:
    """The median of ``values`` (k,), ascending, each repeated by its weights (k, B): (B,); NaN without any.

    Blocks of values are counted first, then the values of the block that holds the median.
    """
    size = int(np.ceil(np.sqrt(len(values))))
    padded = np.zeros((size * size, weights.shape[1]), dtype=np.float32)
    padded[: len(values)] = weights
    blocks = padded.reshape(size, size, -1)
    upto = np.cumsum(blocks.sum(axis=1), axis=0)
    total, column = upto[-1], np.arange(weights.shape[1])
    middle = np.zeros(len(total))
    for rank in ((total + 1) // 2, total // 2 + 1):
        block = (upto < rank).sum(axis=0).clip(max=size - 1)
        before = np.where(block > 0, upto[block - 1, column], 0)
        within = (before + np.cumsum(blocks[block, :, column], axis=1).T < rank).sum(axis=0)
        middle += values[(block * size + within).clip(max=len(values) - 1)] / 2
    return np.where(total > 0, middle, np.nan)


def ends(drawn: Floats) -> tuple[Floats, Floats]:
    """The 95 % interval of values in resamples: ends over the first axis, NaN where any is NaN."""
    low, high = np.percentile(drawn, TAILS, axis=0)
    return np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)


def by_suite(items: Sequence[ModelResults], summary: pd.DataFrame) -> dict[tuple[str, str], Draws]:
    """The draws of each (suite, norm), in the order of the run. The same resamples of the samples serve all suites."""
    groups: dict[tuple[str, str], list[ModelResults]] = {}
    for item in items:
        groups.setdefault((item.suite.name, str(item.suite.norm)), []).append(item)
    return {key: Draws(Measured.of(part, summary)) for key, part in groups.items()}
