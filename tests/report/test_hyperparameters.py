import numpy as np
import pandas as pd
import pytest
from hand_made import seeds

from lipbench.report import Results, hyperparameters
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


def test_the_chosen_eps_is_where_constrained_settings_differ_most():
    rows = [(0.1, True, 0.9), (0.1, True, 0.8), (0.2, True, 0.7), (0.2, True, 0.3), (0.1, False, 0.0)]
    settings = pd.DataFrame(rows, columns=["eps", "constrained", "certified_mean"])
    assert hyperparameters.chosen_eps(settings) == 0.2


def test_a_setting_lacks_what_one_of_its_models_lacks(make_run, make_model):
    """A mean over the others would be of another set of networks than its interval."""
    models = [
        make_model([1, 1], [0.15, 0.0], [0.9, 0.9], name="whole", seed=0),
        make_model([1, 1], [0.0, 0.0], [0.9, 0.9], name="bare", seed=1, no_certificate="no bound", claimed=None),
    ]
    (row,) = Results.load(make_run(models)).hyperparameters(0.1).to_dict("records")
    for name in ("certified", "gap", "mean_gap", "tightness"):
        assert np.isnan([row[f"{name}_{end}"] for end in ("mean", "min", "lo", "hi")]).all(), name
    assert row["robust_mean"] == 1.0
