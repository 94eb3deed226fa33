"""Certified and robust accuracy over eps, a panel per setting: the band between them is the gap."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lipbench.certification.grades import NONE
from lipbench.report import captions, style
from lipbench.report import settings as cards
from lipbench.report.formatting import few, number, rows
from lipbench.report.metrics import CERTIFIED, ROBUST
from lipbench.report.style import Size
from lipbench.report.tables import Group
from lipbench.runs.results import ModelResults

PANELS = 8  # settings in the figure


def representative(settings: pd.DataFrame, goal: str, most: int = PANELS) -> list[Any]:
    """Index labels of up to ``most`` settings: each family has its share, spread over its hyperparameters.

    The best and the worst in ``goal``, a metric, are always among them, in the place of the nearest of their family.
    """
    families = [list(part.index) for _, part in settings.groupby("family", sort=False)]
    means = settings[f"{goal}_mean"].dropna()
    ends = list(dict.fromkeys([means.idxmax(), means.idxmin()])) if len(means) else []
    first = sorted(families, key=lambda family: -sum(end in family for end in ends))[:most]
    kept = [family for family in families if family in first]
    share = [max(1, sum(end in family for end in ends)) for family in kept]
    while sum(share) > most:
        share[max(range(len(share)), key=lambda place: (share[place] == 1, place))] = 0
    while sum(share) < min(most, sum(map(len, kept))):
        free = [place for place, family in enumerate(kept) if share[place] < len(family)]
        share[min(free, key=lambda place: share[place] / len(kept[place]))] += 1
    chosen = []
    for count, family in zip(share, kept, strict=True):
        chosen += _with(few(family, count) if count else [], [end for end in ends if end in family], family)
    return chosen


def _with(chosen: list[Any], ends: Sequence[Any], family: Sequence[Any]) -> list[Any]:
    """The chosen ones of a family, with ``ends`` among them, each in the place of the nearest that is not one."""
    for end in ends:
        if end not in chosen:
            others = [each for each in chosen if each not in ends]
            nearest = min(others, key=lambda each: abs(family.index(each) - family.index(end)))
            chosen[chosen.index(nearest)] = end
    return sorted(chosen, key=family.index)


def curves(items: Sequence[ModelResults], eps: Any) -> tuple[Any, Any]:
    """Certified and robust accuracy in percent, mean over models, each (k,), at ``eps`` (k,).

    Models without a certificate count only for the second; the first is NaN where there are no others.
    """
    certified = [
        _above(item.bounds.certified_radius[item.bounds.correct], item.n, eps) for item in items if item.certified
    ]
    certified = certified or [np.full(len(eps), np.nan)]
    robust = [_above(item.bounds.adversarial_distance, item.n, eps) for item in items]
    return 100 * np.mean(certified, axis=0), 100 * np.mean(robust, axis=0)


def _above(bounds: Any, n: int, eps: Any) -> Any:
    """The share of n samples whose bound is above each eps, (k,)."""
    ordered = np.sort(bounds)
    return (len(ordered) - np.searchsorted(ordered, eps, side="right")) / n


def _panel(ax: Axes, items: Sequence[ModelResults], grid: Sequence[float], certified_grade: str) -> None:
    fine, marks = np.linspace(0, max(grid), 301), np.array(grid)
    certified, robust = curves(items, fine)
    marked = curves(items, marks)
    if not all(item.minimal_norm for item in items):  # between the eps of the grid nothing was attacked
        robust = np.interp(fine, [0, *marks], [robust[0], *marked[1]])
    ax.fill_between(fine, certified, robust, color=style.GAP, alpha=0.45, linewidth=0, label="gap")
    ax.plot(fine, robust, color=style.ROBUST, linestyle="--", linewidth=1.1, label="robust (attacked)")
    ax.plot(fine, certified, color=style.CERTIFIED, linewidth=1.1, label=f"certified ({certified_grade})")
    ax.plot(marks, marked[1], "o", color=style.ROBUST, markersize=2.8, markerfacecolor="white", clip_on=False)
    ax.plot(marks, marked[0], "o", color=style.CERTIFIED, markersize=2.8, clip_on=False)


def sandwich(group: Group, items: Sequence[ModelResults], eps: float, size: Size) -> Figure:
    """The panels; ``eps``: at which the best and the worst are looked for."""
    settings = group.settings[group.settings["eps"] == eps]
    if settings["clean_mean"].isna().all():
        return style.blank("no samples", size)
    goal = (CERTIFIED if group.grade != NONE else ROBUST).name
    chosen, named = representative(settings, goal), captions.brief(group.settings)
    summary = cards.distinct(group.summary)
    across = min(size.across, len(chosen))
    lines = -(-len(chosen) // across)
    wide, high = size.width * (across / size.across if across > 2 else 1), 1.45 if size is style.WIDE else 1.2
    figure = style.new(wide, high * lines + 0.55)
    axes = figure.subplots(lines, across, sharex=True, sharey=True, squeeze=False)
    for ax, index in zip(axes.flat, chosen, strict=False):
        row = rows(settings.loc[[index]])[0]
        models = set(summary.loc[summary["setting"] == row["setting"], "model"])
        _panel(ax, [item for item in items if item.model in models], group.eps, group.grade)
        tightness = "" if row["grade"] == NONE else f"\ntightness {number(row['tightness_mean'], 2)}"
        ax.set_title(f"{style.wrap(named[row['setting']])}{tightness}", fontsize=size.small)
    axes[0, 0].set(xlim=(0, max(group.eps) * 1.02), ylim=(0, 102))
    for ax in list(axes.flat)[len(chosen) :]:
        ax.remove()
    figure.supxlabel(f"eps ({group.unit})", fontsize=size.font)
    figure.supylabel("accuracy (%)", fontsize=size.font)
    handles, names = axes[0, 0].get_legend_handles_labels()
    if group.grade == NONE:
        handles, names = (
            [one for one, name in zip(found, names, strict=True) if "robust" in name] for found in (handles, names)
        )
    figure.legend(handles, names, loc="outside upper center", ncols=3, columnspacing=1.0)
    return figure
