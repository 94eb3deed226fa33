import pytest
from hand_made import CLASHES, inside

from lipbench.report import Results, hyperparameters, metrics, tables
from lipbench.report.figures import draw, representative


def test_hyperparameters_of_any_name_are_drawn(make_run, make_model):
    radii = ((0.15, 1.0), (0.25, 2.0), (0.05, 3.0))
    models = [
        make_model([1], [radius], [0.3], name=f"{name}{value}", loss=f"loss {place}", hyperparameters={name: value})
        for place, name in enumerate(CLASHES[::4])
        for radius, value in radii
    ]
    items = Results.load(make_run(models)).items
    drawn = draw(tables.groups(metrics.summary(items))[0], items)
    titles = [ax.get_xlabel().partition(" (")[0] for ax in drawn["gap"].axes]
    assert sorted(titles) == sorted(CLASHES[::4])


def test_a_figure_names_what_starts_with_an_underscore_or_holds_a_formula(make_run, make_model):
    pairs = [(a, b) for a in (1.0, 2.0) for b in (1.0, 2.0)]
    models = [
        make_model([1], [0.1 * a], [0.2 * b], name=f"{a}{b}", loss="_my$^loss", hyperparameters={"_a": a, "$\\b$": b})
        for a, b in pairs
    ]
    items = Results.load(make_run(models)).items
    drawn = draw(tables.groups(metrics.summary(items))[0], items)
    for figure in drawn.values():
        figure.draw_without_rendering()
    said = [text.get_text().strip() for ax in drawn["gap"].axes for text in ax.get_legend().get_texts()]
    assert said == ["_a 1", "_a 2", "$\\b$ 1", "$\\b$ 2"]
    assert "_my$^loss" in [text.get_text().strip() for text in drawn["pareto"].legends[0].get_texts()]


def test_every_family_has_a_panel(make_run, sweep):
    frame = hyperparameters.over_seeds(Results.load(make_run(sweep(seeds=1, n=10))).summary()).query("eps == 0.1")
    chosen = frame.loc[representative(frame)]
    assert len(chosen) == 8
    assert set(chosen["family"]) == set(frame["family"])


def test_legends_of_the_gap_figure_neither_leave_it_nor_cover_a_panel(make_run, sweep):
    items = Results.load(make_run(sweep(seeds=2, n=20))).items
    figure = draw(tables.groups(metrics.summary(items))[0], items)["gap"]
    panels = [ax.get_window_extent() for ax in figure.axes]
    assert len(panels) == 3
    first, second, third = (panel.x0 for panel in panels)
    assert second - first == pytest.approx(third - second, abs=5)  # pixels of 720: evenly spaced
    legends = [ax.get_legend().get_window_extent() for ax in figure.axes]
    for place, (ax, legend) in enumerate(zip(figure.axes, legends, strict=True)):
        assert inside(figure.bbox, legend)
        assert inside(figure.bbox, ax.title.get_window_extent())
        assert not any(legend.overlaps(other) for other in [*panels, *legends[:place]])
    words = [text.get_text() for text in figure.axes[2].get_legend().get_texts()]
    assert words == ["hinge", "HKR, α=0.67", "HKR, α=0.91", "HKR, α=0.98"]
