"""The numbers of each setting over its seeds: hyperparameters.csv. A setting is a loss with its hyperparameters."""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from lipbench.certification.grades import FROM_THE_STRONGEST
from lipbench.report import settings
from lipbench.report.columns import (
    CONSTRAINED,
    EPS,
    GROUP,
    MODEL,
    OF_GROUPS,
    OF_SETTINGS,
    SEED,
    SETTING,
    STATISTICS,
    Column,
    setting_columns,
)
from lipbench.report.metrics import CERTIFIED, GRADE, OVER_SEEDS, N
from lipbench.report.resampling import Draws

SETTINGS: tuple[Column, ...] = (  # every column of hyperparameters.csv
    *(*OF_SETTINGS, *OF_GROUPS, EPS),
    Column("n_seeds", "count", "", "number of seeds on the cards of its models"),
    Column("n_models", "count", "", "number of models, those with the same weights counted once: what is resampled"),
    Column("n", "count", "samples", "number of samples per model, the smallest"),
    Column(
        "grade",
        "text",
        "",
        "the grade that all models of the setting have: real if that is the grade of one, none likewise",
    ),
    *(column for metric in OVER_SEEDS for column in metric.of_hyperparameters),
)


def over_seeds(summary: pd.DataFrame) -> pd.DataFrame:
    """One row per setting, suite, norm and eps: mean, std (ddof 1), min and max over its models (seeds).

    ``SETTINGS`` declares the columns. Models with the same weights count once.
    """
    known, keys, identity = settings.distinct(summary), setting_columns(summary), [SETTING.name, *GROUP, EPS.name]
    groups = known.groupby(identity, sort=False)
    frame = known.drop_duplicates(identity)[[*keys, *GROUP, EPS.name]].reset_index(drop=True)
    counts = groups.agg(
        n_seeds=(SEED.name, "nunique"),
        n_models=(MODEL.name, "nunique"),
        n=(N.name, "min"),
        grade=(GRADE.name, weakest),
    )
    frame = frame.join(counts.reset_index(drop=True))
    for metric in OVER_SEEDS:
        whole = groups[metric.name].count() == groups.size()  # where one model lacks it, the setting has none
        values = groups[metric.name].agg(list(STATISTICS)).where(whole).reset_index(drop=True)
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


def weakest(grades: Iterable[str]) -> str:
    """The grade that all of them have at least."""
    return max(grades, key=FROM_THE_STRONGEST.index)


def with_intervals(frame: pd.DataFrame, draws: Mapping[tuple[str, str], Draws]) -> pd.DataFrame:
    """``over_seeds`` with the ends ``NAME_lo`` and ``NAME_hi`` of each metric in ``resampling.PAIRED``.

    draws: by (suite, norm), see ``resampling.by_suite``.
    """
    parts = [
        one.ends_at(eps).assign(**dict(zip(GROUP, keys, strict=True)), **{EPS.name: eps})
        for keys, one in draws.items()
        for eps in frame.loc[(frame[GROUP] == list(keys)).all(axis=1), EPS.name].unique()
    ]
    joined = frame.merge(pd.concat(parts), how="left", on=[SETTING.name, *GROUP, EPS.name], validate="1:1")
    order = [column.name for metric in OVER_SEEDS for column in metric.of_hyperparameters]
    return joined[[*(name for name in frame if name not in order), *order]]


def chosen_eps(settings: pd.DataFrame) -> float:
    """The eps at which certified accuracy differs most between the settings of one suite.

    Settings with 1-Lipschitz layers decide it, if there are any; a tie goes to the middle of the grid.
    """
    some = settings[settings[CONSTRAINED.name].astype(bool)]
    by_eps = (some if len(some) else settings).groupby(EPS.name)[f"{CERTIFIED.name}_mean"]
    spread = (by_eps.max() - by_eps.min()).fillna(0.0)  # no samples: nothing differs
    best = [float(eps) for eps in spread.index[np.isclose(spread, spread.max())]]
    return best[len(best) // 2]
