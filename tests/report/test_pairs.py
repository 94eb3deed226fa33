"""Two models or settings of one run beside one another."""

import numpy as np
import pytest

from lipbench.errors import LipbenchError
from lipbench.report import Results, comparisons
from lipbench.report.resampling import RESAMPLES, SEED, TAILS

FIRST = {"correct": [1] * 8 + [0] * 2, "real": [0.15] * 8 + [0.0] * 2, "distance": [0.3] * 8 + [0.0] * 2}
SECOND = {"correct": [0] * 6 + [1] * 4, "real": [0.0] * 6 + [0.25] * 4, "distance": [0.0] * 6 + [np.inf] * 3 + [0.3]}


def drawn(values, seed=SEED):
    """The mean of ``values`` in each resample: (B,)."""
    random, values = np.random.RandomState(seed), np.array(values, dtype=float)
    return np.array([values[random.randint(0, len(values), len(values))].mean() for _ in range(RESAMPLES)])


@pytest.fixture
def results(make_run, make_model):
    models = [
        make_model(**FIRST, name="first"),
        make_model(**SECOND, name="second", hyperparameters={"tau": 1.0}),
        make_model(**SECOND, name="third", hyperparameters={"tau": 1.0}, seed=1),
    ]
    return Results.load(make_run(models))


def row(frame, metric, eps=0.2):
    (found,) = frame[(frame["metric"] == metric) & (frame["eps"] == eps)].to_dict("records")
    return found


def test_two_models_have_their_values_paired_differences_and_mcnemars_test(results):
    frame = results.compare("first", "second")
    assert frame.columns.tolist() == [column.name for column in comparisons.PAIRS]
    assert frame["eps"].unique().tolist() == [0.1, 0.2, 0.4]
    assert len(frame) == 3 * 6
    clean = row(frame, "clean")
    assert (clean["first"], clean["second"]) == (0.8, 0.4)
    assert clean["difference"] == pytest.approx(-0.4)
    low, high = np.percentile(drawn(np.array(SECOND["correct"]) - FIRST["correct"]), TAILS)
    assert (clean["difference_lo"], clean["difference_hi"]) == pytest.approx((low, high), abs=1e-9)
    # right alone: samples 0 to 5 the first, 8 and 9 the second; of Binomial(8, 1/2): P(X <= 2) = (1 + 8 + 28) / 256
    assert (clean["only_first"], clean["only_second"]) == (6, 2)
    assert clean["p_value"] == pytest.approx(2 * 37 / 256)
    certified = row(frame, "certified")  # at 0.2: none of the first, 6 to 9 of the second
    assert (certified["first"], certified["second"], certified["only_first"], certified["only_second"]) == (
        0,
        0.4,
        0,
        4,
    )
    assert certified["p_value"] == pytest.approx(2 / 16)
    robust = row(frame, "robust", 0.4)  # 6 to 8 of the second alone
    assert (robust["first"], robust["second"], robust["only_first"], robust["only_second"]) == (0, 0.3, 0, 3)
    for metric in ("gap", "mean_gap", "tightness"):
        assert np.isnan(row(frame, metric)["p_value"])
    assert frame["paired"].all()
    assert not frame["same_weights"].any()
    assert (frame["eps_max"] == 0.4).all()
    assert set(frame["first_n"]) == {10}
    # areas over 0.4: 8 samples between .15 and .3; of the second, 3 between .25 and .4 and one between .25 and .3
    assert row(frame, "mean_gap")["first"] == pytest.approx(0.8 * 0.15 / 0.4)
    assert row(frame, "mean_gap")["second"] == pytest.approx((3 * 0.15 + 0.05) / 10 / 0.4)


def test_settings_are_named_by_label_or_digest_and_come_from_the_runs_own_resamples(results):
    digests = dict(zip(results.summary()["model"], results.summary()["setting"], strict=True))
    by_label = results.compare("tau_cross_entropy, tau 4", "tau_cross_entropy, tau 1")
    by_digest = results.compare(digests["first"], digests["second"])
    assert by_label.equals(by_digest)
    assert set(by_label["kind"]) == {"setting"}
    assert set(by_label["second_models"]) == {2}
    assert by_label[["only_first", "p_value"]].isna().all(axis=None)
    both = results.comparisons()
    for metric, best in both[both["eps"] == 0.2].groupby("metric"):
        pair = row(by_label, metric)
        (one,) = best[best["setting"] == digests["first"]].to_dict("records")
        if one["best"] == digests["first"]:
            continue
        assert pair["difference"] == pytest.approx(-one["difference"], nan_ok=True), metric
        assert (pair["difference_lo"], pair["difference_hi"]) == pytest.approx(
            (-one["difference_hi"], -one["difference_lo"]), nan_ok=True
        )


def test_a_model_beside_a_setting(results):
    frame = results.compare("first", "tau_cross_entropy, tau 1", "0.2")
    assert set(frame["kind"]) == {"model and setting"}
    assert frame["p_value"].isna().all()
    assert row(frame, "clean")["difference"] == pytest.approx(-0.4)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("first", "secnd"), "unknown model or setting 'secnd': did you mean 'second'.* known are first, second, "),
        (("first", "first"), "both are the model first; name another one"),
        (("tau_cross_entropy, tau 4", "tau_cross_entropy, tau 4"), "both are the setting tau_cross_entropy, tau 4"),
        (("first", 3), "second must be a string, got 3"),
        (("first", "x" * 5000), "unknown model or setting 'xxx"),
        (("first", "two\nlines\x1b[31m"), r"unknown model or setting 'two\\nlines\\x1b"),
    ],
)
def test_a_wrong_name_is_an_error(results, names, said):
    with pytest.raises(LipbenchError, match=said) as caught:
        results.compare(*names)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(("eps", "said"), [("8/255", "no eps 8/255; it has 0.1"), ("a lot", "eps must be a number")])
def test_a_wrong_eps_is_an_error(results, eps, said):
    with pytest.raises(LipbenchError, match=said):
        results.compare("first", "second", eps)


def test_an_eps_that_one_suite_lacks_leaves_that_suite_out(make_run, make_model, suite):
    models = [make_model(**FIRST, name="a"), make_model(**SECOND, name="b")]
    results = Results.load(make_run(models, [suite(), suite("second", "Linf", eps=[0.1, 0.3])]))
    assert set(results.compare("a", "b", 0.3)["first_suite"]) == {"second"}
    assert set(results.compare("a", "b", [0.1, 0.3])["eps"]) == {0.1, 0.3}
    assert set(results.compare("a", "b")["norm"]) == {"L2", "Linf"}
