import numpy as np
import pandas as pd
import pytest
from hand_made import HAND, NOTHING

from lipbench.certification.grades import GRADES
from lipbench.report import Results

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


def test_the_layout_changes_nothing(make_run, sweep):
    models = sweep(seeds=1, n=30)[::4]
    for model in models:
        model.zero_gradient, model.loss_stuck = [0, 13, 29], [13]
        model.found["alone"] = [2 * distance for distance in model.distance]
    whole, apart = (
        Results.load(make_run(models, reference_attack="autoattack", **how)).summary()
        for how in ({}, {"shard": 7, "groups": ((0.4,), (0.1, 0.2))})
    )
    assert whole["robust_alone"].nunique() > 4
    pd.testing.assert_frame_equal(whole, apart, check_exact=True)


def test_one_attack_twice_in_a_suite_has_two_columns(make_run, make_model, suite):
    model = make_model(correct=[1], real=[0.1], distance=[0.2])
    frame = Results.load(make_run(model, [suite(attacks=["art/PGD", "art/PGD"])])).summary()
    assert [name for name in frame if name.startswith("attacked:")] == [
        "attacked:art/PGD",
        "attacked:art/PGD#2",
    ]


def test_attacks_that_are_named_like_a_second_run_of_another_have_columns_of_their_own(make_run, make_model, suite):
    what = suite(attacks=["art/PGD", "art/PGD", "art/PGD#2"])
    frame = Results.load(make_run(make_model([1], [0.1], [0.2]), [what])).summary()
    assert len({name for name in frame if name.startswith("attacked:")}) == 3
