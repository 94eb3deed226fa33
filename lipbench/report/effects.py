"""What hyperparameters do: accuracies of each setting over its seeds, correlations, and the Pareto front."""

import numpy as np
import pandas as pd

from lipbench._internal.arrays import Bools
from lipbench.certification.grades import FROM_THE_STRONGEST
from lipbench.report.columns import (
    CONSTRAINED,
    COPY_OF,
    EPS,
    GROUP,
    HYPERPARAMETERS,
    MODEL,
    OF_GROUPS,
    OF_SETTINGS,
    SEED,
    SETTING,
    STATISTICS,
    Column,
    alike,
    hyperparameter_columns,
    setting_columns,
)
from lipbench.report.intervals import spearman_interval
from lipbench.report.metrics import CERTIFIED, CLEAN, GRADE, OVER_SEEDS, SHARES, N

SETTINGS: tuple[Column, ...] = (  # every column of hyperparameters.csv
    *(*OF_SETTINGS, *OF_GROUPS, EPS),
    Column("n_seeds", "count", "", "number of seeds"),
    Column("n_models", "count", "", "number of models, those with the same weights counted once"),
    Column("n", "count", "samples", "number of samples per model, the smallest"),
    Column(
        "grade",
        "text",
        "",
        "the grade that all models of the setting have: real if that is the grade of one, none likewise",
    ),
    *(column for metric in OVER_SEEDS for column in metric.of_hyperparameters),
)


def distinct(summary: pd.DataFrame) -> pd.DataFrame:
    """Without the models whose weights another one of their setting has."""
    original = summary[COPY_OF.name]
    weights = original.where(original != "", summary[MODEL.name])
    once = summary.assign(**{COPY_OF.name: weights})
    return summary[~once.duplicated([SETTING.name, COPY_OF.name, *GROUP, EPS.name])]


def hyperparameters(summary: pd.DataFrame) -> pd.DataFrame:
    """One row per setting, suite, norm and eps: mean, std (ddof 1), min and max over its models (seeds).

    ``SETTINGS`` declares the columns. Models with the same weights count once.
    """
    known, keys, identity = distinct(summary), setting_columns(summary), [SETTING.name, *GROUP, EPS.name]
    groups = known.groupby(identity, sort=False)
    frame = known.drop_duplicates(identity)[[*keys, *GROUP, EPS.name]].reset_index(drop=True)
    counts = groups.agg(
        n_seeds=(SEED.name, "nunique"),
        n_models=(MODEL.name, "nunique"),
        n=(N.name, "min"),
        grade=(GRADE.name, _weakest),
    )
    frame = frame.join(counts.reset_index(drop=True))
    for metric in OVER_SEEDS:
        values = groups[metric.name].agg(list(STATISTICS)).reset_index(drop=True)
        frame = frame.join(values.add_prefix(f"{metric.name}_"))
    return _sorted(frame, keys)


def _sorted(frame: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Suites in the order of the run, then 1-Lipschitz networks before others, then by ``keys`` and eps."""
    pairs = list(zip(*(frame[name] for name in GROUP), strict=True))
    order_of_run = list(dict.fromkeys(pairs))
    place = [order_of_run.index(pair) for pair in pairs]
    by_setting = [name for name in keys if name not in (SETTING.name, CONSTRAINED.name)]
    order = ["_suite", "_unconstrained", *by_setting, EPS.name, SETTING.name]
    frame = frame.assign(_suite=place, _unconstrained=~frame[CONSTRAINED.name].astype(bool))
    frame = frame.sort_values(order, kind="stable", key=lambda c: c.astype(str) if c.dtype == object else c)
    return frame.drop(columns=["_suite", "_unconstrained"]).reset_index(drop=True)


def _weakest(grades: "pd.Series[str]") -> str:
    return max(grades, key=FROM_THE_STRONGEST.index)


def trends(summary: pd.DataFrame) -> pd.DataFrame:
    """Spearman's rho of clean, certified, robust accuracy and gap against each hyperparameter of a loss.

    At the eps of each suite that ``chosen_eps`` names: at a large one no model may have a certificate left. One row per
    suite, hyperparameter that takes two values or more, and kind of model: equal in all but the loss's hyperparameters.
    ``points`` is the number of models, those with the same weights counted once. Each rho has its interval in
    ``<name>_lo`` and ``<name>_hi``. NaN where an accuracy is the same for every model.
    """
    rows = []
    chosen = {keys: chosen_eps(settings) for keys, settings in hyperparameters(summary).groupby(GROUP)}
    models, found = distinct(summary), hyperparameter_columns(summary)
    kind = [*GROUP, *(name for name in setting_columns(summary) if name != SETTING.name and name not in found)]
    for _, every in models.groupby(alike(models, kind), sort=False):
        first = every.iloc[0]
        group = every[every[EPS.name] == chosen[tuple(first[name] for name in GROUP)]]
        for name in found:
            known = group[np.isfinite(group[name])]
            if len(known[name].unique()) < 2:
                continue
            row = {key: first[key] for key in kind}
            hyperparameter = name.removeprefix(HYPERPARAMETERS.name)
            row |= {EPS.name: known[EPS.name].iloc[0], "hyperparameter": hyperparameter, "points": len(known)}
            for metric in SHARES:
                rho = _rho(known[name], known[metric.name])
                low, high = spearman_interval(rho, int(known[metric.name].notna().sum()))
                row |= {metric.name: rho, f"{metric.name}_lo": low, f"{metric.name}_hi": high}
            rows.append(row)
    return pd.DataFrame(rows)


def _rho(x: "pd.Series[float]", y: "pd.Series[float]") -> float:
    """Spearman's rho: Pearson's of the ranks, ties sharing their mean rank."""
    x, y = x[y.notna()], y[y.notna()]  # those that have the number
    return float(x.rank().corr(y.rank())) if len(y.unique()) > 1 and len(x) > 2 else float("nan")


def chosen_eps(settings: pd.DataFrame) -> float:
    """The eps at which certified accuracy differs most between the settings of one suite.

    Settings with 1-Lipschitz layers decide it, if there are any; a tie goes to the middle of the grid.
    """
    some = settings[settings[CONSTRAINED.name].astype(bool)]
    by_eps = (some if len(some) else settings).groupby(EPS.name)[f"{CERTIFIED.name}_mean"]
    spread = (by_eps.max() - by_eps.min()).fillna(0.0)  # no samples: nothing differs
    best = [float(eps) for eps in spread.index[np.isclose(spread, spread.max())]]
    return best[len(best) // 2]


def on_front(at: pd.DataFrame, accuracy: str) -> Bools:
    """Which settings no other beats in clean accuracy and ``accuracy`` at once: bool (rows of ``at``,)."""
    points = at[[f"{CLEAN.name}_mean", f"{accuracy}_mean"]].to_numpy()
    beaten = [((points >= p).all(axis=1) & (points > p).any(axis=1)).any() for p in points]
    return ~np.array(beaten, dtype=bool) & ~np.isnan(points).any(axis=1)
