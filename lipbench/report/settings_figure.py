"""The settings in order: certified, robust and clean accuracy of each, with intervals and seeds."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
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
DRAWN = [f"{name}_{end}" for name in ("certified", "robust") for end in ("mean", "lo", "hi")] + ["clean_mean"]
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
    _draw(ax, shown, models, [look[row["family"]][0] for row in shown])
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


def _draw(ax: Axes, shown: list[dict[str, Any]], models: pd.DataFrame, colours: list[str]) -> None:
    """Every row: the thick line and the filled dot are certified, the thin one and the open dot robust accuracy."""
    at = 100 * pd.DataFrame([{name: row[name] for name in DRAWN} for row in shown], dtype=float)
    places = np.arange(len(shown))
    ax.hlines(places, at["certified_mean"], at["robust_mean"], colors=colours, alpha=0.22, linewidth=4.5)
    ax.hlines(places, at["certified_lo"], at["certified_hi"], colors=colours, linewidth=1.9)
    ax.hlines(places, at["robust_lo"], at["robust_hi"], colors=colours, linewidth=0.7)
    ax.scatter(at["certified_mean"], places, s=16, c=colours, linewidths=0, zorder=3)
    ax.scatter(at["robust_mean"], places, s=14, facecolors="white", edgecolors=colours, linewidths=0.9, zorder=3)
    ax.plot(at["clean_mean"], places, "|", color="black", markersize=5)
    held = [models.loc[models["setting"] == row["setting"], "certified"] for row in shown]
    seeds = [(100 * v, p + 0.36, colours[p]) for p, each in enumerate(held) if len(each) > 1 for v in each]
    if seeds:
        x, y, shades = zip(*seeds, strict=True)
        ax.scatter(x, y, s=1.4, c=shades)


def _numbers(ax: Axes, shown: list[dict[str, Any]], ylim: tuple[float, float], size: Size) -> None:
    """The same as numbers, a row beside each row."""
    ax.set(ylim=ylim, xlim=(0, len(NUMBERS)))
    ax.axis("off")
    style_of: dict[str, Any] = {"ha": "right", "va": "center", "fontsize": size.small}
    for column, (name, head, digits) in enumerate(NUMBERS, 1):
        ax.text(column, -0.55, head, **style_of | {"va": "bottom"})
        for place, row in enumerate(shown):
            value = row[f"{name}_mean"]
            text = percent(value) if digits is None else number(value, digits)
            ax.text(column, place, text, **style_of).set_in_layout(False)


def _legend(figure: Figure, group: Group, size: Size) -> None:
    grey, certified = "#444444", group.grade != NONE
    marks: list[Artist] = []
    if certified:
        marks.append(Line2D([], [], marker="o", color=grey, markersize=4, linewidth=1.9, label="certified, 95 %"))
    marks.append(Line2D([], [], marker="o", color=grey, markersize=4, mfc="white", linewidth=0.7, label="robust, 95 %"))
    marks.append(Line2D([], [], marker="|", color="black", markersize=5, linewidth=0, label="clean"))
    if certified:
        marks.append(Patch(color=grey, alpha=0.22, linewidth=0, label="gap"))
    if certified and group.settings["n_models"].max() > 1:
        marks.append(Line2D([], [], marker=".", color=grey, markersize=2, linewidth=0, label="seeds"))
    narrow: dict[str, Any] = {"columnspacing": 1.0, "handletextpad": 0.4, "fontsize": size.small}
    figure.legend(handles=marks, loc="outside upper center", ncols=5, **narrow)
