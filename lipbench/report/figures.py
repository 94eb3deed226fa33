"""The figures of a report: sandwich curves, the Pareto front, and the gap against each hyperparameter.

Figures are drawn as ``Figure`` objects, without pyplot, so that nothing global is touched.
"""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from matplotlib.transforms import ScaledTranslation

from lipbench.certification.grades import NONE
from lipbench.report import columns, hyperparameters, notation, style
from lipbench.report import settings as cards
from lipbench.report.formatting import family, few, labels, number, rows
from lipbench.report.pareto import pareto
from lipbench.report.tables import Group
from lipbench.runs.results import ModelResults

PANELS = 8  # settings in the sandwich figure
LINES = 5  # eps in a panel of the gap figure


def draw(group: Group, items: Sequence[ModelResults]) -> dict[str, Figure]:
    """The figures of one suite by name. ``items``: those of that suite."""
    with mpl.rc_context(style.RC):
        drawn = {"sandwich": sandwich(group, items), "pareto": pareto(group), "gap": gap(group)}
        for figure in drawn.values():
            style.settle(figure)
    return drawn


# --- sandwich ---


def representative(settings: pd.DataFrame, most: int = PANELS) -> list[Any]:
    """Index labels of up to ``most`` settings: each family has its share, spread over its hyperparameters."""
    families = [list(part.index) for _, part in settings.groupby("family", sort=False)][:most]
    share = [1] * len(families)
    while sum(share) < min(most, sum(map(len, families))):
        free = [place for place, family in enumerate(families) if share[place] < len(family)]
        share[min(free, key=lambda place: share[place] / len(families[place]))] += 1
    return [index for count, family in zip(share, families, strict=True) for index in few(family, count)]


def curves(items: Sequence[ModelResults], eps: Any) -> tuple[Any, Any]:
    """Certified and robust accuracy in percent, mean over models, each (k,), at ``eps`` (k,).

    Models without a certificate count only for the second; the first is NaN where there are no others.
    """
    certified = [[item.bounds.certified(e).mean() for e in eps] for item in items if item.certified]
    certified = certified or [[np.nan for e in eps]]
    robust = [[(~item.bounds.broken(e)).mean() for e in eps] for item in items]
    return 100 * np.mean(certified, axis=0), 100 * np.mean(robust, axis=0)


def _sandwich_panel(ax: Axes, items: Sequence[ModelResults], grid: Sequence[float], certified_grade: str) -> None:
    fine, marks = np.linspace(0, max(grid), 301), np.array(grid)
    certified, robust = curves(items, fine)
    marked = curves(items, marks)
    if not all(item.minimal_norm for item in items):  # between the eps of the grid nothing was attacked
        robust = np.interp(fine, [0, *marks], [robust[0], *marked[1]])
    ax.fill_between(fine, certified, robust, color=style.GAP, alpha=0.45, linewidth=0, label="gap")
    ax.plot(fine, robust, color=style.ROBUST, linestyle="--", linewidth=1.3, label="robust (attacked)")
    ax.plot(fine, certified, color=style.CERTIFIED, linewidth=1.3, label=f"certified ({certified_grade})")
    ax.plot(marks, marked[1], "o", color=style.ROBUST, markersize=3.5, markerfacecolor="white", clip_on=False)
    ax.plot(marks, marked[0], "o", color=style.CERTIFIED, markersize=3.5, clip_on=False)


def sandwich(group: Group, items: Sequence[ModelResults]) -> Figure:
    """Certified and robust accuracy over eps, one panel per setting; the band between them is the gap."""
    settings = group.settings[group.settings["eps"] == group.eps[0]]
    if settings["clean_mean"].isna().all():
        return style.blank("no samples")
    chosen, named = representative(settings), labels(group.settings, short=True)
    summary = cards.distinct(group.summary)
    across = min(4, len(chosen))
    lines = -(-len(chosen) // across)
    figure = style.new(7.2 if across > 2 else 2.4 * across + 1.2, 1.95 * lines + 0.6)
    axes = figure.subplots(lines, across, sharex=True, sharey=True, squeeze=False)
    for ax, index in zip(axes.flat, chosen, strict=False):
        row = rows(settings.loc[[index]])[0]
        models = set(summary.loc[summary["setting"] == row["setting"], "model"])
        _sandwich_panel(ax, [item for item in items if item.model in models], group.eps, group.grade)
        tightness = "" if row["grade"] == NONE else f"\ntightness {number(row['tightness_mean'], 2)}"
        ax.set_title(f"{style.wrap(named[row['setting']])}{tightness}")
    axes[0, 0].set(xlim=(0, max(group.eps) * 1.02), ylim=(0, 102))
    for ax in list(axes.flat)[len(chosen) :]:
        ax.remove()
    figure.supxlabel(f"eps ({group.unit})", fontsize=8)
    figure.supylabel("accuracy (%)", fontsize=8)
    handles, names = axes[0, 0].get_legend_handles_labels()
    if group.grade == NONE:
        handles, names = (
            [one for one, name in zip(found, names, strict=True) if "robust" in name] for found in (handles, names)
        )
    figure.legend(handles, names, loc="outside upper center", ncols=3)
    return figure


# --- gap ---


def gap(group: Group) -> Figure:
    """The gap against each hyperparameter, one panel each; error bars: standard deviation over seeds."""
    panels = [
        (name, lines) for name in columns.hyperparameter_columns(group.settings) if (lines := _lines(group, name))
    ]
    if not panels:
        return style.blank("no hyperparameter takes two values")
    across = min(3, len(panels))
    lines_of_panels = -(-len(panels) // across)
    figure = style.new(max(4.0, 2.4 * across), 3.2 * lines_of_panels)
    axes = figure.subplots(lines_of_panels, across, sharey=True, squeeze=False)
    for ax, (name, lines) in zip(axes.flat, panels, strict=False):
        _gap_panel(ax, name, lines, group)
    for ax in list(axes.flat)[len(panels) :]:
        ax.remove()
    for ax in axes[:, 0]:
        ax.set_ylabel(f"gap: robust - certified ({group.grade}), % points")
    return figure


def _lines(group: Group, name: str) -> list[pd.DataFrame]:
    """The settings that differ in hyperparameter ``name`` alone, at two values or more: a frame per line."""
    known = group.settings[np.isfinite(group.settings[name]) & group.settings["gap_mean"].notna()]
    rest = [key for key in columns.setting_columns(known) if key not in ("setting", name)]
    parts = known.groupby(columns.alike(known, rest), sort=False)
    return [part for _, part in parts if len(part[name].unique()) > 1]


def _apart(values: Sequence[float], scale: Any) -> list[float]:
    """The values, without those whose tick labels would overlap; the first and the last always stay."""
    near = 0.11 * (scale(values[-1]) - scale(values[0]))
    kept = [values[0]]
    for value in values[1:-1]:
        if scale(value) - scale(kept[-1]) > near and scale(values[-1]) - scale(value) > near:
            kept.append(value)
    return [*kept, values[-1]]


def _gap_panel(ax: Axes, name: str, lines: list[pd.DataFrame], group: Group) -> None:
    """A line per eps where the settings form one line; else a line per line of settings, at one eps."""
    chosen = hyperparameters.chosen_eps(group.settings)
    drawn = [(part, chosen) for part in lines] if len(lines) > 1 else [(lines[0], eps) for eps in few(group.eps, LINES)]
    shown = pd.concat(lines)
    named = labels(shown, short=True, whole=False, without=(name,))
    shades = mpl.colormaps["viridis"](np.linspace(0, 0.85, len(drawn)))
    for place, (part, eps) in enumerate(drawn):
        at, at_eps = part[part["eps"] == eps].sort_values(name), f"eps {group.shown(eps)}"
        ax.errorbar(
            at[name],
            100 * at["gap_mean"],
            100 * at["gap_std"].fillna(0),
            color=shades[place],
            marker="osD^vP"[place % 6],
            markersize=4,
            linewidth=1.2,
            capsize=2,
            label=style.entry(style.wrap(named[at["setting"].iloc[0]])) if len(lines) > 1 else at_eps,
        )
    values = sorted({value for part in lines for value in part[name]})
    if values[0] > 0 and values[-1] / values[0] > 8:
        ax.set_xscale("log")
        ax.xaxis.set_minor_locator(NullLocator())
    ticks = _apart(values, np.log if ax.get_xscale() == "log" else np.asarray)
    ax.set_xticks(ticks, [f"{value:.3g}" for value in ticks])
    bare, symbols = name.removeprefix(columns.HYPERPARAMETERS.name), notation.symbols(shown["family"].unique())
    ax.set_xlabel(f"{bare} ({symbols[bare]})" if bare in symbols else bare)
    title = ", ".join(family(each, short=True) for each in shown["family"].unique())
    if len(group.settings["architecture"].unique()) > len(architectures := shown["architecture"].unique()) == 1:
        title = f"{architectures[0]}: {title}"
    ax.set_title(style.wrap(f"{title}, eps {group.shown(chosen)}" if len(lines) > 1 else title, 30))
    _legend_below(ax)


def _legend_below(ax: Axes) -> None:
    """A legend under the label of the x axis, in as many columns as the width of a panel of 2.4 inches holds."""
    handles, names = ax.get_legend_handles_labels()
    longest = max(len(line) for name in names for line in name.split("\n"))
    below = ScaledTranslation(0, -34 / 72, ax.figure.dpi_scale_trans)
    ax.legend(
        handles,
        names,
        loc="upper center",
        bbox_to_anchor=(0.5, 0),
        bbox_transform=ax.transAxes + below,
        borderaxespad=0,
        fontsize=6.5,
        ncols=max(1, min(3, len(names), 132 // (4 * longest + 20))),
        handlelength=1.5,
        columnspacing=1,
    )
