"""What the page says of each setting under a suite, from hyperparameters.csv and comparisons.csv."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from lipbench.report import columns, style
from lipbench.report.formatting import family, labels, rows
from lipbench.report.page import cells
from lipbench.report.page.axes import Axis
from lipbench.report.tables import Group

METRICS = ("clean", "certified", "robust", "gap", "mean_gap", "tightness", "mcr")
SLOTS = {name: place for place, name in enumerate(style.FAMILIES)}  # of colours and markers in page.css


def parts(group: Group, comparisons: pd.DataFrame | None) -> list[dict[str, Any]]:
    """One entry for each setting of a suite, in the order of hyperparameters.csv."""
    named, families = labels(group.settings, short=True), list(dict.fromkeys(group.settings["family"]))
    long = labels(group.settings)
    compared = _compared(group, comparisons)
    kinds = columns.alike(group.settings, _kind(group.settings))
    found = []
    for digest, frame in group.settings.groupby("setting", sort=False):
        every = rows(frame.sort_values("eps"))
        first = every[0]
        found.append(
            {
                "id": digest,
                "label": named[str(digest)],
                "long": long[str(digest)],
                "family": family(first["family"], short=True),
                "slot": _slot(first["family"], families),
                "kind": kinds[frame.index[0]],
                "architecture": first["architecture"],
                "constrained": bool(first["constrained"]),
                "grade": first["grade"],
                "seeds": int(first["n_seeds"]),
                "at": {name: cells.by_eps(every, f"{name}_mean", f"{name}_{{}}") for name in METRICS},
                "values": {
                    name.removeprefix(columns.HYPERPARAMETERS.name): value
                    for name in columns.hyperparameter_columns(frame)
                    if (value := cells.number(first[name])) is not None
                },
                "compared": compared.get(str(digest)),
            }
        )
    return found


def _kind(frame: pd.DataFrame) -> list[str]:
    """The columns in which the settings of one panel of the effects are alike: all but the loss's hyperparameters."""
    numbers = columns.hyperparameter_columns(frame)
    return [name for name in columns.setting_columns(frame) if name not in ("setting", *numbers)]


def _slot(name: str, families: Sequence[str]) -> int:
    """The colour and marker of a family: its own, or one of those for families without any."""
    others = [each for each in families if each not in SLOTS]
    return SLOTS[name] if name in SLOTS else len(SLOTS) + others.index(name) % len(style.OTHERS)


def axes(group: Group) -> dict[str, dict[str, Any]]:
    """The axis of each hyperparameter: title, whether logarithmic, and the place of each value."""
    found = {}
    for name in columns.hyperparameter_columns(group.settings):
        values = sorted(float(value) for value in group.settings[name].dropna().unique())
        axis = Axis.of(name.removeprefix(columns.HYPERPARAMETERS.name), values)
        found[axis.name] = {"title": axis.title, "log": axis.log, "places": [[v, axis.place(v)] for v in values]}
    return found


def _compared(group: Group, comparisons: pd.DataFrame | None) -> dict[str, Any]:
    """Setting to metric to, for each eps, [difference to the best, lower, upper, P(best)], and P(front) likewise."""
    if comparisons is None:
        return {}
    ours = (comparisons["suite"] == group.suite) & (comparisons["norm"] == group.norm)
    found: dict[str, Any] = {}
    for row in rows(comparisons[ours].sort_values("eps", kind="stable")):
        entry = found.setdefault(row["setting"], {"by": {}, "front": {"certified": [], "robust": []}})
        against = [row[name] for name in ("difference", "difference_lo", "difference_hi", "p_best")]
        held = entry["by"].setdefault(row["metric"], [])
        held.append([cells.number(value) for value in against])
        for accuracy, shares in entry["front"].items():
            if len(shares) < len(held):
                shares.append(cells.number(row[f"p_front_{accuracy}"]))
    return found
