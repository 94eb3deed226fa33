"""The settings in order: certified, robust and clean accuracy of each, with intervals and seeds."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from lipbench.certification.grades import NONE
from lipbench.report import captions, style
from lipbench.report import settings as cards
from lipbench.report.formatting import few, number, percent, rows
from lipbench.report.metrics import CERTIFIED, ROBUST
from lipbench.report.style import Size
from lipbench.report.tables import Group

MOST = 40  # settings; of more, evenly spread ones from the best to the worst
ROW = 0.155  # inches
NUMBERS = (  # metric, heading, decimals; None: in percent
    ("clean", "clean", None),
    ("certified", "cert.", None),
    ("robust", "robust", None),
    ("gap", "gap", None),
    ("mean_gap", "mean\ngap", None),
    ("tightness", "tight.", 2),
)


def settings_figure(group: Group, eps: float, size: Size) -> Figure:
    """A row per setting, the best first; in both columns of a page with numbers beside it."""
    goal = (CERTIFIED if group.grade != NONE else ROBUST).name
    at = group.settings[group.settings["eps"] == eps]
    if at["clean_mean"].isna().all():
        return style.blank("no samples", size)
    ordered = at.sort_values(f"{goal}_mean", ascending=False, kind="stable", na_position="last")
    shown, named = few(rows(ordered), MOST), captions.brief(group.settings)
    models = cards.distinct(group.summary[group.summary["eps"] == eps])
    look = style.families(list(group.settings["family"]))
    figure = style.new(size.width, ROW * len(shown) + 0.75)
    beside = 0.62 if size is style.WIDE else 0.0  # of the width of the axes: numbers
    axes = figure.subplots(1, 1 + bool(beside), width_ratios=[1.0, *([beside] if beside else [])], squeeze=False)[0]
    ax = axes[0]
    for place, row in enumerate(shown):
        seeds = models[models["setting"] == row["setting"]]
        _row(ax, place, row, seeds, look[row["family"]][0])
    ax.set(ylim=(len(shown) - 0.4, -0.9), xlim=(-2, 102))
    width = 44 if size is style.WIDE else 24
    ax.set_yticks(range(len(shown)), [_cut(named[row["setting"]], width) for row in shown])
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", visible=False)
    ax.set_xlabel(captions.accuracy(group, eps, whole=size is style.WIDE))
    if beside:
        _numbers(axes[1], shown, ax.get_ylim(), size)
    _legend(figure, group, size)
    return figure


def _cut(label: str, width: int) -> str:
    return label if len(label) <= width else f"{label[: width - 1]}…"


def _row(ax: Axes, place: int, row: dict[str, Any], seeds: pd.DataFrame, colour: str) -> None:
    """One setting: the thick line and the filled dot are certified, the thin one and the open dot robust accuracy."""
    at = {name: 100 * row[name] for name in row if str(name).endswith(("_mean", "_lo", "_hi"))}
    if not pd.isna(at["certified_mean"]):
        ax.plot([at["certified_mean"], at["robust_mean"]], [place] * 2, color=colour, alpha=0.22, linewidth=4.5, solid_capstyle="butt")
        ax.plot([at["certified_lo"], at["certified_hi"]], [place] * 2, color=colour, linewidth=1.9, solid_capstyle="butt")
    ax.plot([at["robust_lo"], at["robust_hi"]], [place] * 2, color=colour, linewidth=0.7)
    ax.plot(at["certified_mean"], place, "o", color=colour, markersize=4)
    ax.plot(at["robust_mean"], place, "o", color=colour, markersize=4, markerfacecolor="white", markeredgewidth=0.9)
    ax.plot(at["clean_mean"], place, "|", color="black", markersize=5)
    if len(seeds) > 1:
        ax.plot(100 * seeds["certified"], [place + 0.36] * len(seeds), ".", color=colour, markersize=1.6)


def _numbers(ax: Axes, shown: list[dict[str, Any]], ylim: tuple[float, float], size: Size) -> None:
    """The same as numbers, a row beside each row."""
    ax.set(ylim=ylim, xlim=(0, len(NUMBERS)))
    ax.axis("off")
    style_of = {"ha": "right", "va": "center", "fontsize": size.small}
    for column, (name, head, digits) in enumerate(NUMBERS, 1):
        ax.text(column, -0.55, head, **style_of | {"va": "bottom"})
        for place, row in enumerate(shown):
            value = row[f"{name}_mean"]
            ax.text(column, place, percent(value) if digits is None else number(value, digits), **style_of)


def _legend(figure: Figure, group: Group, size: Size) -> None:
    marks = [Line2D([], [], marker="o", color="#444444", markersize=4, linewidth=1.9, label="certified, 95 %")]
    marks = marks if group.grade != NONE else []
    marks += [
        Line2D([], [], marker="o", color="#444444", markersize=4, markerfacecolor="white", linewidth=0.7, label="robust, 95 %"),
        Line2D([], [], marker="|", color="black", markersize=5, linewidth=0, label="clean"),
        *([Patch(color="#444444", alpha=0.22, linewidth=0, label="gap")] if group.grade != NONE else []),
    ]
    if group.settings["n_models"].max() > 1 and group.grade != NONE:
        marks.append(Line2D([], [], marker=".", color="#444444", markersize=2, linewidth=0, label="seeds"))
    figure.legend(handles=marks, loc="outside upper center", ncols=5, columnspacing=1.0, handletextpad=0.4, fontsize=size.small)
