"""Labels of points."""

import numpy as np
import pytest

from lipbench.experiments.placing import Label, place
from lipbench.report import style


@pytest.mark.parametrize("corner", [(0, 0), (1, 1), (0, 1), (1, 0)])
def test_a_label_stays_inside_and_covers_no_marker_and_no_label(corner: tuple[int, int]) -> None:
    """Two points at the same corner of the axes, beside others in every direction."""
    with style.look():
        figure = style.new(3, 2)
        ax = figure.subplots()
        x, y = np.meshgrid(np.linspace(0, 1, 4), np.linspace(0, 1, 4))
        ax.plot(x.ravel(), y.ravel(), "o", markersize=4)
        ax.margins(0)
        style.settle(figure)
        place(ax, [Label("first", corner, "black"), Label("second", corner, "black")])
        first, second = (text.get_window_extent() for text in ax.texts)
        points = ax.transData.transform(np.column_stack([x.ravel(), y.ravel()]))
        for box in (first, second):
            assert box.padded(2).count_contains(points) == 0
            assert ax.bbox.x0 < box.x0 < box.x1 < ax.bbox.x1
            assert ax.bbox.y0 < box.y0 < box.y1 < ax.bbox.y1
        assert not first.overlaps(second)
