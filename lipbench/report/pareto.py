"""The Pareto front: clean accuracy against certified and robust accuracy at one eps."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.path import Path
from matplotlib.transforms import Bbox

from lipbench.report import comparisons, hyperparameters, style
from lipbench.report.formatting import family, labels, rows
from lipbench.report.tables import Group

REACHES = (9, 16, 26, 40, 60, 90)  # of a label from its point, in pt
ANGLES = 24
ROUNDS = 3  # in which every label may move once more, now that the others have their places


def pareto(group: Group) -> Figure:
    """Clean accuracy against certified (filled) and robust (open) accuracy, where settings differ most."""
    eps = hyperparameters.chosen_eps(group.settings)
    at = group.settings[group.settings["eps"] == eps]
    if at["clean_mean"].isna().all():
        return style.blank("no samples")
    figure = style.new(7.2, 4.4)
    ax = figure.subplots()
    look = style.families(list(at["family"]))
    for each, part in at.groupby("family", sort=False):
        colour, marker = look[str(each)]
        clean, low, high = (100 * part[f"{key}_mean"] for key in ("clean", "certified", "robust"))
        name, both = style.entry(family(str(each), short=True)), low.notna()
        ax.vlines(clean[both], low[both], high[both], color=colour, linewidth=0.8, alpha=0.5, zorder=2)
        ax.plot(clean, low, marker, color=colour, markersize=5.5, zorder=3, label=name, clip_on=False)
        ax.plot(clean, high, marker, color=colour, markersize=5.5, markerfacecolor="white", zorder=3)
    fronts = {key: at[comparisons.on_front(at, key)].sort_values("clean_mean") for key in ("certified", "robust")}
    for (key, front), line, word in zip(
        fronts.items(), ("-", ":"), (f"certified ({group.grade}, filled)", "robust (open)"), strict=True
    ):
        if front.empty:  # no network has a certificate
            continue
        x, y = 100 * front["clean_mean"], 100 * front[f"{key}_mean"]
        ax.plot(x, y, line, color=style.FRONT, linewidth=1, zorder=1, label=f"front, {word}")
    ax.set_xlabel("clean accuracy (%)")
    ax.set_ylabel(f"accuracy (%) at eps {group.shown(eps)} ({group.unit})")
    ax.margins(0.1)
    _room(ax, 100 * at["clean_mean"])
    figure.legend(loc="outside right upper")
    _label_fronts(figure, ax, at, fronts, group)
    return figure


def _room(ax: Axes, clean: "pd.Series[float]") -> None:
    """Most settings crowd at the right end: leave room for labels there, though no accuracy exceeds 100 %."""
    span = max(clean.max() - clean.min(), 2.0)
    ax.set_xlim(clean.min() - 0.06 * span, clean.max() + 0.2 * span)
    ax.set_xticks([tick for tick in ax.get_xticks() if clean.min() - 0.06 * span <= tick <= 100])


@dataclass(frozen=True)
class _Place:
    """Where a label may stand, in pixels."""

    offset: tuple[float, float]  # of the middle of its near side from its point, in pt
    box: Bbox
    leader: Path  # from the point to the middle of the box

    @functools.cached_property
    def _reach(self) -> tuple[float, float, float, float]:
        """What box and leader lie within, with more room than any comparison adds: x0, y0, x1, y1."""
        whole = Bbox.union([self.box, self.leader.get_extents()]).padded(3)
        return whole.x0, whole.y0, whole.x1, whole.y1

    def against(self, other: "_Place") -> float:
        """How much two labels disturb each other."""
        (x0, y0, x1, y1), (left, bottom, right, top) = self._reach, other._reach
        if x1 < left or right < x0 or y1 < bottom or top < y0:  # most do not
            return 0.0
        boxes = self.box.padded(3).overlaps(other.box)
        through = self.leader.intersects_bbox(other.box.padded(2)) + other.leader.intersects_bbox(self.box.padded(2))
        return 10.0 * boxes + 8.0 * through + 4.0 * self.leader.intersects_path(other.leader, filled=False)


def _label_fronts(figure: Figure, ax: Axes, at: pd.DataFrame, fronts: dict[str, pd.DataFrame], group: Group) -> None:
    """Name each setting on a front once, where labels and leaders cover the fewest points, lines and each other."""
    robust_only = fronts["robust"].drop(index=fronts["certified"].index, errors="ignore")
    parts = (("certified", fronts["certified"]), ("robust", robust_only))
    named = [(row, 100 * row["clean_mean"], 100 * row[f"{key}_mean"]) for key, part in parts for row in rows(part)]
    built = {row["architecture"] for row, _, _ in named}
    known = group.settings[group.settings["architecture"].isin(built)]
    if len(built) == 1 and len(known) < len(group.settings):  # said once for all labels
        ax.set_title(f"settings on the fronts, all {built.pop()}, are named", loc="left", fontsize=7)
    style.settle(figure)  # labels are measured on it, and must not move it
    points, lines = _obstacles(ax, at, fronts)
    words = labels(known, short=True)
    texts = [style.wrap(words[row["setting"]], 30) for row, _, _ in named]
    choices = [_places(ax, (x, y), text, points, lines) for text, (_, x, y) in zip(texts, named, strict=True)]
    for text, (_, x, y), place in zip(texts, named, _arrange(choices), strict=True):
        ax.annotate(
            text,
            (x, y),
            place.offset,
            textcoords="offset points",
            ha=_side(place.offset[0]),
            va="center",
            fontsize=6.5,
            zorder=4,
            arrowprops={"arrowstyle": "-", "color": "#777777", "linewidth": 0.5, "shrinkA": 0, "shrinkB": 3},
        )


def _arrange(choices: Sequence[Sequence[tuple[float, _Place]]]) -> list[_Place]:
    """One of its places, each with its cost, for every label: greedily, then revised given all others."""
    taken: dict[int, _Place] = {}
    for _ in range(ROUNDS):
        for this, places in enumerate(choices):
            others = [place for other, place in taken.items() if other != this]
            taken[this] = _cheapest(places, others)
    return [taken[this] for this in range(len(choices))]


def _cheapest(places: Sequence[tuple[float, _Place]], others: Sequence[_Place]) -> _Place:
    """The place that costs least beside the others, the first one of several.

    Others only add to a cost. So places are tried from the cheapest on, until one costs more by itself.
    """
    least, found = math.inf, 0
    for this, (cost, place) in sorted(enumerate(places), key=lambda each: each[1][0]):
        if cost > least:
            break
        total = cost + sum(place.against(other) for other in others)
        if total < least or (total == least and this < found):
            least, found = total, this
    return places[found][1]


def _places(ax: Axes, point: tuple[float, float], text: str, points: Any, lines: Any) -> list[tuple[float, _Place]]:
    """Every place for the label of ``point``, with what it costs whatever the other labels do."""
    note = ax.annotate(text, point, (0, 0), textcoords="offset points", va="center", fontsize=6.5)
    size, scale = note.get_window_extent(), ax.figure.dpi / 72
    note.remove()
    inside, anchor, found = ax.get_window_extent(), ax.transData.transform(point), []
    for reach in REACHES:
        for angle in np.arange(ANGLES) * 2 * np.pi / ANGLES:
            dx, dy = round(float(np.cos(angle)) * reach, 3), round(float(np.sin(angle)) * reach, 3)
            left = anchor[0] + dx * scale - {"left": 0, "center": 0.5, "right": 1}[_side(dx)] * size.width
            box = Bbox.from_bounds(left, anchor[1] + dy * scale - size.height / 2, size.width, size.height)
            middle = ((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2)
            near = anchor + np.linspace(0, 1, 40)[:, None] * (np.array(middle) - anchor)
            crossed = (np.linalg.norm(near[:, None] - points, axis=2) < 5 * scale).any(axis=0).sum()
            padded = box.padded(2 * scale)
            outside = box.x0 < inside.x0 or box.x1 > inside.x1 or box.y0 < inside.y0 or box.y1 > inside.y1
            covered = 4 * padded.padded(2 * scale).count_contains(points) + 0.25 * padded.count_contains(lines)
            cost = 100 * outside + covered + 2 * crossed + 0.03 * reach
            found.append((float(cost), _Place((dx, dy), box, Path(np.array([anchor, middle])))))
    return found


def _side(dx: float) -> str:
    """The side of a label that faces its point."""
    return "center" if abs(dx) < 1 else "right" if dx < 0 else "left"


def _obstacles(ax: Axes, at: pd.DataFrame, fronts: dict[str, pd.DataFrame]) -> tuple[Any, Any]:
    """Pixels of the points, and pixels along the lines: each (k, 2)."""
    low, high = (100 * at[["clean_mean", f"{key}_mean"]].to_numpy() for key in ("certified", "robust"))
    paths = list(np.stack([low, high], axis=1))
    paths += [100 * front[["clean_mean", f"{key}_mean"]].to_numpy() for key, front in fronts.items()]
    share = np.linspace(0, 1, 60)[:, None]
    steps = [start + share * (end - start) for path in paths for start, end in pairwise(path)]
    points, lines = (ax.transData.transform(np.concatenate(found)) for found in ([low, high], steps))
    return points[np.isfinite(points).all(axis=1)], lines[np.isfinite(lines).all(axis=1)]
