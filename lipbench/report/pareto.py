"""The Pareto front: clean accuracy against certified and robust accuracy at one eps."""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.path import Path
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from lipbench._internal.arrays import Floats
from lipbench.report import captions, comparisons, style
from lipbench.report.formatting import family, percent, rows
from lipbench.report.style import Size
from lipbench.report.tables import Group

REACHES = (9, 16, 26, 40, 60, 90)  # of a label from its point, in pt
ANGLES = 24
OUTSIDE, SHARE = 0.2, 0.5  # see ``window``
EDGE = "edge"  # group of the names of settings outside the axes
ROUNDS = 3  # in which every label may move once more, now that the others have their places


def pareto(group: Group, eps: float, size: Size) -> Figure:
    """Clean accuracy against certified (filled) and robust (open) accuracy at one eps."""
    at = group.settings[group.settings["eps"] == eps]
    if at["clean_mean"].isna().all():
        return style.blank("no samples", size)
    wide = size is style.WIDE
    figure = style.new(size.width, 3.9 if wide else 3.2)
    ax = figure.subplots()
    low, high = window(100 * at["clean_mean"].dropna().to_numpy())
    inside = at[(100 * at["clean_mean"]).between(low, high)]
    look, marker_size = style.families(list(at["family"])), 5.0 if wide else 4.0
    for each, part in inside.groupby("family", sort=False):
        colour, marker = look[str(each)]
        clean, certified, robust = (100 * part[f"{key}_mean"] for key in ("clean", "certified", "robust"))
        name, both = style.entry(family(str(each), short=True)), certified.notna()
        ax.vlines(clean[both], certified[both], robust[both], color=colour, linewidth=0.8, alpha=0.5, zorder=2)
        ax.plot(clean, certified, marker, color=colour, markersize=marker_size, zorder=3, label=name, clip_on=False)
        ax.plot(clean, robust, marker, color=colour, markersize=marker_size, markerfacecolor="white", zorder=3)
    fronts = {key: at[comparisons.on_front(at, key)].sort_values("clean_mean") for key in ("certified", "robust")}
    for (key, front), line, word in zip(
        fronts.items(), ("-", ":"), (f"certified ({group.grade}, filled)", "robust (open)"), strict=True
    ):
        if front.empty:  # no network has a certificate
            continue
        x, y = 100 * front["clean_mean"], 100 * front[f"{key}_mean"]
        ax.plot(x, y, line, color=style.FRONT, linewidth=1, zorder=1, label=f"front, {word}")
    ax.set_xlabel("clean accuracy (%)")
    ax.set_ylabel(captions.accuracy(group, eps, whole=wide))
    ax.margins(0.1)
    ax.set_ylim(bottom=max(ax.get_ylim()[0], -4.0))
    _room(ax, 100 * inside["clean_mean"])
    outside = at.drop(index=inside.index).dropna(subset=["clean_mean"])
    _at_the_edge(ax, outside, low, captions.brief(group.settings), look, size)
    figure.legend(
        loc="outside right upper" if wide else "outside upper center", ncols=1 if wide else 2, fontsize=size.small
    )
    near = {key: front[front.index.isin(inside.index)] for key, front in fronts.items()}
    _label_fronts(figure, ax, inside, near, group, size)
    return figure


def window(values: Floats) -> tuple[float, float]:
    """The ends of the axis: all values (n,), but for the fewest without which it is at most ``SHARE`` as long.

    At most ``OUTSIDE`` of the values may be left out; if that is not enough, none is.
    """
    ordered = np.sort(values)
    for left_out in range(1, int(OUTSIDE * len(ordered)) + 1):
        kept = len(ordered) - left_out
        spans = ordered[kept - 1 :] - ordered[: left_out + 1]
        first = int(spans.argmin())
        if spans[first] <= SHARE * (ordered[-1] - ordered[0]):
            return float(ordered[first]), float(ordered[first + kept - 1])
    return float(ordered[0]), float(ordered[-1])


def _at_the_edge(
    ax: Axes,
    outside: pd.DataFrame,
    low: float,
    named: Mapping[str, str],
    look: Mapping[str, tuple[str, str]],
    size: Size,
) -> None:
    """An arrow at the edge for each setting outside the axes, at the height of its bounds, with its clean accuracy."""
    lowest, highest = ax.get_ylim()
    step, free = (highest - lowest) * 0.07, {True: -np.inf, False: -np.inf}  # where names may stand, on either side
    for row in sorted(rows(outside), key=lambda row: float(row["robust_mean"])):
        left, (colour, _) = 100 * row["clean_mean"] < low, look[row["family"]]
        place = 0.012 if left else 0.988
        for key, fill in (("certified", colour), ("robust", "white")):
            if not pd.isna(row[f"{key}_mean"]):
                height = 100 * row[f"{key}_mean"]
                spot: dict[str, Any] = {
                    "transform": ax.get_yaxis_transform(),
                    "markersize": 4,
                    "color": colour,
                    "zorder": 3,
                }
                ax.plot(place, height, "<" if left else ">", markerfacecolor=fill, **spot)
        clean = f"clean {percent(row['clean_mean'])} %"
        text = f"{named[row['setting']]}, {clean}"
        free[left] = max(free[left] + step, 100 * row["robust_mean"])
        ax.annotate(
            text if size is style.WIDE else style.wrap(text, 26),
            (place, free[left]),
            (3 if left else -3, 5),
            xycoords=ax.get_yaxis_transform(),
            textcoords="offset points",
            ha="left" if left else "right",
            va="bottom",
            fontsize=size.small - 0.5,
            color=colour,
            gid=EDGE,
        ).set_in_layout(False)


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


def _label_fronts(
    figure: Figure, ax: Axes, at: pd.DataFrame, fronts: dict[str, pd.DataFrame], group: Group, size: Size
) -> None:
    """Name each setting on a front once, where labels and leaders cover the fewest points, lines and each other."""
    robust_only = fronts["robust"].drop(index=fronts["certified"].index, errors="ignore")
    parts = (("certified", fronts["certified"]), ("robust", robust_only))
    named = [(row, 100 * row["clean_mean"], 100 * row[f"{key}_mean"]) for key, part in parts for row in rows(part)]
    style.settle(figure)  # labels are measured on it, and must not move it
    points, lines = _obstacles(ax, at, fronts)
    points = np.concatenate([points, *(_over(note) for note in ax.texts)])  # names at the edge
    words = captions.brief(group.settings)
    texts = [style.wrap(words[row["setting"]], 30 if size is style.WIDE else 18) for row, _, _ in named]
    choices = [_places(ax, (x, y), text, points, lines, size) for text, (_, x, y) in zip(texts, named, strict=True)]
    for text, (_, x, y), place in zip(texts, named, _arrange(choices), strict=True):
        ax.annotate(
            text,
            (x, y),
            place.offset,
            textcoords="offset points",
            ha=_side(place.offset[0]),
            va="center",
            fontsize=size.small,
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


def _places(
    ax: Axes, point: tuple[float, float], text: str, points: Any, lines: Any, size: Size
) -> list[tuple[float, _Place]]:
    """Every place for the label of ``point``, with what it costs whatever the other labels do."""
    note = ax.annotate(text, point, (0, 0), textcoords="offset points", va="center", fontsize=size.small)
    extent, scale = note.get_window_extent(), ax.figure.dpi / 72
    note.remove()
    inside, anchor, found = ax.get_window_extent(), ax.transData.transform(point), []
    for reach in REACHES:
        for angle in np.arange(ANGLES) * 2 * np.pi / ANGLES:
            dx, dy = round(float(np.cos(angle)) * reach, 3), round(float(np.sin(angle)) * reach, 3)
            left = anchor[0] + dx * scale - {"left": 0, "center": 0.5, "right": 1}[_side(dx)] * extent.width
            box = Bbox.from_bounds(left, anchor[1] + dy * scale - extent.height / 2, extent.width, extent.height)
            middle = ((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2)
            near = anchor + np.linspace(0, 1, 40)[:, None] * (np.array(middle) - anchor)
            crossed = (np.linalg.norm(near[:, None] - points, axis=2) < 5 * scale).any(axis=0).sum()
            padded = box.padded(2 * scale)
            outside = box.x0 < inside.x0 or box.x1 > inside.x1 or box.y0 < inside.y0 or box.y1 > inside.y1
            covered = 4 * padded.padded(2 * scale).count_contains(points) + 0.25 * padded.count_contains(lines)
            cost = 100 * outside + covered + 2 * crossed + 0.03 * reach
            found.append((float(cost), _Place((dx, dy), box, Path(np.array([anchor, middle])))))
    return found


def _over(note: Text) -> Any:
    """Points all over a text, in pixels: (k, 2)."""
    box = note.get_window_extent()
    across, up = np.meshgrid(np.linspace(box.x0, box.x1, 12), np.linspace(box.y0, box.y1, 3))
    return np.column_stack([across.ravel(), up.ravel()])


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
