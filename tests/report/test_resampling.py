"""Resamples: estimates against counts by hand, intervals against closed forms, what is paired and what is not."""

import numpy as np
import pytest
from hand_made import draws, seeds
from scipy import stats

from lipbench.report import Results, metrics
from lipbench.report.intervals import clopper_pearson
from lipbench.report.resampling import PAIRED, Draws, by_suite, medians
from lipbench.runs.bounds import Bounds

EPS = 0.1


def random_models(models, n, seed=0, settings=None):
    random = np.random.default_rng(seed)
    correct = random.random((models, n)) < 0.9
    radius = np.where(correct, random.random((models, n)) * 0.3, 0)
    distance = np.where(correct, radius + random.random((models, n)) * 0.2, 0)
    return draws(correct, radius, distance, settings)


def test_estimates_are_the_means_of_the_summary(make_run, make_model):
    models = seeds(make_model, [1, 2, 4]) + seeds(make_model, [3], hyperparameters={"tau": 1.0})
    results = Results.load(make_run(models))
    ((key, one),) = results.draws.items()
    assert key == ("quick", "L2")
    frame = results.hyperparameters()
    for row in frame.to_dict("records"):
        for name in PAIRED:
            place = one.settings.index(row["setting"])
            assert one.estimate(name, row["eps"])[place] == pytest.approx(row[f"{name}_mean"], abs=1e-7), name
            assert row[f"{name}_lo"] <= row[f"{name}_mean"] + 1e-7 <= row[f"{name}_hi"] + 2e-7


def test_every_metric_with_an_interval_is_resampled_and_no_other():
    assert {metric.name for metric in metrics.METRICS if metric.drawn} == set(PAIRED)


def test_the_gap_is_that_of_its_resample_and_not_of_two():
    one = random_models(6, 300, settings="aaabbb")
    difference = one.drawn("robust", EPS) - one.drawn("certified", EPS)
    np.testing.assert_allclose(one.drawn("gap", EPS), difference, atol=1e-6)


def test_one_seed_has_the_binomial_spread_of_its_samples():
    one = random_models(1, 400)
    share = one.estimate("certified", EPS)[0]
    spread = one.drawn("certified", EPS)[:, 0].std()
    assert spread == pytest.approx(np.sqrt(share * (1 - share) / 400), rel=0.08)


@pytest.mark.parametrize("k", [2, 3, 5])
def test_seeds_move_the_mean_by_students_t(k):
    """Accuracies that are the same on every sample leave the seeds alone: closed form of the quantiles."""
    values = np.linspace(0.02, 0.3, k)
    distance = np.full((k, 50), 1.0)
    one = draws(np.ones((k, 50)), np.full((k, 50), values[:, None]), distance, grid=(1.0,))
    low, high = one.interval("tightness")
    half = stats.t.ppf(0.975, k - 1) * values.std(ddof=1) / np.sqrt(k)
    assert (high - low)[0] / 2 == pytest.approx(half, rel=0.3)
    many = Draws(one.measured, resamples=40_000).interval("tightness")
    assert (many[1] - many[0])[0] / 2 == pytest.approx(half, rel=0.08)


def test_models_of_a_setting_move_together_and_samples_are_shared():
    """The same network twice, as two settings: its difference from itself has no spread but that of seeds."""
    first = random_models(1, 200)
    pair = draws(*(np.repeat(each, 2, axis=0) for each in _bounds(first)), settings="ab")
    np.testing.assert_array_equal(pair.drawn("certified", EPS)[:, 0], pair.drawn("certified", EPS)[:, 1])


def _bounds(one):
    return one.measured.correct, one.measured.certified_radius, one.measured.adversarial_distance


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_without_spread_has_the_exact_interval_of_one_model(share):
    one = draws(np.full((3, 200), share), np.full((3, 200), 0.05 * share), np.full((3, 200), share))
    low, high = one.interval("clean")
    count = int(200 * share)
    assert (low[0], high[0]) == pytest.approx(clopper_pearson(count, 200))
    assert one.interval("gap", EPS)[0][0] <= share <= one.interval("gap", EPS)[1][0] + 1e-12


def test_without_a_certificate_certified_numbers_are_not_available():
    one = draws(np.ones((2, 9)), [[0.15] * 9, [np.nan] * 9], np.full((2, 9), 0.3), settings="ab")
    for name in ("certified", "gap", "mean_gap", "tightness"):
        assert np.isnan(one.estimate(name, EPS)).tolist() == [False, True]
        assert np.isnan(one.interval(name, EPS)[0]).tolist() == [False, True]
    assert one.estimate("robust", EPS).tolist() == [1.0, 1.0]


def test_the_mean_gap_is_the_area_between_the_curves():
    one = random_models(1, 500)
    grid = np.linspace(0, 0.2, 20_001)[:-1] + 0.2 / 40_000
    _, radius, distance = (each[0] for each in _bounds(one))
    area = np.mean([(distance > eps).mean() - (radius > eps).mean() for eps in grid])
    assert one.estimate("mean_gap")[0] == pytest.approx(area, abs=1e-4)


def test_weighted_medians_are_those_of_repeated_values():
    random = np.random.default_rng(3)
    for size in (1, 2, 5, 10, 101):
        values = np.sort(random.random(size))
        weights = random.integers(0, 4, (size, 40)).astype(np.float32)
        weights[:, 0] = 0
        found = medians(values, weights)
        expected = [np.median(np.repeat(values, w.astype(int))) if w.any() else np.nan for w in weights.T]
        np.testing.assert_allclose(found, expected)


def test_the_same_run_has_the_same_resamples(make_run, make_model):
    folder = make_run(seeds(make_model, [1, 2, 4]))
    first, second = (Results.load(folder) for _ in range(2))
    np.testing.assert_array_equal(*(next(iter(each.draws.values())).drawn("robust", EPS) for each in (first, second)))


def test_equal_weights_count_once(make_run, make_model):
    models = [
        make_model([1, 1], [0.3, 0.0], [0.4, 0.4], name=name, seed=seed, weights="0" * 64)
        for seed, name in enumerate("ab")
    ]
    results = Results.load(make_run(models))
    one = by_suite(results.items, results.summary())["quick", "L2"]
    assert one.measured.correct.shape[0] == 1


def test_a_run_without_samples_has_no_intervals():
    one = draws(np.ones((1, 0)), np.ones((1, 0)), np.ones((1, 0)))
    assert np.isnan(one.estimate("clean")).all()
    assert np.isnan(one.interval("certified", EPS)[1]).all()


def test_a_model_without_a_certificate_is_known_by_its_correct_samples():
    """``Bounds.start`` gives misclassified samples the radius 0, of whatever grade."""
    bounds = Bounds.start([1, 1, 0], [np.nan] * 3)
    one = draws(bounds.correct[None], bounds.certified_radius[None], np.array([[0.2, 0.3, 0.0]]))
    assert np.isnan(one.estimate("certified", EPS)).all()
    assert np.isnan(one.estimate("mean_gap")).all()


def test_settings_of_the_same_networks_share_the_draw_of_their_seeds():
    correct, distance = np.ones((4, 50)), np.full((4, 50), 1.0)
    radius = np.full((4, 50), np.array([0.1, 0.3, 0.1, 0.3])[:, None])
    measured = draws(correct, radius, distance, settings="aabb", grid=(1.0,)).measured
    apart, same = Draws(measured), Draws(measured, seeds_of={"b": "a"})
    for one, equal in ((apart, False), (same, True)):
        drawn = one.drawn("mean_gap")
        assert drawn[:, 0].std() > 0
        assert np.array_equal(drawn[:, 0], drawn[:, 1]) is equal
