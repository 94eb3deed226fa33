"""What a hyperparameter does: shapes, slopes and their uncertainty where the truth is planted."""

import numpy as np
import pytest

from lipbench.report import Results, answers, effects, notation, tables
from lipbench.report.effects_figure import panels


def sweep(make_model, counts, n=20, loss="tau_cross_entropy", times=1, of_seed=0, **others):
    """One setting per value; each is certified at .1 on ``count`` of n samples, robust on all; ``times`` seeds."""
    return [
        make_model(
            [1] * n,
            [0.15] * count + [0.05] * (n - count),
            [0.9] * n,
            name=f"{loss}{value}{others}{of_seed + seed}",
            loss=loss,
            hyperparameters={"tau": value, **others},
            seed=of_seed + seed,
        )
        for value, count in counts.items()
        for seed in range(times)
    ]


def of(results, metric, eps=0.1):
    frame = results.effects(eps)
    return frame[frame["metric"] == metric].iloc[0]


@pytest.mark.parametrize(
    ("counts", "shape", "turn"),
    [
        ({1.0: 2, 4.0: 10, 16.0: 18}, "rises", None),
        ({1.0: 18, 4.0: 10, 16.0: 2}, "falls", None),
        ({1.0: 5, 4.0: 15, 16.0: 2}, "peaks", 4.0),
        ({1.0: 15, 4.0: 2, 16.0: 14}, "dips", 4.0),
        ({1.0: 5, 4.0: 5, 16.0: 5}, "level", None),
        ({1.0: 10, 4.0: 0, 16.0: 0}, "falls", None),  # a plateau at an end is no dip
        ({1.0: 0, 4.0: 10, 16.0: 10}, "rises", None),
    ],
)
def test_a_planted_shape_is_found(make_run, make_model, counts, shape, turn):
    results = Results.load(make_run(sweep(make_model, counts)))
    row = of(results, "certified")
    assert row["shape"] == shape
    assert row["turn"] == turn if turn else np.isnan(row["turn"])
    assert row["shape_probability"] > 0.9
    assert row["values"] == "1; 4; 16"
    assert row["n_settings"] == 3
    assert row["step"] == "doubling of τ"


def test_the_step_is_the_least_squares_slope_per_doubling(make_run, make_model):
    row = of(Results.load(make_run(sweep(make_model, {1.0: 4, 4.0: 10, 16.0: 16}))), "certified")
    assert row["per_step"] == pytest.approx(0.3 / 2)  # 30 points for two doublings
    assert row["per_step_lo"] < 0.15 < row["per_step_hi"]
    assert row["per_step_lo"] > 0.05


def test_a_neighbouring_difference_of_one_sample_is_no_sure_shape(make_run, make_model):
    row = of(Results.load(make_run(sweep(make_model, {1.0: 10, 4.0: 11, 16.0: 10}))), "certified")
    assert row["shape"] == "peaks"
    assert row["shape_probability"] < 0.9
    assert row["per_step_lo"] <= 0 <= row["per_step_hi"]


def test_seeds_that_differ_make_a_shape_unsure(make_run, make_model):
    def results(more):
        models = [
            model
            for seed, (low, high) in enumerate([(40 - more, 50 - more), (40, 50), (40 + more, 50 + more)])
            for model in sweep(make_model, {1.0: low, 4.0: high}, n=100, of_seed=seed)
        ]
        return Results.load(make_run(models))

    clear, unsure = (of(results(more), "certified") for more in (0, 20))
    assert clear["per_step"] == pytest.approx(unsure["per_step"]) == pytest.approx(0.05)
    assert clear["shape_probability"] > 0.98
    assert unsure["shape_probability"] < 0.9
    assert clear["n_models"] == unsure["n_models"] == 3


def test_lines_hold_other_hyperparameters_fixed_and_their_mean_comes_last(make_run, make_model):
    rising, level = {1.0: 2, 4.0: 10, 16.0: 18}, {1.0: 6, 4.0: 6, 16.0: 6}
    models = sweep(make_model, rising, loss="my_loss", m=1.0) + sweep(make_model, level, loss="my_loss", m=2.0)
    frame = Results.load(make_run(models)).effects(0.1)
    found = frame[(frame["hyperparameter"] == "tau") & (frame["metric"] == "certified")]
    assert found["others"].tolist() == ["m=1", "m=2", "mean"]
    assert found["shape"].tolist() == ["rises", "level", "rises"]
    slopes = found["per_step"].tolist()
    assert slopes[2] == pytest.approx((slopes[0] + slopes[1]) / 2)
    assert found["n_settings"].tolist() == [3, 3, 6]


def test_rank_correlations_are_over_settings_and_only_of_five_or_more(make_run, make_model):
    few = Results.load(make_run(sweep(make_model, {1.0: 2, 4.0: 5, 16.0: 9, 64.0: 15}, times=3)))
    assert np.isnan(of(few, "certified")["rho"])  # 12 models, but four settings
    models = [
        make_model([1] * c + [0] * (9 - c), [0.15] * 9, [0.2] * 9, name=f"tau{tau}", hyperparameters={"tau": tau})
        for tau, c in ((1.0, 9), (4.0, 6), (16.0, 7), (64.0, 3), (256.0, 1))
    ]
    row = of(Results.load(make_run(models)), "certified")
    assert row["rho"] == pytest.approx(-0.9)
    # Bonett and Wright by hand: atanh .9 = 1.472219, sqrt((1 + .81 / 2) / 2) = .838153, z = 1.959964
    assert (row["rho_lo"], row["rho_hi"]) == pytest.approx((-0.996067, 0.168896), abs=1e-5)


def test_lines_join_only_what_was_trained_alike(make_run, make_model):
    models = [
        make_model(
            [1] * 4,
            [0.15] * count + [0.0] * (4 - count),
            [0.9] * 4,
            name=f"{tau}{epochs}",
            hyperparameters={"tau": tau},
            card_has={"training": {"epochs": epochs}},
        )
        for epochs, counts in ((60, (4, 3, 1)), (2, (1, 2, 3)))
        for tau, count in zip((1.0, 4.0, 16.0), counts, strict=True)
    ]
    results = Results.load(make_run(models))
    frame = results.effects(0.1).query("metric == 'certified'")
    assert dict(zip(frame["training.epochs"], frame["shape"], strict=True)) == {60: "falls", 2: "rises"}
    group = tables.groups(
        results.summary(), results.eps, results.hyperparameters(), results.comparisons(), results.effects()
    )[0]
    assert {row[0] for row in answers.effect_table(group, 0.1).rows} == {
        "tau_cross_entropy, training.epochs 60",
        "tau_cross_entropy, training.epochs 2",
    }
    assert [len(panel.lines) for panel in panels(group)] == [1, 1]


def test_one_value_has_no_effect(make_run, make_model):
    results = Results.load(make_run(sweep(make_model, {4.0: 3})))
    assert results.effects().empty
    assert results.effects(0.1).empty
    assert {"shape", "metric", "eps"} <= set(results.effects())


@pytest.mark.parametrize(
    ("family", "name", "values", "title", "places"),
    [
        ("tau_cross_entropy", "tau", [1, 4, 16], "τ", [0, 2, 4]),
        ("hkr_multiclass", "alpha", [0.5, 0.9], "α/(1-α)", [0, np.log2(9)]),
        ("hkr_multiclass", "alpha", [0.5, 1.0], "α", [-1, 0]),
        ("hinge_multiclass", "min_margin", [0, 2], "m", [0, 2]),
        ("a_loss_that_nobody_knows", "slope", [0.5, 2], "slope", [-1, 1]),
    ],
)
def test_a_step_is_a_doubling_where_there_is_one(family, name, values, title, places):
    scale = notation.scale(family, name, values)
    assert scale.title == title
    assert scale.places(values) == pytest.approx(places)


def test_slopes_are_those_of_numpy():
    random = np.random.default_rng(0)
    places, drawn = np.array([0.0, 1.0, 4.0, 6.0]), random.random((7, 4))
    expected = [np.polyfit(places, row, 1)[0] for row in drawn]
    np.testing.assert_allclose(effects.slopes(places, drawn), expected)
