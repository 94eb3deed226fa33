"""Two hyperparameters of a loss at once, as heat maps: where one changes what the other does."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lipbench._internal.arrays import Floats
from lipbench.certification.grades import NONE
from lipbench.report import captions, notation, style
from lipbench.report.columns import Metric
from lipbench.report.formatting import family, general, number, rows
from lipbench.report.metrics import CERTIFIED, CLEAN, GAP, MEAN_GAP, ROBUST
from lipbench.report.style import Size
from lipbench.report.surfaces import Surface, surfaces
from lipbench.report.tables import Group

MOST = 3  # grids in a figure


def heat(group: Group, eps: float, size: Size) -> Figure:
    """A row of maps for each grid of ``surfaces``; of a page with two columns one column has two maps side by side."""
    known = group.grade != NONE
    metrics: tuple[Metric, ...] = (CERTIFIED, GAP, CLEAN, MEAN_GAP) if known else (ROBUST, CLEAN)
    found = list(surfaces(group.settings))[:MOST]
    if not found:
        return style.blank("no loss has a grid of two hyperparameters", size)
    metrics = metrics[: size.across]
    tallest = max(len(surface.rows) for surface in found)
    figure = style.new(size.width, len(found) * (0.22 * tallest + 0.75) + 0.1)
    axes = figure.subplots(len(found), len(metrics), squeeze=False)
    at = group.settings[group.settings["eps"] == eps]
    means = {metric: dict(zip(at["setting"], 100 * at[f"{metric.name}_mean"], strict=True)) for metric in metrics}
    kinds = {row["setting"]: row for row in rows(at)}
    for line, surface in zip(axes, found, strict=True):
        row = kinds[next(one for each in surface.settings for one in each if one)]
        symbols = notation.symbols([row["family"]])
        across, down = (symbols.get(name, name) for name in (surface.across, surface.down))
        for ax, metric in zip(line, metrics, strict=True):
            values = np.array([[means[metric].get(s, np.nan) for s in each] for each in surface.settings])
            _map(ax, surface, values, size, reverse=metric in (GAP, MEAN_GAP))
            ax.set_title(f"{metric.title} (%)")
            ax.set_xlabel(across)
        line[0].set_ylabel(f"{family(row['family'], short=True)}{_built(row, group)}\n{down}")
    return figure


def _built(row: Mapping[str, Any], group: Group) -> str:
    """The architecture, unless it is the usual one."""
    usual = captions.usual(group.settings)
    return f" ({row['architecture']})" if usual and row["architecture"] != usual else ""


def _map(ax: Axes, surface: Surface, values: Floats, size: Size, reverse: bool) -> None:
    """One map with its numbers; dark is better."""
    shades = "Blues_r" if reverse else "Blues"
    shown = np.ma.masked_invalid(values)
    low, high = (float(shown.min()), float(shown.max())) if shown.count() else (0.0, 1.0)
    room = max(high - low, 1e-9)
    ax.imshow(shown, cmap=shades, vmin=low - 0.1 * room, vmax=high + 0.1 * room, aspect="auto", origin="lower")
    ax.set_xticks(range(len(surface.columns)), [general(value) for value in surface.columns])
    ax.set_yticks(range(len(surface.rows)), [general(value) for value in surface.rows])
    ax.grid(False)
    for row, column in np.ndindex(values.shape):
        share = (values[row, column] - low) / room
        dark = (1 - share if reverse else share) > 0.55
        text = "" if np.isnan(values[row, column]) else number(values[row, column], 1)
        ax.text(column, row, text, ha="center", va="center", fontsize=size.small, color="white" if dark else "black")
