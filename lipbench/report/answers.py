"""The tables that answer a reader's questions: which setting is best, how sure is that, what do hyperparameters do."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from lipbench.certification.grades import NONE
from lipbench.report import columns
from lipbench.report.columns import Metric, setting_columns
from lipbench.report.effects import MEASURED, TURNS
from lipbench.report.formatting import (
    MISSING,
    differences,
    drawn,
    family,
    general,
    interval,
    labels,
    of_grade,
    percent,
    rows,
    share,
    signed,
)
from lipbench.report.metrics import CERTIFIED, GAP, ROBUST
from lipbench.report.tables import Group, Table, titles

HALF = 0.5
UNCORRECTED = "not corrected for the choice of the best of many"


def main_table(group: Group, eps: float, *, short: bool = False) -> Table:
    """Rows: settings, the highest certified accuracy first. Each number with its interval over seeds and samples."""
    goal = CERTIFIED if group.grade != NONE else ROBUST
    at = group.settings[group.settings["eps"] == eps]
    at = at.sort_values(f"{goal.name}_mean", ascending=False, kind="stable", na_position="last")
    named, against = labels(group.settings, short=short), _against(group, goal, eps)
    body = []
    for row in rows(at):
        other = against[row["setting"]]
        sides = (_difference(other), percent(other["p_best"]), percent(other["p_front_certified"]))
        body.append((named[row["setting"]], str(row["n_models"]), *(drawn(row, metric) for metric in MEASURED), *sides))
    heads = ("setting", "seeds", *titles(MEASURED), f"{goal.title} less the best's", "P(best)", "P(front)")
    title = (
        f"Settings at eps {group.shown(eps)} ({group.unit}): percent, mean over seeds [95 % over seeds and samples], "
        f"{of_grade(group.grade)}; mean gap from 0 to {group.eps[-1].shown}; comparisons {UNCORRECTED}"
    )
    return Table(title, heads, tuple(body))


def _against(group: Group, metric: Metric, eps: float) -> dict[str, Mapping[str, Any]]:
    """The row of comparisons of each setting, for one metric at one eps."""
    part = group.comparisons[(group.comparisons["metric"] == metric.name) & (group.comparisons["eps"] == eps)]
    return {row["setting"]: row for row in rows(part)}


def _difference(row: Mapping[str, Any]) -> str:
    """A setting's difference from the best one, in points: ``-3.8 [-6.2, -1.5]``."""
    if pd.isna(row["difference"]):
        return MISSING
    if row["best"] == row["setting"]:
        return "best"
    low, high = (signed(100 * row[f"difference_{end}"]) for end in ("lo", "hi"))
    return f"{signed(100 * row['difference'])} [{low}, {high}]"


def grid_table(group: Group) -> Table:
    """Rows: settings. Columns: certified and robust accuracy and the gap at every eps, means over seeds."""
    shown, body = (CERTIFIED, ROBUST, GAP), []
    for name, part in group.by_setting():
        body.append((name, *(percent(row[f"{metric.name}_mean"]) for row in part for metric in shown)))
    heads = [("", 1), *((f"eps {eps.shown}", len(shown)) for eps in group.eps)]
    title = f"Every eps ({group.unit}), in percent, mean over seeds, {of_grade(group.grade)}"
    return Table(title, ("setting", *titles(shown) * len(group.eps)), tuple(body), tuple(heads))


def effect_table(group: Group, eps: float, *, short: bool = False) -> Table | None:
    """What each hyperparameter does at one eps: a row per line of settings; None where none takes two values."""
    if group.effects.empty:
        return None
    part = group.effects[group.effects["eps"] == eps]
    keys = [*setting_columns(part), "hyperparameter", "others"]
    kinds = rows(part.drop_duplicates(keys))
    several, further, body = len({row["architecture"] for row in kinds}) > 1, columns.further_columns(part), []
    for _, line in part.groupby(columns.alike(part, keys), sort=False):
        row = rows(line)[0]
        kind = [row["architecture"]] if several else []
        kind += [family(row["family"], short=short), *differences(row, kinds, further)]
        if row["others"]:
            kind.append(row["others"])
        found = {each["metric"]: each for each in rows(line)}
        cells = (_effect(found.get(metric.name), metric) for metric in MEASURED)
        body.append((", ".join(kind), f"{row['hyperparameter']}: {row['values']}", str(row["n_models"]), *cells))
    heads = ("family", "hyperparameter", "seeds", *titles(MEASURED))
    title = (
        f"What each hyperparameter does, at eps {group.shown(eps)}, {of_grade(group.grade)}: shape (share of resamples "
        "with that shape); points per doubling [95 % over seeds and samples]"
    )
    return Table(title, heads, tuple(body))


def _effect(row: Mapping[str, Any] | None, metric: Metric) -> str:
    """``peaks at 4 (98 %); -6.5 [-7.1, -5.9]``; ``unclear`` for a shape that fewer than half of the resamples have."""
    if row is None:
        return MISSING
    turn = f" at {general(row['turn'])}" if row["shape"] in TURNS else ""
    scale, digits = (100, 1) if metric.kind == "share" else (1, 3)
    slope = interval(row["per_step"], row["per_step_lo"], row["per_step_hi"], scale=scale, digits=digits, sign=True)
    chance = row["shape_probability"]
    shape = f"{row['shape']}{turn} ({share(chance)})" if chance >= HALF else "unclear"
    return f"{shape}; {slope}"
