"""What the page says of each setting under a suite, from hyperparameters.csv and comparisons.csv."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from lipbench.report import columns, notation, style
from lipbench.report.comparisons import FRONTS
from lipbench.report.formatting import family, general, labels, rows
from lipbench.report.page import cells
from lipbench.report.tables import Group

METRICS = ("clean", "certified", "robust", "gap", "mean_gap", "tightness", "mcr")
EFFECT = (  # columns of effects.csv
    *("eps", "hyperparameter", "others", "metric", "shape", "turn", "shape_probability"),
    *("step", "per_step", "per_step_lo", "per_step_hi"),
)
SLOTS = {name: place for place, name in enumerate(style.FAMILIES)}  # of colours and markers in page.css


def parts(group: Group) -> list[dict[str, Any]]:
    """One entry for each setting of a suite, in the order of hyperparameters.csv."""
    named, families = labels(group.settings, short=True), list(dict.fromkeys(group.settings["family"]))
    long = labels(group.settings)
    compared, kinds = _compared(group), _kinds(group)
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
                "kind": next(place for place, kind in enumerate(kinds) if kind[frame.index[0]]),
                "architecture": first["architecture"],
                "constrained": bool(first["constrained"]),
                "grade": first["grade"],
                "seeds": int(first["n_models"]),
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


def _slot(name: str, families: Sequence[str]) -> int:
    """The colour and marker of a family: its own, or one of those for families without any."""
    others = [each for each in families if each not in SLOTS]
    return SLOTS[name] if name in SLOTS else len(SLOTS) + others.index(name) % len(style.OTHERS)


def axes(group: Group) -> list[dict[str, dict[str, Any]]]:
    """For each kind of setting, by its number in ``parts``: the axis of each hyperparameter, see ``notation.scale``.

    ``places``: [value, its place on the axis in steps, how the axis prints it], ascending.
    """
    found = []
    for kind in _kinds(group):
        part = group.settings[kind]
        known = [name for name in columns.hyperparameter_columns(part) if part[name].notna().any()]
        found.append({name.removeprefix(columns.HYPERPARAMETERS.name): _axis(part, name) for name in known})
    return found


def _axis(part: pd.DataFrame, name: str) -> dict[str, Any]:
    values = sorted(float(value) for value in part[name].dropna().unique())
    scale = notation.scale(str(part["family"].iloc[0]), name.removeprefix(columns.HYPERPARAMETERS.name), values)
    places = zip(values, scale.places(values), map(general, map(scale.shown, values)), strict=True)
    symbol = notation.symbols().get(name.removeprefix(columns.HYPERPARAMETERS.name), name)
    return {"title": scale.title, "symbol": symbol, "log": scale.log, "places": [list(place) for place in places]}


def _kinds(group: Group) -> list[Any]:
    """A mask of the rows of each kind of setting: all that are alike but for the loss's hyperparameters."""
    names = columns.hyperparameter_columns(group.settings)
    names = [name for name in columns.setting_columns(group.settings) if name not in ("setting", *names)]
    alike = columns.alike(group.settings, names)
    return [alike == kind for kind in dict.fromkeys(alike)]


def _compared(group: Group) -> dict[str, Any]:
    """Setting to metric to, for each eps, [difference to the best, lower, upper, P(best)], and P(front) likewise."""
    found: dict[str, Any] = {}
    for row in rows(group.comparisons.sort_values("eps", kind="stable")):
        entry = found.setdefault(row["setting"], {"by": {}, "front": {accuracy: [] for accuracy in FRONTS}})
        against = [row[name] for name in ("difference", "difference_lo", "difference_hi", "p_best")]
        held = entry["by"].setdefault(row["metric"], [])
        held.append([cells.number(value) for value in against])
        for accuracy, shares in entry["front"].items():
            if len(shares) < len(held):
                shares.append(cells.number(row[f"p_front_{accuracy}"]))
    return found


def effects(group: Group) -> list[dict[str, Any]]:
    """Rows of effects.csv: the kind of setting by its number, and what the page says in words."""
    if group.effects.empty:
        return []
    names = columns.setting_columns(group.effects)
    number = {key: place for place, key in enumerate(dict.fromkeys(columns.alike(group.settings, names)))}
    kinds = [number[key] for key in columns.alike(group.effects, names)]
    return [
        {"kind": kind, **{name: _plain(row[name]) for name in EFFECT}}
        for kind, row in zip(kinds, rows(group.effects), strict=True)
    ]


def _plain(value: Any) -> Any:
    return value if isinstance(value, str) else cells.number(value)
