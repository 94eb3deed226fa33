import numpy as np
import pytest

from lipbench.report import Results, columns, hyperparameters, remarks, tables
from lipbench.report.formatting import labels


def test_hyperparameters_are_columns_and_missing_ones_are_nan(make_run, make_model):
    plain = {"correct": [1], "real": [0.1], "distance": [0.2]}
    models = [
        make_model(**plain, name="a", hyperparameters={"tau": 4.0}),
        make_model(**plain, name="b", loss="hkr", hyperparameters={"alpha": 10.0, "min_margin": 0.5, "seed": 3.0}),
    ]
    frame = Results.load(make_run(models)).summary().drop_duplicates("model").set_index("model")
    names = ["loss.tau", "loss.alpha", "loss.min_margin", "loss.seed"]
    assert list(columns.hyperparameter_columns(frame)) == names
    np.testing.assert_equal(frame.loc["a", names].tolist(), [4.0, np.nan, np.nan, np.nan])
    np.testing.assert_equal(frame.loc["b", names].tolist(), [np.nan, 10.0, 0.5, 3.0])
    assert list(frame["seed"]) == [0, 0]


TRAINED = {"epochs": 60, "learning_rate": 1e-3, "augmentation": {"flip": True, "crop": 4}, "data_sha256": "ab"}


VERSIONS = {"lipbench": "0.1.0", "torch": "2.13.0"}


CARD_DIFFERS = {  # what the second card says, and what then tells it from the first
    "epochs": ({"training": TRAINED | {"epochs": 2}}, "training.epochs"),
    "a rate": ({"training": TRAINED | {"learning_rate": 0.1}}, "training.learning_rate"),
    "a rate by little": ({"training": TRAINED | {"learning_rate": 1.0000001e-3}}, "training.learning_rate"),
    "augmentation": (
        {"training": TRAINED | {"augmentation": {"flip": False, "crop": 4}}},
        "training.augmentation.flip",
    ),
    "training data": ({"training": TRAINED | {"data_sha256": "cd"}}, "training.data_sha256"),
    "a key more": ({"training": TRAINED | {"ema": 0.9}}, "training.ema"),
    "a key less": ({"training": {"epochs": 60}}, "training.learning_rate"),
    "a name with a dot": ({"training": TRAINED | {"augmentation.flip": True}}, 'training."augmentation.flip"'),
    "text for a number": ({"training": TRAINED | {"epochs": "60"}}, "training.epochs"),
    "a truth for a number": (
        {"training": TRAINED | {"augmentation": {"flip": 1, "crop": 4}}},
        "training.augmentation.flip",
    ),
    "a list": ({"training": TRAINED | {"epochs": [60, 2]}}, "training.epochs"),
    "an empty table": ({"training": TRAINED | {"augmentation": {}}}, "training.augmentation"),
    "no training table": ({"training": {}}, "training.epochs"),
    "preprocessing": ({"preprocessing": {"mean": [0.5], "std": [0.5]}}, "preprocessing.mean"),
    "the data": ({"data": "npz:other.npz"}, "card.data"),
    "other libraries": ({"versions": {"jax": "1"}}, "card.versions"),
    "the loss of a baseline": (
        {"loss": {"name": "other", "hyperparameters": {"tau": 4.0}}},
        "card.loss",
    ),
}


def unconstrained(make_model, **how):
    return make_model([1] * 4, how.pop("real", [0.15] * 4), [0.9] * 4, constrained=False, claimed=None, **how)


def two_cards(make_model, **other):
    """Two models that differ in the seed and the radii, and in what the second one's card says."""
    first = {"training": TRAINED, "versions": VERSIONS}
    return [
        unconstrained(make_model, name="a", card_has=first),
        unconstrained(make_model, name="b", real=[0.0] * 4, seed=1, card_has=first | other),
    ]


@pytest.mark.parametrize(("other", "column"), CARD_DIFFERS.values(), ids=CARD_DIFFERS)
def test_models_whose_cards_differ_are_not_pooled_and_what_differs_is_shown(make_run, make_model, other, column):
    summary = Results.load(make_run(two_cards(make_model, **other))).summary()
    settings = hyperparameters.over_seeds(summary)
    assert column in columns.further_columns(settings)
    assert column in columns.setting_columns(settings)
    assert settings["n_models"].tolist() == [1] * 6
    assert sorted(settings["certified_mean"].unique()) == [0.0, 1.0]
    said = list(labels(settings).values())
    assert len(set(said)) == 2
    assert all(f", {column} " in label for label in said)
    (remark,) = remarks.further_differences(tables.groups(summary)[0])
    assert column in remark


@pytest.mark.parametrize(
    "other",
    [
        {"versions": {"lipbench": "0.2.0", "torch": "2.14.0"}},
        {"training": TRAINED | {"epochs": 60.0}},
        {"training": dict(reversed(TRAINED.items()))},
    ],
    ids=["versions", "a whole number as a float", "another order"],
)
def test_models_whose_cards_say_the_same_are_seeds(make_run, make_model, other):
    settings = hyperparameters.over_seeds(Results.load(make_run(two_cards(make_model, **other))).summary())
    assert settings["n_seeds"].tolist() == [2] * 3
    assert settings["certified_mean"].tolist() == [0.5, 0.0, 0.0]
    assert columns.further_columns(settings) == []


def test_the_claim_is_read_off_the_weights_and_makes_no_setting(make_run, make_model):
    models = [
        make_model([1], [0.1], [0.2], name=f"m{claimed}", seed=int(claimed), claimed=claimed) for claimed in (1.0, 2.0)
    ]
    assert hyperparameters.over_seeds(Results.load(make_run(models)).summary())["n_seeds"].tolist() == [2] * 3


def test_architectures_of_one_label_are_told_apart(make_run, make_model):
    models = [
        make_model([1], [0.1], [0.2], name=str(width), seed=width, label="net", args={"widths": [width]})
        for width in (8, 9)
    ]
    settings = hyperparameters.over_seeds(Results.load(make_run(models)).summary())
    assert settings["n_models"].tolist() == [1] * 6
    assert list(labels(settings).values()) == [
        "tau_cross_entropy, tau 4, architecture.args.widths [8]",
        "tau_cross_entropy, tau 4, architecture.args.widths [9]",
    ]


@pytest.mark.parametrize("seed", [0, 7])
@pytest.mark.parametrize("same", [64, 2], ids=["the same file", "the same on every sample"])
def test_a_copy_is_no_further_seed(make_run, make_model, seed, same):
    def model(name, radii, **how):
        return make_model([1] * 4, radii, [0.9] * 4, name=name, **how)

    some = [
        model("a", [0.15] * 4, seed=0),
        model("b", [0.0] * 4, seed=1),
        model("c", [0.15] * 4, seed=seed, weights=model("a", []).card()["weights_sha256"][:same] + "f" * (64 - same)),
    ]
    summary = Results.load(make_run(some)).summary()
    assert summary["copy_of"].tolist() == [""] * 6 + ["a"] * 3
    settings = hyperparameters.over_seeds(summary)
    assert settings["n_models"].tolist() == settings["n_seeds"].tolist() == [2] * 3
    assert settings["certified_mean"].tolist() == [0.5, 0.0, 0.0]
    assert settings["certified_std"].tolist()[0] == pytest.approx(np.std([0, 1], ddof=1))
    assert remarks.copies(tables.groups(summary)[0]) == ["c is a copy of a: equal weights, counted once."]


def test_constant_networks_of_two_seeds_are_no_copies(make_run, make_model):
    """Whatever their weights are, they say the same of every sample."""
    constant = {"correct": [1, 0], "real": [8.0, 0.0], "distance": [np.inf, 0.0], "margin": [np.inf, -np.inf]}
    summary = Results.load(
        make_run([make_model(**constant, name=name, seed=n) for n, name in enumerate("ab")])
    ).summary()
    assert set(summary["copy_of"]) == {""}


def test_the_same_weights_under_another_card_are_another_setting_and_named(make_run, make_model):
    first = make_model([1], [0.1], [0.2], name="a")
    other = make_model(
        [1], [0.1], [0.2], name="b", hyperparameters={"tau": 1.0}, weights=first.card()["weights_sha256"]
    )
    summary = Results.load(make_run([first, other])).summary()
    assert hyperparameters.over_seeds(summary)["n_models"].tolist() == [1] * 6
    assert remarks.copies(tables.groups(summary)[0]) == [
        "b is a copy of a: equal weights, another setting on its card."
    ]


def test_an_architecture_is_named_by_what_differs_in_it(make_run, make_model):
    def model(name, **how):
        return make_model([1], [0.1], [0.2], name=name, **how)

    free = {"loss": "cross_entropy", "hyperparameters": {}, "constrained": False}
    models = [
        model("a", args={"widths": [8]}),
        model("b", args={"widths": [8]}, layers="orthogonium"),
        model("c", args={"widths": [8]}, **free),
        model("d", args={"widths": [8], "batch_norm": True}, **free),
        model("e", architecture="cnn", args={"outputs": 1}),
        model("f", architecture="cnn", **free),
        model("g", architecture="cnn", label="wide", args={"channels": [8]}),
    ]
    named = Results.load(make_run(models)).summary().query("eps == 0.1").set_index("model")["architecture"].to_dict()
    assert named == {
        "a": "mlp(layers=torchlip)",
        "b": "mlp(layers=orthogonium)",
        "c": "mlp",
        "d": "mlp(batch_norm=True)",
        "e": "cnn",
        "f": "cnn",
        "g": "wide",
    }
