import io

import numpy as np
import pandas as pd
import pytest
from matplotlib.path import Path
from matplotlib.text import Text
from scipy.stats import binomtest

from lipbench.certification.grades import GRADES
from lipbench.errors import LipbenchError
from lipbench.report import (
    Results,
    columns,
    document,
    effects,
    intervals,
    metrics,
    notation,
    remarks,
    results,
    tables,
    writer,
)
from lipbench.report.figures import draw, gap, representative
from lipbench.report.formatting import labels, legend
from lipbench.report.pareto import pareto
from lipbench.runs.folder import DamagedError

HAND = {
    "correct": [1, 1, 1, 1, 0],
    "floating": [0.15, 0.25, 0.5, 0.0, 0.0],
    "real": [0.2, 0.26, 0.5, 0.0, 0.0],
    "nominal": [0.3, 0.26, 0.5, 0.1, 0.0],
    "distance": [0.25, 0.25, np.inf, 0.1, 0.0],
    "margin": [0.2, 0.26, 0.5, 0.0, -0.46],
}


LAYOUTS = {  # how the same records may lie in a run folder
    "one shard": {},
    "three shards": {"shard": 2},  # of the last one's only sample no attack sees anything
    "an extended grid": {"groups": ((0.1, 0.4), (0.2,))},
    "both": {"shard": 3, "groups": ((0.4,), (0.2,), (0.1,))},
}


@pytest.fixture(params=LAYOUTS.values(), ids=LAYOUTS)
def by_eps(request, make_run, make_model):
    return Results.load(make_run(make_model(**HAND, audit=[(1, 0.2)]), **request.param)).summary().set_index("eps")


@pytest.mark.parametrize(
    ("eps", "floating", "real", "nominal", "robust", "gap"),
    # a radius of eps itself does not count: the nominal .1 beside a distance of .1, the real .2
    [(0.1, 0.6, 0.6, 0.6, 0.6, 0.0), (0.2, 0.4, 0.4, 0.6, 0.6, 0.2), (0.4, 0.2, 0.2, 0.2, 0.2, 0.0)],
)
def test_accuracies_follow_the_definitions(by_eps, eps, floating, real, nominal, robust, gap):
    row = by_eps.loc[eps]
    found = [row[key] for key in ("clean", *(f"certified_{grade}" for grade in GRADES), "robust", "gap")]
    assert found == pytest.approx([0.8, floating, real, nominal, robust, gap], abs=1e-12)
    assert row["grade"] == "float"
    assert [row[f"certified{end}"] for end in ("", "_lo", "_hi")] == [
        row[f"certified_float{end}"] for end in ("", "_lo", "_hi")
    ]


def test_without_an_error_analysis_the_headline_is_of_grade_real(make_run, make_model):
    frame = Results.load(make_run(make_model(**HAND, not_analysed="no error analysis is known for GELU"))).summary()
    assert frame["grade"].tolist() == ["real"] * 3
    assert frame["certified"].tolist() == frame["certified_real"].tolist() == pytest.approx([0.6, 0.4, 0.2])
    assert frame["gap"].tolist() == pytest.approx([0.0, 0.2, 0.0])
    assert frame["tightness"].tolist() == pytest.approx([0.8] * 3)  # of 0.8, 1.04 and 0
    assert frame[["certified_float", "certified_float_lo", "violations_float"]].isna().all().all()
    assert frame["violations_real"].tolist() == [1] * 3
    assert set(frame["not_analysed"]) == {"no error analysis is known for GELU"}
    assert set(frame["dtype"]) == {"float64"}


def test_a_setting_has_the_grade_that_all_its_models_have(make_run, make_model):
    plain = {"correct": [1], "real": [0.1], "distance": [0.2]}
    models = [
        make_model(**plain, name="a", seed=0),
        make_model(**plain, name="b", seed=1, not_analysed="overflow"),
        make_model(**plain, name="c", hyperparameters={"tau": 1.0}),
    ]
    settings = effects.hyperparameters(Results.load(make_run(models)).summary()).query("eps == 0.1")
    assert dict(zip(settings["loss.tau"], settings["grade"], strict=True)) == {1.0: "float", 4.0: "real"}
    # what is weaker than the table says is marked
    assert list(labels(settings).values()) == [
        "tau_cross_entropy, tau 1",
        "tau_cross_entropy, tau 4, grade real",
    ]


def test_what_does_not_depend_on_eps(by_eps):
    for _, row in by_eps.iterrows():
        # of 0.6, 1 and 0: the third sample has no known distance, the last is misclassified
        assert row["tightness"] == pytest.approx(0.6)
        assert row["tightness_n"] == 3
        assert row["mcr"] == pytest.approx(0.1)
        # 0.25 breaks 0.26 and 0.3, not 0.25
        assert [row[f"violations_{grade}"] for grade in GRADES] == [0, 1, 2]
        assert row["n"] == 5


def test_the_cost_counts_the_attacks_of_this_eps_and_the_minimal_norm_one(by_eps):
    assert list(by_eps["attacked:gradient/minimal"]) == [4, 4, 4]
    assert list(by_eps["attacked:art/PGD"]) == [4, 4, 4]
    assert list(by_eps["audited"]) == [0, 1, 0]
    assert list(by_eps["forward"]) == [160, 160, 160]
    assert list(by_eps["backward"]) == [80, 80, 80]


@pytest.mark.parametrize(("count", "n"), [(0, 7), (7, 7), (4, 5), (353, 360), (1, 1)])
def test_interval_is_that_of_clopper_and_pearson(count, n):
    expected = binomtest(count, n).proportion_ci(0.95, method="exact")
    assert intervals.clopper_pearson(count, n) == pytest.approx((expected.low, expected.high), abs=1e-10)


def test_interval_of_four_in_five_as_printed_in_tables_of_the_binomial(by_eps):
    row = by_eps.loc[0.1]
    assert (row["clean_lo"], row["clean_hi"]) == pytest.approx((0.2836, 0.9949), abs=5e-5)
    assert (row["robust_lo"], row["robust_hi"]) == pytest.approx((0.1466, 0.9473), abs=5e-5)


def test_an_l2_certificate_shrinks_by_the_root_of_the_dimension_in_linf(make_run, make_model, suite):
    model = make_model(correct=[1, 1], real=[0.8, 1.61], distance=[0.15, 0.25])
    row = Results.load(make_run(model, [suite(norm="Linf", eps=[0.2])])).summary().iloc[0]
    assert row["norm"] == "Linf"
    assert row["certified_real"] == 0.5  # radii 0.1 and 0.20125
    assert row["robust"] == 0.5
    assert row["tightness"] == pytest.approx(np.median([0.1 / 0.15, 0.20125 / 0.25]))
    assert row["mcr"] == pytest.approx(0.150625)


def test_a_false_certificate_is_counted(make_run, make_model):
    row = Results.load(make_run(make_model(correct=[1, 1], real=[0.3, 0.2], distance=[0.25, 0.2]))).summary().iloc[0]
    assert row["violations_real"] == 1


def test_a_model_without_a_claim_has_no_nominal_numbers(make_run, make_model):
    row = Results.load(make_run(make_model(correct=[1], real=[0.1], distance=[0.2], claimed=None))).summary().iloc[0]
    nothing = (
        "certified_nominal",
        "certified_nominal_hi",
        "violations_nominal",
        "claimed",
        "claim_confirmed",
    )
    assert all(pd.isna(row[key]) for key in nothing)


def test_what_only_an_attack_at_a_small_eps_found_counts_at_every_larger_one(make_run, make_model, suite):
    model = make_model(correct=[1, 1], real=[0.0, 0.0], distance=[0.05, 0.3])
    frame = Results.load(make_run(model, [suite(attacks=["art/PGD"])])).summary()
    assert list(frame["robust"]) == [0.5, 0.5, 0.0]


NOTHING = [np.inf, np.inf]


def test_what_another_group_of_eps_found_counts_at_every_larger_eps(make_run, make_model, suite):
    found = {"art/PGD": NOTHING, ("art/PGD", 0.2): [0.15, np.inf], ("art/PGD", 0.4): [np.inf, 0.35]}
    model = make_model(correct=[1, 1], real=[0.0, 0.0], distance=NOTHING, found=found)
    frame = Results.load(make_run(model, [suite(attacks=["art/PGD"])], groups=((0.1, 0.4), (0.2,)))).summary()
    assert list(frame["eps"]) == [0.1, 0.2, 0.4]
    assert list(frame["robust"]) == [1.0, 0.5, 0.0]
    assert list(frame["attacked:art/PGD"]) == [2, 2, 2]


def test_each_seed_has_a_column_and_lowers_robust_accuracy(make_run, make_model):
    found = {"art/PGD": NOTHING, ("art/PGD", 0.2, 8): [0.15, np.inf], ("art/PGD", 0.4, 7): [np.inf, 0.35]}
    model = make_model(correct=[1, 1], real=[0.0, 0.0], distance=NOTHING, found=found)
    frame = Results.load(make_run(model, seeds=(7, 8))).summary()
    assert list(frame["robust"]) == [1.0, 0.5, 0.0]
    attacked = [name for name in frame if name.startswith("attacked:")]
    assert attacked == ["attacked:gradient/minimal", "attacked:art/PGD", "attacked:art/PGD#2"]
    assert (frame[attacked] == 2).all().all()
    assert list(frame["forward"]) == [20 * 2 * 3] * 3  # the minimal-norm attack runs with the first seed only


@pytest.mark.parametrize("grown", [(), ((1, 1),), ((1, 2),), ((2, 1),)], ids=str)
def test_records_are_those_of_their_attack_and_seed_in_whatever_order_they_came(make_run, make_model, suite, grown):
    hits = {("art/PGD", 7): 0, ("art/FGM", 7): 1, ("art/PGD", 8): 2, ("art/FGM", 8): 3}
    found = {"gradient/minimal": [np.inf] * 4}
    for (name, seed), sample in hits.items():
        for eps in (0.1, 0.2):
            found[(name, eps, seed)] = [0.05 if row == sample else np.inf for row in range(4)]
    model = make_model(correct=[1] * 4, real=[0.0] * 4, distance=[0.0] * 4, found=found)
    what = suite(eps=[0.1, 0.2], attacks=["gradient/minimal", "art/PGD", "art/FGM"])
    run = make_run(model, [what], seeds=(7, 8), groups=((0.2,), (0.1,)), shard=3, grown=grown)
    (item,) = results.load(run)
    assert {attack.name: attack.broken(0.1) for attack in item.attacks} == {
        "gradient/minimal": set(),
        "art/PGD": {0},
        "art/FGM": {1},
        "art/PGD#2": {2},
        "art/FGM#2": {3},
    }
    assert [len(attack.frame) for attack in item.attacks] == [4, 8, 8, 8, 8]


def test_the_layout_changes_nothing(make_run, sweep):
    models = sweep(seeds=1, n=30)[::4]
    for model in models:
        model.zero_gradient, model.loss_stuck = [0, 13, 29], [13]
        model.found["alone"] = [2 * distance for distance in model.distance]
    whole, apart = (
        Results.load(make_run(models, strength=True, **how)).summary()
        for how in ({}, {"shard": 7, "groups": ((0.4,), (0.1, 0.2))})
    )
    assert whole["robust_alone"].nunique() > 4
    pd.testing.assert_frame_equal(whole, apart, check_exact=True)


# --- signs that attacks fail ---


SQUARE = ["gradient/minimal", "art/PGD", "autoattack/square"]
SIGNS = {
    "correct": [1, 1, 1, 1, 0],
    "real": [0.0] * 5,
    "distance": [np.inf] * 5,
    "found": {
        "gradient/minimal": [0.05, 0.3, np.inf, np.inf, 0.0],
        ("art/PGD", 0.2): [np.inf, np.inf, 0.15, np.inf, 0.0],
        ("autoattack/square", 0.1): [np.inf, 0.09, np.inf, np.inf, 0.0],
        ("autoattack/square", 0.2): [np.inf, np.inf, 0.18, np.inf, 0.0],
        ("alone", 0.1): [0.05, np.inf, np.inf, np.inf, 0.0],
        ("alone", 0.2): [np.inf, 0.12, np.inf, np.inf, 0.0],
        ("alone", 0.4): [0.3, 0.3, 0.3, 0.39, 0.0],
    },
    "zero_gradient": [0, 3],
    "loss_stuck": [1],
}


@pytest.mark.parametrize("shard", [1000, 3, 1])
def test_signs_of_failure_and_autoattack_alone_by_hand(make_run, make_model, suite, shard):
    run = make_run(make_model(**SIGNS), [suite(attacks=SQUARE)], strength=True, shard=shard)
    frame = Results.load(run).summary()
    # within 0.1 and 0.2 the second sample is broken by Square's 0.09 only; within 0.4 by 0.3 as well
    assert list(frame["square_only"]) == [0.2, 0.2, 0.0]
    assert list(frame["unreached"]) == [0.2] * 3  # the fourth; the fifth is misclassified
    assert list(frame["zero_gradients"]) == [0.4] * 3
    assert list(frame["loss_stuck"]) == [0.2] * 3
    assert list(frame["robust"]) == [0.4, 0.2, 0.2]  # what breaks a sample counts at every larger eps
    assert list(frame["robust_alone"]) == [0.6, 0.6, 0.0]  # each eps by itself
    assert list(frame["only_suite"]) == [1, 2, 0]
    assert list(frame["only_alone"]) == [0, 0, 1]
    assert list(frame["evaluations_alone"]) == [4 * 300] * 3
    assert list(frame["forward"]) == [4 * 3 * 20] * 3  # the suite's


def test_what_is_audited_is_not_broken_by_square_only(make_run, make_model, suite):
    model = make_model(**SIGNS | {"real": [0.0, 0.2, 0.0, 0.0, 0.0]}, audit=[(1, 0.1)])
    run = make_run(model, [suite(attacks=SQUARE)])
    assert list(Results.load(run).summary()["square_only"]) == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("attacks", "known"),
    [
        (["art/PGD"], set()),
        (["gradient/minimal", "art/PGD"], {"unreached"}),
        (["autoattack/square"], set()),
        (["art/PGD", "art/square"], {"square_only"}),
        (["gradient/minimal", "art/square"], {"square_only", "unreached"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_signs_that_a_suite_cannot_show_are_not_a_number(make_run, make_model, suite, attacks, known):
    names = ("square_only", "unreached", "zero_gradients", "loss_stuck", "robust_alone", "evaluations_alone")
    model = make_model(correct=[1, 0], real=[0.0, 0.0], distance=[0.05, 0.0])
    frame = Results.load(make_run(model, [suite(attacks=attacks)])).summary()
    assert {name for name in (*names, "only_alone", "only_suite") if frame[name].notna().any()} == known
    assert (frame[list(known)] == 0).all().all()


def test_a_certificate_that_only_autoattack_alone_breaks_is_false(make_run, make_model):
    found = {"alone": [0.25, np.inf], ("alone", 0.1): NOTHING}
    radii = {"floating": [0.25, 0.1], "real": [0.3, 0.1], "nominal": [0.35, 0.1]}
    model = make_model(correct=[1, 1], distance=NOTHING, found=found, **radii)
    frame = Results.load(make_run(model, strength=True)).summary()
    assert [list(frame[f"violations_{grade}"]) for grade in GRADES] == [[0] * 3, [1] * 3, [1] * 3]
    assert list(frame["robust"]) == [1.0] * 3  # stays the suite's
    assert list(frame["robust_alone"]) == [1.0, 1.0, 0.5]


def test_labels_that_differ_from_model_to_model_are_an_error(make_run, make_model):
    """All models of a run see the same samples."""
    folder = make_run([make_model(**HAND, name="a"), make_model(**HAND, name="b")])
    unit = next(unit for unit in folder.read().units() if (unit.model, unit.role) == ("b", "certify"))
    frame, info = folder.load(unit)
    folder.write(unit, frame.assign(label=frame["label"] + 2, prediction=frame["prediction"] + 2), info)
    assert folder.damage(unit) is None  # by itself it may be right
    with pytest.raises(DamagedError, match="labels differ from those of the test set, or of other records"):
        Results.load(folder).summary()


# --- settings ---


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


def test_one_attack_twice_in_a_suite_has_two_columns(make_run, make_model, suite):
    model = make_model(correct=[1], real=[0.1], distance=[0.2])
    frame = Results.load(make_run(model, [suite(attacks=["art/PGD", "art/PGD"])])).summary()
    assert [name for name in frame if name.startswith("attacked:")] == [
        "attacked:art/PGD",
        "attacked:art/PGD#2",
    ]


def seeds(make_model, values, **setting):
    """One model per value, which is its number of certified samples of four."""
    return [
        make_model(
            correct=[1] * 4,
            real=[0.15] * count + [0.0] * (4 - count),
            distance=[0.9] * 4,
            name=f"{setting.get('hyperparameters')}{seed}",
            seed=seed,
            **setting,
        )
        for seed, count in enumerate(values)
    ]


# Names that users choose: they must not clash with a metric, with each other, or with what libraries do with names.

CLASHES = (
    *(
        "robust",
        "gap",
        "grade",
        "model",
        "eps",
        "seed",
        "n",
        "loss",
        "certified",
        "clean_mean",
        "family",
        "suite",
        "norm",
    ),
    *("setting", "constrained", "adversarial", "adversarial_eps", "adversarial.eps", "training.epochs", "loss.tau"),
    *("n_models", "_suite", "_unconstrained", "_", "__class__", "size", "index", "columns", "iloc", "name", "copy_of"),
    *(
        "two words",
        "a,b",
        'a"b',
        "a|b",
        "α",
        "Tau",
        "tau",
        "TAU",
        "$x_1^$",
        "%s",
        "{}",
        "two\nlines",
        "attacked:art/PGD",
    ),
)
METRICS = ("clean", "certified", "robust", "gap", "tightness", "mcr", "n", "grade", "seed", "eps", "model", "norm")


@pytest.mark.parametrize("name", CLASHES)
def test_a_hyperparameter_may_have_any_name(make_run, make_model, name):
    def run(hyperparameter):
        models = [
            make_model([1, 1, 0], [radius, 0.0, 0.0], [0.3, 0.05, 0.0], name=f"m{value}", hyperparameters=chosen)
            for radius, value in ((0.15, 1.0), (0.25, 2.0), (0.05, 3.0))
            for chosen in ({hyperparameter: value, "other": 5.0},)
        ]
        return make_run(models)

    folder = run(name)
    summary, plain = Results.load(folder).summary(), Results.load(run("harmless")).summary()
    pd.testing.assert_frame_equal(summary[list(METRICS)], plain[list(METRICS)])
    settings = effects.hyperparameters(summary)
    assert settings[f"loss.{name}"].tolist() == [1.0] * 3 + [2.0] * 3 + [3.0] * 3
    assert columns.hyperparameter_columns(summary) == [
        f"loss.{key}" for key in sorted([name, "other"], key=_known_first)
    ]
    assert settings["robust_mean"].tolist() == pytest.approx([1 / 3, 1 / 3, 0] * 3)
    trend = effects.trends(summary)
    assert trend["hyperparameter"].tolist() == [name]
    shown = " ".join(name.split("\n"))
    assert set(labels(settings).values()) == {
        "tau_cross_entropy, " + ", ".join(f"{key} {value}" for key, value in _in_order(shown, name, value))
        for value in (1, 2, 3)
    }
    read = pd.read_csv(io.StringIO(writer.texts(document.build(Results.load(folder)))["hyperparameters.csv"]))
    assert read[f"loss.{name}"].tolist() == settings[f"loss.{name}"].tolist()
    assert read["robust_mean"].tolist() == settings["robust_mean"].tolist()
    assert f"{shown} 1" in tables.short(summary)


def test_hyperparameters_of_any_name_are_drawn(make_run, make_model):
    radii = ((0.15, 1.0), (0.25, 2.0), (0.05, 3.0))
    models = [
        make_model([1], [radius], [0.3], name=f"{name}{value}", loss=f"loss {place}", hyperparameters={name: value})
        for place, name in enumerate(CLASHES[::4])
        for radius, value in radii
    ]
    evidences = results.load(make_run(models))
    drawn = draw(tables.groups(metrics.summary(evidences))[0], evidences)
    titles = [ax.get_xlabel().partition(" (")[0] for ax in drawn["gap"].axes]
    assert sorted(titles) == sorted(CLASHES[::4])


def _known_first(name):
    known = list(notation.symbols())
    return (known.index(name) if name in known else len(known), name)


def _in_order(shown, name, value):
    return [(shown, value) if key == name else (key, 5) for key in sorted([name, "other"], key=_known_first)]


def test_a_figure_names_what_starts_with_an_underscore_or_holds_a_formula(make_run, make_model):
    pairs = [(a, b) for a in (1.0, 2.0) for b in (1.0, 2.0)]
    models = [
        make_model([1], [0.1 * a], [0.2 * b], name=f"{a}{b}", loss="_my$^loss", hyperparameters={"_a": a, "$\\b$": b})
        for a, b in pairs
    ]
    evidences = results.load(make_run(models))
    drawn = draw(tables.groups(metrics.summary(evidences))[0], evidences)
    for figure in drawn.values():
        figure.draw_without_rendering()
    said = [text.get_text().strip() for ax in drawn["gap"].axes for text in ax.get_legend().get_texts()]
    assert said == ["_a 1", "_a 2", "$\\b$ 1", "$\\b$ 2"]
    assert "_my$^loss" in [text.get_text().strip() for text in drawn["pareto"].legends[0].get_texts()]


def test_words_of_families_are_not_those_of_hyperparameters(make_run, make_model):
    models = [
        make_model([1], [0.1], [0.2], name="a", loss="tau", hyperparameters={"mcr": 1.0}),
        make_model([1], [0.1], [0.2], name="b", loss="mcr", hyperparameters={"tau": 2.0, "alpha": 3.0}),
    ]
    frame = effects.hyperparameters(Results.load(make_run(models)).summary())
    assert set(labels(frame, short=True).values()) == {"tau, mcr 1", "MCR loss, τ=2, α=3"}


def test_attacks_that_are_named_like_a_second_run_of_another_have_columns_of_their_own(make_run, make_model, suite):
    what = suite(attacks=["art/PGD", "art/PGD", "art/PGD#2"])
    frame = Results.load(make_run(make_model([1], [0.1], [0.2]), [what])).summary()
    assert len({name for name in frame if name.startswith("attacked:")}) == 3


# What makes a setting: all that is on a card but the name, the seed, the weights and what is read off them.

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
    settings = effects.hyperparameters(summary)
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
    settings = effects.hyperparameters(Results.load(make_run(two_cards(make_model, **other))).summary())
    assert settings["n_seeds"].tolist() == [2] * 3
    assert settings["certified_mean"].tolist() == [0.5, 0.0, 0.0]
    assert columns.further_columns(settings) == []


def test_the_claim_is_read_off_the_weights_and_makes_no_setting(make_run, make_model):
    models = [
        make_model([1], [0.1], [0.2], name=f"m{claimed}", seed=int(claimed), claimed=claimed) for claimed in (1.0, 2.0)
    ]
    assert effects.hyperparameters(Results.load(make_run(models)).summary())["n_seeds"].tolist() == [2] * 3


def test_architectures_of_one_label_are_told_apart(make_run, make_model):
    models = [
        make_model([1], [0.1], [0.2], name=str(width), seed=width, label="net", args={"widths": [width]})
        for width in (8, 9)
    ]
    settings = effects.hyperparameters(Results.load(make_run(models)).summary())
    assert settings["n_models"].tolist() == [1] * 6
    assert list(labels(settings).values()) == [
        "tau_cross_entropy, tau 4, architecture.args.widths [8]",
        "tau_cross_entropy, tau 4, architecture.args.widths [9]",
    ]


def test_hyperparameters_that_differ_behind_the_fourth_digit_are_printed_whole(make_run, make_model):
    models = [make_model([1], [0.1], [0.2], name=str(tau), hyperparameters={"tau": tau}) for tau in (1.00001, 1.00002)]
    settings = effects.hyperparameters(Results.load(make_run(models)).summary())
    assert list(labels(settings).values()) == ["tau_cross_entropy, tau 1.00001", "tau_cross_entropy, tau 1.00002"]


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
    settings = effects.hyperparameters(summary)
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
    assert effects.hyperparameters(summary)["n_models"].tolist() == [1] * 6
    assert remarks.copies(tables.groups(summary)[0]) == [
        "b is a copy of a: equal weights, another setting on its card."
    ]


def test_spread_over_seeds(make_run, make_model):
    models = seeds(make_model, [1, 2, 4]) + seeds(make_model, [3], hyperparameters={"tau": 1.0})
    frame = effects.hyperparameters(Results.load(make_run(models)).summary())
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
    assert list(effects.hyperparameters(Results.load(make_run(models)).summary())["n_models"]) == [1] * 6


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
    assert trend["eps"].item() == effects.chosen_eps(effects.hyperparameters(summary)) < grid[-1]
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


@pytest.mark.parametrize("n", [4, 5, 20])
def test_the_interval_of_a_perfect_order_shrinks_with_the_points(n):
    low, high = intervals.spearman_interval(1.0, n)
    assert high == 1
    assert -1 < low < 1
    assert intervals.spearman_interval(1.0, n + 1)[0] > low
    assert intervals.spearman_interval(-1.0, n) == (-high, -low)
    assert np.isnan(intervals.spearman_interval(1.0, 3)).all()
    assert np.isnan(intervals.spearman_interval(float("nan"), n)).all()


def test_architectures_under_the_same_loss_stand_side_by_side(make_run, make_model):
    def model(name, tau, radius, **how):
        return make_model([1], [radius], [0.2], name=name, hyperparameters={"tau": tau}, **how)

    models = [
        model("a", 4.0, 0.05),
        model("b", 4.0, 0.15, layers="orthogonium"),
        model("c", 4.0, 0.15, layers="orthogonium", seed=1),
        model("d", 8.0, 0.1),
        make_model([1], [0.1], [0.2], name="e", loss="cross_entropy", hyperparameters={}, constrained=False),
    ]
    table = tables.matched_table(tables.groups(Results.load(make_run(models)).summary())[0])
    assert [row[:4] for row in table.rows] == [
        ("tau_cross_entropy, tau 4", "mlp(layers=orthogonium)", "2", "0.75 ± 0.00"),
        ("tau_cross_entropy, tau 4", "mlp(layers=torchlip)", "1", "0.25"),
    ]
    assert tables.matched_table(tables.groups(Results.load(make_run(models[3:])).summary())[0]) is None


def test_the_front_holds_what_nothing_beats():
    at = pd.DataFrame({"clean_mean": [0.9, 0.8, 0.7, 0.85, 0.9], "robust_mean": [0.1, 0.5, 0.4, np.nan, 0.05]})
    assert effects.on_front(at, "robust").tolist() == [True, True, False, False, False]


def test_the_chosen_eps_is_where_constrained_settings_differ_most():
    rows = [(0.1, True, 0.9), (0.1, True, 0.8), (0.2, True, 0.7), (0.2, True, 0.3), (0.1, False, 0.0)]
    settings = pd.DataFrame(rows, columns=["eps", "constrained", "certified_mean"])
    assert effects.chosen_eps(settings) == 0.2


def test_every_family_has_a_panel(make_run, sweep):
    frame = effects.hyperparameters(Results.load(make_run(sweep(seeds=1, n=10))).summary()).query("eps == 0.1")
    chosen = frame.loc[representative(frame)]
    assert len(chosen) == 8
    assert set(chosen["family"]) == set(frame["family"])


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
    assert {text.get_text() for text in pareto(group).axes[0].texts} == {"CE, τ=1", "CE, τ=16"}


def test_the_terminal_table_has_a_row_per_setting(make_run, sweep):
    text = tables.short(Results.load(make_run(sweep(seeds=2, n=20))).summary()).splitlines()
    assert len(text) == 3 + 15
    assert all(len(line) <= 110 for line in text)
    assert text[0].endswith("n = 20; accuracies in percent; certified is grade float")
    assert not any("..." in line for line in text)
    assert sum(line.startswith("adversarial training, eps 0.3  ") for line in text) == 1
    assert text[1].split()[-7:] == ["models", "clean", "certified", "robust", "gap", "tightness", "MCR"]
    assert text[-1] == "violations: 0 of grade float, 0 of grade real, 0 of grade nominal"


@pytest.mark.parametrize(("other", "cut"), [("cnn", False), ("a_long_name_of_an_architecture", True)])
def test_the_terminal_table_cuts_only_what_is_longer_than_any_bundled_setting(make_run, make_model, other, cut):
    setting = {"loss": "hkr_multiclass", "hyperparameters": {"alpha": 0.99, "min_margin": 0.05}}
    models = [make_model([1], [0.1], [0.2], name=name, **setting, architecture=name) for name in ("mlp", other)]
    text = tables.short(Results.load(make_run(models)).summary())
    assert all(len(line) <= 110 for line in text.splitlines())
    assert ("..." in text) is cut


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


def labels_of(models, make_run):
    return list(labels(effects.hyperparameters(Results.load(make_run(models)).summary())).values())


def test_a_label_tells_the_adversarial_arguments_that_differ_and_eps(make_run, make_model):
    def model(name, **adversarial):
        free = {"loss": "cross_entropy", "hyperparameters": {}, "constrained": False, "adversarial": adversarial}
        return make_model([1], [0.1], [0.2], name=name, **free)

    one, two = model("a", norm="L2", eps=0.3, steps=10), model("b", norm="L2", eps=0.3, steps=20)
    plain = model("c")
    assert labels_of([one, plain], make_run) == ["adversarial training, eps 0.3", "unconstrained"]
    assert labels_of([one, two, plain], make_run)[:2] == [
        "adversarial training, eps 0.3, steps 10",
        "adversarial training, eps 0.3, steps 20",
    ]
    frame = Results.load(make_run([one, plain])).summary()
    assert {"adversarial.norm", "adversarial.eps", "adversarial.steps"} <= set(frame)


def test_the_short_words_are_said_to_be_what_they_are(make_run, make_model):
    models = [make_model([1], [0.1], [0.2], name="a", loss=loss, hyperparameters={"alpha": 0.5}) for loss in ("x",)]
    models += [make_model([1], [0.1], [0.2], name="b", loss="hkr_multiclass", hyperparameters={})]
    models += [make_model([1], [0.1], [0.2], name="c", loss="kr_multiclass", hyperparameters={})]
    frame = effects.hyperparameters(Results.load(make_run(models)).summary())
    assert legend(frame) == "HKR is hkr_multiclass, KR is kr_multiclass, α is alpha."
    assert set(labels(frame, short=True).values()) == {"x, α=0.5", "HKR", "KR"}


def inside(outer, inner):
    return outer.x0 <= inner.x0 and outer.y0 <= inner.y0 and inner.x1 <= outer.x1 and inner.y1 <= outer.y1


def test_legends_of_the_gap_figure_neither_leave_it_nor_cover_a_panel(make_run, sweep):
    evidences = results.load(make_run(sweep(seeds=2, n=20)))
    figure = draw(tables.groups(metrics.summary(evidences))[0], evidences)["gap"]
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


def test_labels_of_the_front_keep_clear_of_each_other_and_of_leaders(make_run, sweep):
    group = tables.groups(Results.load(make_run(sweep(seeds=2, n=60))).summary())[0]
    figure = pareto(group)
    ax = figure.axes[0]
    figure.draw_without_rendering()
    notes = list(ax.texts)
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


@pytest.mark.parametrize("role", ["certify", "attack", "alone", "indicators"])
def test_an_unfinished_run_is_an_error(make_run, make_model, role):
    folder = make_run(make_model(**HAND), strength=True, shard=2)
    unit = [unit for unit in folder.read().units() if unit.role == role][-1]  # of the last shard
    (folder.records / f"{unit.name}.parquet").unlink()
    with pytest.raises(LipbenchError, match="the run is not finished"):
        Results.load(folder).summary()
