import numpy as np
import pytest
from hand_made import inside
from matplotlib.path import Path
from matplotlib.text import Text

from lipbench.report import Results, style, tables
from lipbench.report.pareto import EDGE, pareto, window


def test_the_figure_labels_the_front_and_nothing_else(make_run, make_model):
    taus = ((1.0, 4, 1), (4.0, 2, 1), (16.0, 3, 2))  # tau, correct, certified of four: 4 is beaten
    models = [
        make_model(
            [1] * c + [0] * (4 - c),
            [0.15] * r + [0.0] * (4 - r),
            [0.05] * c,
            name=f"{tau}",
            hyperparameters={"tau": tau},
        )
        for tau, c, r in taus
    ]
    for model in models:
        model.distance += [0.0] * (4 - len(model.distance))
    group = tables.groups(Results.load(make_run(models)).summary())[0]
    assert {text.get_text() for text in pareto(group, 0.1, style.WIDE).axes[0].texts} == {"CE, τ=1", "CE, τ=16"}


def test_labels_of_the_front_keep_clear_of_each_other_and_of_leaders(make_run, sweep):
    group = tables.groups(Results.load(make_run(sweep(seeds=2, n=60))).summary())[0]
    figure = pareto(group, 0.2, style.WIDE)
    ax = figure.axes[0]
    figure.draw_without_rendering()
    notes = [text for text in ax.texts if text.get_gid() != EDGE]
    boxes = [Text.get_window_extent(note) for note in notes]
    points = [ax.transData.transform(note.xy) for note in notes]
    assert len(notes) > 2
    for place, box in enumerate(boxes):
        assert inside(ax.get_window_extent(), box)
        others = [other for other in range(len(boxes)) if other != place]
        assert not any(box.overlaps(boxes[other]) for other in others)
        middles = [((boxes[k].x0 + boxes[k].x1) / 2, (boxes[k].y0 + boxes[k].y1) / 2) for k in others]
        leaders = [Path([points[k], middle]) for k, middle in zip(others, middles, strict=True)]
        assert not any(leader.intersects_bbox(box) for leader in leaders)


@pytest.mark.parametrize(
    ("values", "ends"),
    [
        ([50, 90, 92, 94, 95, 96], (90, 96)),
        ([90, 92, 94, 95, 96, 140], (90, 96)),
        ([90, 91, 92, 93, 94, 95], (90, 95)),
        ([50, 51, 90, 92, 94, 95], (50, 95)),  # two of six are no outlier
        ([50, 60, 70, 80, 90, 95], (50, 95)),
        ([50, 95], (50, 95)),
        ([90], (90, 90)),
    ],
)
def test_an_outlier_does_not_stretch_the_axis(values, ends):
    assert window(np.array(values, dtype=float)) == ends


@pytest.mark.parametrize("size", style.SIZES, ids=["two columns", "one column"])
def test_an_outlier_is_named_at_the_edge(make_run, make_model, size):
    clean = [2, 18, 18, 19, 19, 20]
    models = [
        make_model(
            [1] * c + [0] * (20 - c), [0.15] * 20, [0.3] * 20, name=f"{place}", hyperparameters={"tau": 1.0 + place}
        )
        for place, c in enumerate(clean)
    ]
    group = tables.groups(Results.load(make_run(models)).summary())[0]
    ax = pareto(group, 0.1, size).axes[0]
    assert ax.get_xlim()[0] > 80
    edge = [text.get_text().replace("\n", " ") for text in ax.texts if text.get_gid() == EDGE]
    assert edge == ["CE, τ=1, clean 10.0 %"]
    arrows = [line for line in ax.lines if line.get_marker() == "<"]
    assert [line.get_ydata()[0] for line in arrows] == [10.0, 10.0]  # certified and robust
