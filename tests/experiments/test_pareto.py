"""The front between accuracy and certified robustness."""

import numpy as np
import pandas as pd
import pytest

from lipbench.experiments.claims import pareto
from lipbench.experiments.claims.pareto import EXPERIMENT, LINES, Settings
from lipbench.experiments.experiment import Check, Records, verdict
from lipbench.report import style
from tests.support.labs import lab

TINY = Settings(seeds=(0,), args=(("widths", (16,)),), training=(("epochs", 3), ("learning_rate", 1e-2)), samples=30)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Records:
    """One small network of each setting."""
    return EXPERIMENT.measure(lab(tmp_path_factory.mktemp("pareto")), TINY)


def test_the_grid_is_the_papers_in_proportion_to_eps(measured: Records) -> None:
    """At the paper's radius the published settings are among ours, in the units of the library's losses."""
    ours, published = measured["models"].copy(), measured["paper"]
    scale = 0.3 / (36 / 255)
    ours["tau"] *= scale
    ours["min_margin"] /= scale
    names = ["family", "tau", "alpha", "min_margin"]
    have = {tuple(row) for row in ours[names].fillna(-1).round(6).itertuples(index=False)}
    assert len(published) == 15
    for row in published[names].fillna(-1).round(6).itertuples(index=False):
        assert tuple(row) in have


def test_every_line_has_its_settings_from_the_robust_end_to_the_accurate_one(measured: Records) -> None:
    lines = {line.title: line.of(measured["models"])[line.hyperparameter].to_list() for line in LINES}
    assert {title: len(values) for title, values in lines.items()} == {
        "cross-entropy: tau": 7,
        "HKR: alpha": 6,
        "HKR: margin": 6,
        "hinge: margin": 6,
    }
    for title, values in lines.items():
        assert values == sorted(values, reverse="margin" in title)


def test_small_networks_certify_less_towards_the_accurate_end(measured: Records) -> None:
    mean = np.mean([pareto.correlations(line.of(measured["models"]), "certified")[0] for line in LINES])
    assert mean < -0.3


def table(measured: Records) -> Records:
    """The same settings on the line certified = 1.2 - clean, whatever the family, for three seeds."""
    frames = []
    for seed in range(3):
        for line in LINES:
            rows = line.of(measured["models"]).copy()
            clean = np.linspace(0.6, 0.9, len(rows)) + 0.001 * seed
            frames.append(rows.assign(seed=seed, clean=clean, certified=1.2 - clean, robust=1.25 - clean))
    return measured | {"models": pd.concat(frames, ignore_index=True)}


def checks(records: Records) -> dict[str, Check]:
    """By their first words."""
    return {check.statement.partition(":")[0]: check for check in EXPERIMENT.judge(records)}


def test_settings_on_one_falling_line_hold(measured: Records) -> None:
    found = checks(table(measured))
    assert all(check.holds for check in found.values())
    assert found["clean accuracy rises as certified accuracy falls"].ours > 0.9
    assert found["the families share one front"].ours == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("metric", ["clean", "certified"])
def test_the_reverse_of_one_accuracy_does_not_hold(measured: Records, metric: str) -> None:
    """Both have to move, each in its direction."""
    records = table(measured)
    records["models"][metric] = 1.5 - records["models"][metric]
    assert verdict(EXPERIMENT.judge(records)) == "not"
    assert EXPERIMENT.tell(records).startswith("What fails: clean accuracy rises as certified accuracy falls, -")


def test_a_family_below_the_others_is_not_on_their_front(measured: Records) -> None:
    records = table(measured)
    models = records["models"]
    models.loc[models["family"] == "hinge_multiclass", "certified"] -= 0.1
    found = next(check for name, check in checks(records).items() if "share one front" in name)
    assert not found.holds
    assert found.ours == pytest.approx(10, abs=0.5)
    assert "hinge" in found.statement


def test_certified_and_robust_in_opposite_orders_are_seen(measured: Records) -> None:
    records = table(measured)
    records["models"]["robust"] = records["models"]["clean"]
    assert not EXPERIMENT.judge(records)[-1].holds


def test_the_figure_shows_ours_and_the_papers_points(measured: Records) -> None:
    with style.look():
        left, right = EXPERIMENT.draw(measured).axes
    assert sum(len(line.get_xdata()) for line in left.lines) == 2 * (7 + 6 + 6 + 6)  # certified and robust
    assert sum(len(line.get_xdata()) for line in right.lines) == 15
    assert "| hinge: margin |" in EXPERIMENT.tell(table(measured))
    assert {"m 100", "α 5", "τ 0.05"} <= {text.get_text() for text in right.texts}  # as the paper prints them
    assert {"m 1.67", "α 0.833", "τ 0.6"} <= {text.get_text() for text in left.texts}


def test_labels_cover_neither_markers_nor_axes(measured: Records) -> None:
    with style.look():
        figure = EXPERIMENT.draw(measured)
        figure.draw_without_rendering()
        for ax in figure.axes:
            points = np.concatenate([ax.transData.transform(line.get_xydata()) for line in ax.lines])
            for text in ax.texts:
                box = text.get_window_extent()
                assert box.padded(2).count_contains(points) == 0
                assert ax.bbox.x0 < box.x0 < box.x1 < ax.bbox.x1


def test_the_points_of_the_paper_are_words_not_its_figures(measured: Records) -> None:
    assert all(check.paper is None for check in EXPERIMENT.judge(table(measured)))
    assert "3.7 points away, more than our rule allows" in EXPERIMENT.tell(table(measured))
