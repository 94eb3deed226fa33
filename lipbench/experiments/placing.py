"""Labels of points in a figure, where there is room for them."""

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox


class Label(NamedTuple):
    """A text that belongs to a point."""

    text: str
    point: tuple[float, float]  # in the units of the axes
    colour: str


def place(ax: Axes, labels: Sequence[Label]) -> None:
    """Put each label near its point, where it covers no marker and no other label, and the least of the lines.

    The figure must have been laid out, see ``style.settle``.
    """
    points = np.concatenate([ax.transData.transform(line.get_xydata()) for line in ax.lines])
    paths = np.concatenate(
        [line.get_path().transformed(line.get_transform()).interpolated(40).vertices for line in ax.lines]
    )
    taken, inside, pt = list[Bbox](), ax.get_window_extent().padded(-2), ax.figure.dpi / 72
    for text, point, colour in labels:
        note = ax.annotate(text, point, (0, 0), textcoords="offset points", va="center", fontsize=6, color=colour)
        best, costs = (0.0, 0.0, "left"), np.inf
        for reach, angle in product((7, 9, 12, 15, 20), np.arange(16) * np.pi / 8):
            dx, dy = reach * float(np.cos(angle)), reach * float(np.sin(angle))
            side = "center" if abs(dx) < 1 else "left" if dx > 0 else "right"
            note.set(position=(dx, dy), ha=side)
            box = note.get_window_extent()
            hidden = box.padded(4.5 * pt).count_contains(points) + sum(box.overlaps(other) for other in taken)
            outside = not (inside.x0 < box.x0 and box.x1 < inside.x1 and inside.y0 < box.y0 and box.y1 < inside.y1)
            cost = 100 * (hidden + outside) + 0.3 * box.count_contains(paths) + reach
            if cost < costs:
                best, costs = (dx, dy, side), cost
        note.set(position=best[:2], ha=best[2])
        taken.append(note.get_window_extent())
