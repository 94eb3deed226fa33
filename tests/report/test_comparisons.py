"""Best, front and pairs, on bounds whose answers are known."""

import numpy as np
import pandas as pd
import pytest
from hand_made import draws
from scipy import stats

from lipbench.report import Results, comparisons

EPS = 0.1


def shares(*counts, n=100, settings=None):
    """Models certified on the first ``count`` samples, robust on all."""
    radius = np.array([[0.15] * count + [0.05] * (n - count) for count in counts])
    return draws(
        np.ones((len(counts), n)), radius, np.full((len(counts), n), 0.3), settings or list("abcdef"[: len(counts)])
    )


def test_the_best_is_the_best_and_the_difference_is_paired():
    one = shares(90, 88, 20)
    found = comparisons.against_best(one, "certified", EPS)
    assert found["best"] == "a"
    assert found["difference"].tolist() == pytest.approx([0, -0.02, -0.7], abs=1e-7)
    # two samples of 100 differ: the spread is that of these two alone, sqrt(.02 * .98 / 100)
    half = (found["difference_hi"] - found["difference_lo"])[1] / 2
    assert half == pytest.approx(1.96 * np.sqrt(0.02 * 0.98 / 100), rel=0.25)
    assert found["p_best"][2] == 0
    assert found["p_best"].sum() == pytest.approx(1)
    # b is never better than a: it shares the first place where neither of the two samples was drawn
    assert found["p_best"][1] == pytest.approx(0.5 * 0.98**100, abs=0.02)


def test_of_the_mean_gap_the_smallest_is_the_best():
    found = comparisons.against_best(shares(90, 20), "mean_gap", EPS)
    assert found["best"] == "a"
    assert found["difference"][1] > 0
    assert found["p_best"].tolist() == [1, 0]


def test_what_has_no_certificate_is_not_compared_in_certified_accuracy():
    one = draws(np.ones((2, 9)), [[0.15] * 9, [np.nan] * 9], np.full((2, 9), 0.3), settings="ab")
    found = comparisons.against_best(one, "certified", EPS)
    assert found["p_best"][0] == 1
    assert np.isnan(found["p_best"][1])
    assert np.isnan(found["difference"][1])
    none = draws(np.ones((1, 9)), [[np.nan] * 9], np.full((1, 9), 0.3))
    assert np.isnan(comparisons.against_best(none, "certified", EPS)["p_best"]).all()


def test_the_front_holds_what_nothing_beats():
    at = pd.DataFrame({"clean_mean": [0.9, 0.8, 0.7, 0.85, 0.9], "robust_mean": [0.1, 0.5, 0.4, np.nan, 0.05]})
    assert comparisons.on_front(at, "robust").tolist() == [True, True, False, False, False]


def test_a_place_on_the_front_is_a_probability():
    """b trades clean for certified accuracy; c is worse than a in one sample of 100, and level else."""
    n = 100
    correct = np.ones((3, n))
    correct[1, :10] = 0
    radius = np.array([[0.05] * 50 + [0.15] * 50, [0.15] * n, [0.05] * 51 + [0.15] * 49])
    one = draws(correct, np.where(correct, radius, 0), np.where(correct, 0.3, 0), settings="abc")
    on = comparisons.on_front_share(one, "certified", EPS)
    assert on[:2].tolist() == [1, 1]
    assert on[2] == pytest.approx(0.99**100, abs=0.04)  # on the front where that sample was not drawn


def test_the_frame_has_a_row_per_setting_eps_and_metric(make_run, sweep):
    frame = Results.load(make_run(sweep(seeds=2, n=20))).comparisons()
    assert len(frame) == 15 * 3 * len(comparisons.COMPARED)
    assert not frame.duplicated(["setting", "suite", "norm", "eps", "metric"]).any()
    best = frame[frame["setting"] == frame["best"]]
    assert (best["difference"].fillna(0) == 0).all()
    for _, part in frame[frame["metric"] == "certified"].groupby("eps"):
        assert part["p_best"].sum() == pytest.approx(1)


def test_a_pair_is_narrower_where_the_samples_are_shared():
    one = shares(60, 50)
    paired, not_paired = (
        comparisons.pair((one, "a"), (one, "b"), EPS, paired=shared).set_index("metric").loc["certified"]
        for shared in (True, False)
    )
    assert paired["difference"] == not_paired["difference"] == pytest.approx(-0.1, abs=1e-7)
    widths = [row["difference_hi"] - row["difference_lo"] for row in (paired, not_paired)]
    assert widths[0] == pytest.approx(2 * 1.96 * np.sqrt(0.1 * 0.9 / 100), rel=0.15)
    assert widths[1] == pytest.approx(2 * 1.96 * np.sqrt((0.6 * 0.4 + 0.25) / 100), rel=0.15)


@pytest.mark.parametrize(("only_first", "only_second"), [(0, 0), (1, 0), (3, 9), (12, 12), (40, 10)])
def test_mcnemar_is_the_exact_binomial_test(only_first, only_second):
    first = np.array([True] * only_first + [False] * only_second + [True] * 20 + [False] * 5)
    second = np.array([False] * only_first + [True] * only_second + [True] * 20 + [False] * 5)
    disagree = only_first + only_second
    p = stats.binomtest(only_first, disagree, 0.5).pvalue if disagree else 1.0
    assert comparisons.mcnemar(first, second) == (only_first, only_second, pytest.approx(p))
