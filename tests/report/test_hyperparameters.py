import numpy as np
import pandas as pd
import pytest
from hand_made import seeds

from lipbench.report import Results, effects, tables
from lipbench.report.figures import gap
from lipbench.report.formatting import labels


def test_a_setting_has_the_grade_that_all_its_models_have(make_run, make_model):
    plain = {"correct": [1], "real": [0.1], "distance": [0.2]}
    models = [
        make_model(**plain, name="a", seed=0),
        make_model(**plain, name="b", seed=1, not_analysed="overflow"),
        make_model(**plain, name="c", hyperparameters={"tau": 1.0}),
    ]
    settings = hyperparameters.over_seeds(Results.load(make_run(models)).summary()).query("eps == 0.1")
    assert dict(zip(settings["loss.tau"], settings["grade"], strict=True)) == {1.0: "float", 4.0: "real"}
    # what is weaker than the table says is marked
    assert list(labels(settings).values()) == [
        "tau_cross_entropy, tau 1",
        "tau_cross_entropy, tau 4, grade real",
    ]


def test_spread_over_seeds(make_run, make_model):
    models = seeds(make_model, [1, 2, 4]) + seeds(make_model, [3], hyperparameters={"tau": 1.0})
    frame = hyperparameters.over_seeds(Results.load(make_run(models)).summary())
    at = frame[frame["eps"] == 0.1].set_index("loss.tau")
    assert list(at.index) == [1.0, 4.0]  # ascending, whatever the order of the run
    spread = [at.loc[4.0, f"certified_{key}"] for key in ("mean", "std", "min", "max")]
    assert spread == pytest.approx([7 / 12, np.std([0.25, 0.5, 1.0], ddof=1), 0.25, 1.0])
    assert at.loc[4.0, "n_seeds"] == 3
    assert at.loc[1.0, "certified_mean"] == 0.75
    assert np.isnan(at.loc[1.0, "certified_std"])


@pytest.mark.parametrize(
    "other",
    [{"adversarial": {"eps": 0.1}}, {"constrained": False}, {"loss": "kr"}, {"args": {"width": 9}}],
    ids=lambda other: next(iter(other)),
)
def test_models_that_differ_in_more_than_the_seed_are_not_averaged(make_run, make_model, other):
    models = [*seeds(make_model, [1]), make_model([1] * 4, [0.1] * 4, [0.2] * 4, name="other", seed=1, **other)]
    assert list(hyperparameters.over_seeds(Results.load(make_run(models)).summary())["n_models"]) == [1] * 6


def test_trends_are_ranks_within_a_family(make_run, make_model):
    models = []
    for tau, count in ((1.0, 4), (4.0, 3), (16.0, 1)):
        models += seeds(make_model, [count], hyperparameters={"tau": tau})
    models += seeds(make_model, [2, 2], loss="kr", hyperparameters={})
    trend = effects.trends(Results.load(make_run(models)).summary().query("eps == 0.1"))
    assert trend[["family", "hyperparameter", "points"]].to_numpy().tolist() == [["tau_cross_entropy", "tau", 3]]
    assert trend["certified"].item() == pytest.approx(-1)
    assert trend["gap"].item() == pytest.approx(1)
    assert np.isnan(trend["clean"].item())  # the same for every model


def test_trends_are_at_the_eps_where_certified_accuracy_differs_most(make_run, make_model):
    """At the largest eps nothing is certified here, and there would be nothing to rank."""
    models = []
    for tau, certified in ((1.0, 0.35), (4.0, 0.25), (16.0, 0.15)):
        radii = [certified, certified, 0.12, 0.01]
        models.append(make_model([1] * 4, radii, [0.5] * 4, name=f"tau{tau}", hyperparameters={"tau": tau}))
    summary = Results.load(make_run(models)).summary()
    grid = sorted(summary["eps"].unique())
    trend = effects.trends(summary)
    assert trend["eps"].item() == hyperparameters.chosen_eps(hyperparameters.over_seeds(summary)) < grid[-1]
    assert trend["certified"].item() < 0
    assert len(set(summary[summary["eps"] == grid[-1]]["certified"])) == 1


def test_a_trend_has_an_interval(make_run, make_model):
    models = [
        make_model(
            [1] * count + [0] * (9 - count), [0.15] * 9, [0.2] * 9, name=f"tau{tau}", hyperparameters={"tau": tau}
        )
        for tau, count in ((1.0, 9), (4.0, 6), (16.0, 7), (64.0, 3), (256.0, 1))
    ]
    summary = Results.load(make_run(models)).summary()
    row = effects.trends(summary.query("eps == 0.1")).iloc[0]
    assert row["certified"] == pytest.approx(-0.9)
    # Bonett and Wright by hand: atanh .9 = 1.472219, sqrt((1 + .81 / 2) / 2) = .838153, z = 1.959964
    assert (row["certified_lo"], row["certified_hi"]) == pytest.approx((-0.996067, 0.168896), abs=1e-5)
    text = tables.trend_table(effects.trends(summary.query("eps == 0.1")), tables.groups(summary)[0])
    assert "-0.90 [-1.00, +0.17]" in text.rows[0]


def test_the_front_holds_what_nothing_beats():
    at = pd.DataFrame({"clean_mean": [0.9, 0.8, 0.7, 0.85, 0.9], "robust_mean": [0.1, 0.5, 0.4, np.nan, 0.05]})
    assert comparisons.on_front(at, "robust").tolist() == [True, True, False, False, False]


def test_the_chosen_eps_is_where_constrained_settings_differ_most():
    rows = [(0.1, True, 0.9), (0.1, True, 0.8), (0.2, True, 0.7), (0.2, True, 0.3), (0.1, False, 0.0)]
    settings = pd.DataFrame(rows, columns=["eps", "constrained", "certified_mean"])
    assert hyperparameters.chosen_eps(settings) == 0.2


def test_trends_and_lines_join_only_what_was_trained_alike(make_run, make_model):
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
    summary = Results.load(make_run(models)).summary()
    trend = effects.trends(summary)
    assert dict(zip(trend["training.epochs"], trend["certified"].round(9), strict=True)) == {60: -1.0, 2: 1.0}
    group = tables.groups(summary)[0]
    assert [row[0] for row in tables.trend_table(trend, group).rows] == [
        "tau_cross_entropy, training.epochs 60",
        "tau_cross_entropy, training.epochs 2",
    ]
    figure = gap(group)
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == [
        "training.epochs 2",
        "training.epochs 60",
    ]
