"""Distances between samples of different labels, and what certified balls take of them."""

import numpy as np
import pytest

from lipbench.experiments.separation import distinct, half_distances, shares_taken

X = np.array([[0.0, 0.0], [0.0, 0.1], [3.0, 4.0], [0.0, 2.0]])  # the first two of one label, the third of another
LABELS = np.array([0, 0, 1, 2])


def test_half_of_the_distance_to_the_nearest_sample_of_another_label():
    assert half_distances(X, LABELS) == pytest.approx([1.0, 0.95, np.sqrt(13) / 2, 0.95])
    assert np.isinf(half_distances(X[:2], LABELS[:2])).all()


def test_distances_do_not_depend_on_the_rows_that_are_in_memory_at_once(monkeypatch):
    x, labels = np.random.default_rng(0).random((50, 3)), np.arange(50) % 4
    whole = half_distances(x, labels), shares_taken(x, labels, np.ones((2, 50)))
    monkeypatch.setattr("lipbench.experiments.separation.ROWS", 7)
    for one, other in zip(whole, (half_distances(x, labels), shares_taken(x, labels, np.ones((2, 50)))), strict=True):
        assert other == pytest.approx(one)


def test_balls_that_overlap_take_more_than_the_distance():
    touching = [1.0, 0.95, 0.0, 0.95]  # one more than half of its distance to the nearest alone would be true
    larger = [1.5, 0.1, 0.0, 0.4]
    false = [1.5, 0.1, 0.0, 0.6]
    taken = shares_taken(X, LABELS, [touching, larger, false])
    assert taken[0] == pytest.approx([1.95 / 2, 1.0, np.nan, 1.0], nan_ok=True)
    assert taken[1][0] == pytest.approx(1.9 / 2)
    assert taken[2][0] == pytest.approx(2.1 / 2)
    assert taken[2][3] == pytest.approx(2.1 / 2)


def test_a_misclassified_sample_bounds_nobody():
    assert np.isnan(shares_taken(X, LABELS, [[5.0, 0.0, 0.0, 0.0]])).all()


def test_images_that_repeat_are_left_out():
    images = np.zeros((4, 1, 2, 2), np.uint8)
    images[0] = 9
    images[3, 0, 0, 0] = 1
    assert distinct(images).tolist() == [0, 1, 3]
