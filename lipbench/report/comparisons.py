"""Which setting is best, and what cannot be told apart from it: paired differences, P(best), the Pareto front.

All of it comes from the resamples of ``resampling``: the same samples for every setting, so that what makes a sample
hard for all networks cancels in a difference. Intervals are of one difference each. They are not corrected for the
choice of the best of many, which is looked for on the same samples: the best one is on average a little worse than it
looks.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.special import bdtr

from lipbench._internal.arrays import Bools, Floats
from lipbench.report.columns import EPS, NORM, OF_GROUPS, RESAMPLES, SAMPLES, SETTING, SUITE, Column
from lipbench.report.metrics import CERTIFIED, CLEAN, GAP, MEAN_GAP, ROBUST, TIGHTNESS
from lipbench.report.resampling import Draws, ends

PIECES = 10  # in which fronts of all resamples are looked for, to save memory
LOWEST = (GAP.name, MEAN_GAP.name)  # of these metrics the smallest is the best
COMPARED = (CLEAN.name, CERTIFIED.name, ROBUST.name, MEAN_GAP.name, TIGHTNESS.name)
FRONTS = (CERTIFIED.name, ROBUST.name)  # accuracies that make a front with clean accuracy
COMPARISONS: tuple[Column, ...] = (  # every column of comparisons.csv
    SETTING,
    Column("name", "text", "", "the setting as tables print it"),
    *(*OF_GROUPS, EPS),
    Column("metric", "text", "", "what is compared"),
    Column("best", "text", "", "the setting that is best in it, as measured; of the mean gap: that of the smallest"),
    Column("best_name", "text", "", "that one as tables print it"),
    Column("difference", "number", "", "of the setting from the best one, paired over samples"),
    Column("difference_lo", "number", "", "lower end of the 95 % interval of the difference, over seeds and samples"),
    Column("difference_hi", "number", "", "upper end of the 95 % interval of the difference, over seeds and samples"),
    Column("p_best", "share", RESAMPLES, "share of resamples in which the setting is the best one"),
    *(
        Column(
            f"p_front_{accuracy}",
            "share",
            RESAMPLES,
            f"share of resamples in which no other setting is better in clean and {accuracy} accuracy at once",
        )
        for accuracy in FRONTS
    ),
)
DIFFERENCES: tuple[Column, ...] = (  # of ``pair``
    Column("metric", "text", "", "what is compared"),
    Column("first", "number", "", "the first one's, mean over seeds"),
    Column("second", "number", "", "the second one's, mean over seeds"),
    Column("difference", "number", "", "second less first"),
    Column("difference_lo", "number", "", "lower end of its 95 % interval, over seeds and samples"),
    Column("difference_hi", "number", "", "upper end of its 95 % interval, over seeds and samples"),
)
SIDES = (("first", "the first one"), ("second", "the second one"))
PAIRS: tuple[Column, ...] = (  # every column of ``Results.compare``, ``lipbench.compare`` and pairs.csv
    *(Column(f"{side}_run", "text", "", f"the run of {one}: its title, else its folder") for side, one in SIDES),
    Column("kind", "text", "", "what is compared: model or setting; model and setting where they are one of each"),
    *(Column(f"{side}_name", "text", "", f"name of {one}; of a setting its label") for side, one in SIDES),
    Column("same_weights", "flag", "", "both are the same networks: equal weights"),
    *(Column(f"{side}_suite", "text", "", f"suite that {one} was attacked with") for side, one in SIDES),
    *(NORM, EPS),
    Column("eps_max", "number", "suite's norm, input range [0, 1]", "largest eps of both: the mean gap reaches to it"),
    *(Column(f"{side}_grade", "text", "", f"grade of the certificates of {one}") for side, one in SIDES),
    *(Column(f"{side}_models", "count", "models", f"models of {one}, whose mean is compared") for side, one in SIDES),
    *(Column(f"{side}_n", "count", SAMPLES, f"samples of {one}") for side, one in SIDES),
    Column("paired", "flag", "", "both were measured on the same samples, so that their difference is paired"),
    *DIFFERENCES,
    Column("only_first", "count", SAMPLES, "counted for the first model alone: McNemar's test", optional=True),
    Column("only_second", "count", SAMPLES, "counted for the second model alone", optional=True),
    Column("p_value", "number", "", "of McNemar's exact test that both models count equally often", optional=True),
)


def frame(draws: Mapping[tuple[str, str], Draws], named: Mapping[str, Mapping[str, str]]) -> pd.DataFrame:
    """One row per setting, suite, norm, eps of the suite and metric; ``COMPARISONS`` declares the columns.

    named: by suite, what tables call each setting, by its digest.
    """
    parts = []
    for (suite, norm), one in draws.items():
        for eps in one.measured.grid:
            fronts = {f"p_front_{accuracy}": on_front_share(one, accuracy, eps) for accuracy in FRONTS}
            for metric in COMPARED:
                part = pd.DataFrame({SETTING.name: one.settings, **against_best(one, metric, eps), **fronts})
                part[[SUITE.name, NORM.name, EPS.name, "metric"]] = suite, norm, eps, metric
                parts.append(part)
    found = pd.concat(parts, ignore_index=True)
    for digest, name in ((SETTING.name, "name"), ("best", "best_name")):
        pairs = zip(found[SUITE.name], found[digest], strict=True)
        found[name] = [named.get(suite, {}).get(each, "") for suite, each in pairs]
    return found[[column.name for column in COMPARISONS]]


def against_best(draws: Draws, metric: str, eps: float, among: Sequence[str] | None = None) -> dict[str, object]:
    """The columns ``best``, ``difference`` with its interval, and ``p_best``: each (S,); NaN where n/a.

    among: the settings that are compared, by default all; the others are n/a.
    """
    sign = -1 if metric in LOWEST else 1
    estimate, drawn = draws.estimate(metric, eps), draws.drawn(metric, eps)
    if among is not None:
        estimate = np.where(np.isin(draws.settings, list(among)), estimate, np.nan)
    known = ~np.isnan(estimate)
    if not known.any():
        nothing = np.full(len(estimate), np.nan)
        return {"best": "", **dict.fromkeys(("difference", "difference_lo", "difference_hi", "p_best"), nothing)}
    best = int(np.nanargmax(sign * estimate))
    low, high = ends(drawn - drawn[:, [best]])
    highest = sign * np.where(known, drawn, -sign * np.inf)
    wins = highest == highest.max(axis=1, keepdims=True)
    p_best = np.where(known, (wins / wins.sum(axis=1, keepdims=True)).mean(axis=0), np.nan)
    return {
        "best": draws.settings[best],
        "difference": estimate - estimate[best],
        "difference_lo": np.where(known, low, np.nan),
        "difference_hi": np.where(known, high, np.nan),
        "p_best": p_best,
    }


def on_front_share(draws: Draws, accuracy: str, eps: float) -> Floats:
    """In what share of the resamples each setting is on the front of clean accuracy and ``accuracy``: (S,)."""
    points = np.stack([draws.drawn(CLEAN.name), draws.drawn(accuracy, eps)], axis=2).clip(0, 1)  # NaN stays
    on = [_front(some).mean(axis=0) for some in np.array_split(points, PIECES)]  # of equal size: a mean of means
    return np.where(np.isnan(draws.estimate(accuracy, eps)), np.nan, np.mean(on, axis=0))


def on_front(at: pd.DataFrame, accuracy: str) -> Bools:
    """Which settings no other beats in clean accuracy and ``accuracy`` at once, as measured: bool (rows of ``at``,)."""
    return _front(at[[f"{CLEAN.name}_mean", f"{accuracy}_mean"]].to_numpy())


def _front(points: Floats) -> Bools:
    """Which of the points (..., S, 2) no other is beyond in one coordinate, and level with or beyond in the other."""
    first, second = points[..., :, None, :], points[..., None, :, :]
    beyond = np.all(first >= second, axis=-1) & np.any(first > second, axis=-1)
    return np.logical_not(np.any(beyond, axis=-2) | np.any(np.isnan(points), axis=-1))


def pair(first: tuple[Draws, str], second: tuple[Draws, str], eps: float, *, paired: bool = True) -> pd.DataFrame:
    """Two settings side by side: a row per metric, see ``DIFFERENCES``.

    first, second: draws and a setting of theirs. paired: both were measured on the same samples, in the same order;
    else the difference is taken between independent resamples.
    """
    rows = []
    for metric in (CLEAN.name, CERTIFIED.name, ROBUST.name, "gap", MEAN_GAP.name, TIGHTNESS.name):
        values, drawn = [], []
        for draws, setting in (first, second):
            place = draws.settings.index(setting)
            values.append(float(draws.estimate(metric, eps)[place]))
            drawn.append(draws.drawn(metric, eps)[:, place])
        other = drawn[1] if paired else np.roll(drawn[1], 1)  # resample b of one beside b + 1 of the other
        low, high = ends(other - drawn[0])
        rows.append((metric, *values, values[1] - values[0], float(low), float(high)))
    return pd.DataFrame(rows, columns=[column.name for column in DIFFERENCES])


def mcnemar(first: Bools, second: Bools) -> tuple[int, int, float]:
    """How often only the first, and only the second is right, and the two-sided exact p-value: McNemar 1947.

    first, second: bool (n,), of the same samples. Under the hypothesis that both are equally often right, the number of
    one kind among the samples on which they disagree is binomial with probability 1/2.
    """
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    disagree = only_first + only_second
    return only_first, only_second, min(1.0, 2 * float(bdtr(min(only_first, only_second), disagree, 0.5)))
