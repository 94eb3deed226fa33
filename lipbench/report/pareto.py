"""The Pareto front: clean accuracy against certified and robust accuracy at one eps."""

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from lipbench.report import frames, style
from lipbench.report.tables import Group
from lipbench.report.wording import WORDS, label, rows

OFFSETS = tuple(  # of a label from its point, in pt, the nearest first
    (dx * reach, dy * reach)
    for reach in (8, 16, 26, 40, 60)
    for dx, dy in ((-1, 0), (1, 0), (-1, -1), (1, -1), (-1, 1), (1, 1), (-0.4, -1.4), (0.4, 1.4))
)


def pareto(group: Group) -> Figure:
    """Clean accuracy against certified (filled) and robust (open) accuracy, where settings differ most."""
    eps = frames.chosen_eps(group.settings)
    at = group.settings[group.settings["eps"] == eps]
    if at["clean_mean"].isna().all():
        return style.blank("no samples")
    figure = Figure(figsize=(7.2, 4.4))
    ax = figure.subplots()
    look = style.families(list(at["family"]))
    for family, part in at.groupby("family", sort=False):
        colour, marker = look[str(family)]
        clean, low, high = (100 * part[f"{key}_mean"] for key in ("clean", "certified_real", "robust"))
        ax.vlines(clean, low, high, color=colour, linewidth=0.8, alpha=0.5, zorder=2)
        name = WORDS.get(str(family), str(family))
        ax.plot(clean, low, marker, color=colour, markersize=5.5, zorder=3, label=name, clip_on=False)
        ax.plot(clean, high, marker, color=colour, markersize=5.5, markerfacecolor="white", zorder=3)
    fronts = {key: at[frames.on_front(at, key)].sort_values("clean_mean") for key in ("certified_real", "robust")}
    for (key, front), line, word in zip(
        fronts.items(), ("-", ":"), ("certified (filled)", "robust (open)"), strict=True
    ):
        x, y = 100 * front["clean_mean"], 100 * front[f"{key}_mean"]
        ax.plot(x, y, line, color=style.FRONT, linewidth=1, zorder=1, label=f"front, {word}")
    ax.set_xlabel("clean accuracy (%)")
    ax.set_ylabel(f"accuracy (%) at eps {eps:.4g} ({group.unit})")
    ax.margins(0.1)
    figure.legend(loc="outside right upper")
    _label_fronts(figure, ax, at, fronts, group)
    return figure


def _label_fronts(figure: Figure, ax: Axes, at: pd.DataFrame, fronts: dict[str, pd.DataFrame], group: Group) -> None:
    """Name each setting on a front once, where its label covers the fewest points, lines and labels."""
    style.settle(figure)  # labels are measured on it, and must not move it
    points, lines = _obstacles(ax, at, fronts)
    robust_only = fronts["robust"].drop(index=fronts["certified_real"].index, errors="ignore")
    taken: list[Bbox] = []
    for key, front in (("certified_real", fronts["certified_real"]), ("robust", robust_only)):
        for row in rows(front):
            place = (100 * row["clean_mean"], 100 * row[f"{key}_mean"])
            text = style.wrap(label(row, group.settings, WORDS))
            note = ax.annotate(text, place, (0, 0), textcoords="offset points", va="center", fontsize=6.5, zorder=4)
            size = note.get_window_extent()
            note.remove()
            scale = figure.dpi / 72
            boxes = [_box(ax.transData.transform(place), dx * scale, dy * scale, size) for dx, dy in OFFSETS]
            costs = [_cost(box, taken, points, lines, ax) + 0.05 * n for n, box in enumerate(boxes)]
            best = int(np.argmin(costs))
            taken.append(boxes[best])
            ax.annotate(
                text,
                place,
                OFFSETS[best],
                textcoords="offset points",
                ha="right" if OFFSETS[best][0] < 0 else "left",
                va="center",
                fontsize=6.5,
                zorder=4,
                arrowprops={
                    "arrowstyle": "-",
                    "color": "#777777",
                    "linewidth": 0.5,
                    "shrinkA": 0,
                    "shrinkB": 3,
                },
            )


def _obstacles(ax: Axes, at: pd.DataFrame, fronts: dict[str, pd.DataFrame]) -> tuple[Any, Any]:
    """Pixels of the points, and pixels along the lines: each (k, 2)."""
    low, high = (100 * at[["clean_mean", f"{key}_mean"]].to_numpy() for key in ("certified_real", "robust"))
    paths = list(np.stack([low, high], axis=1))
    paths += [100 * front[["clean_mean", f"{key}_mean"]].to_numpy() for key, front in fronts.items()]
    share = np.linspace(0, 1, 60)[:, None]
    steps = [start + share * (end - start) for path in paths for start, end in pairwise(path)]
    return ax.transData.transform(np.concatenate([low, high])), ax.transData.transform(np.concatenate(steps))


def _box(anchor: Any, dx: float, dy: float, size: Bbox) -> Bbox:
    left = anchor[0] + dx - (size.width if dx < 0 else 0)
    return Bbox.from_bounds(left, anchor[1] + dy - size.height / 2, size.width, size.height)


def _cost(box: Bbox, taken: list[Bbox], points: Any, lines: Any, ax: Axes) -> float:
    inside = ax.get_window_extent()
    outside = box.x0 < inside.x0 or box.x1 > inside.x1 or box.y0 < inside.y0 or box.y1 > inside.y1
    padded = box.padded(2)
    covered = 4 * padded.count_contains(points) + 0.25 * padded.count_contains(lines)
    return float(100 * outside + 10 * padded.count_overlaps(taken) + covered)
