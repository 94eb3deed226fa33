"""Exact optima over samples, and the classifier of the nearest neighbour."""

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.neighbors import KNeighborsClassifier

from lipbench.experiments.measures import best_accuracy
from lipbench.experiments.neighbours import boundary_distances, neighbours
from lipbench.experiments.transport import largest_mean_radius, wasserstein


@pytest.fixture
def random():
    return np.random.default_rng(0)


def test_w1_on_a_line_is_that_of_sorted_samples(random):
    a, b = random.normal(size=50), 1 + random.normal(size=50) ** 2
    assert wasserstein(a[:, None], b[:, None]) == pytest.approx(stats.wasserstein_distance(a, b))


def test_w1_of_images_is_in_l2():
    a, b = np.zeros((3, 1, 2, 2), np.float32), np.ones((3, 1, 2, 2), np.float32)
    assert wasserstein(a, b) == pytest.approx(2)


def test_the_largest_mean_radius_gives_a_sample_all_that_its_neighbours_leave():
    # classes a, b, b at 0, 1 and -1.2: 1-NN gives .5, .5 and .6; the best is 0, 1 and 1.2
    others = np.array([[1, 2], [0, 0], [0, 0]])
    distances = np.array([[1, 1.2], [1, 1], [1.2, 1.2]])
    assert largest_mean_radius(others, distances) == pytest.approx(2.2 / 3)


def test_the_best_threshold_is_the_best_of_all(random):
    values, labels = random.normal(size=40), random.integers(0, 2, 40)
    values += labels
    best, threshold = best_accuracy(values, labels)
    every = [np.mean((values > one) == labels) for one in [-np.inf, *values]]
    assert best == max(every)
    assert np.mean((values > threshold) == labels) == best


@pytest.mark.parametrize(
    ("values", "labels", "accuracy", "threshold"),
    [
        ([1, 2], [1, 1], 1, -np.inf),
        ([1, 2], [0, 0], 1, np.inf),
        ([0, 0], [0, 1], 0.5, -np.inf),
        ([0, 0, 1, 3], [0, 0, 1, 1], 1, 0.5),
        ([0, 0, 1, 3, 3], [0, 1, 1, 1, 1], 0.8, -np.inf),
    ],
)
def test_a_threshold_cuts_between_distinct_values(values, labels, accuracy, threshold):
    values, labels = np.array(values, dtype=float), np.array(labels)
    assert best_accuracy(values, labels) == (accuracy, threshold)
    assert np.mean((values > threshold) == labels) == accuracy


@pytest.fixture
def samples(random):
    classes = np.repeat([0, 1, 2], 20)
    reference = random.random((60, 3)) + 0.3 * classes[:, None]
    return torch.from_numpy(reference), torch.from_numpy(classes)


def test_the_certificate_of_1nn_holds_on_spheres_around_samples(random, samples):
    reference, classes = samples
    x = torch.from_numpy(random.random((50, 3)) * 1.5)
    nearest = KNeighborsClassifier(1).fit(reference.numpy(), classes.numpy())
    labels = torch.from_numpy(nearest.predict(x.numpy()))
    found = neighbours(reference, classes, x, labels, 2)
    assert torch.equal(found.to_class.argmin(dim=1), labels)
    assert torch.all(classes[found.others] != labels[:, None])
    radii = found.radii(labels)
    assert radii.min() > 0
    for _ in range(50):
        direction = torch.from_numpy(random.normal(size=(50, 3)))
        moved = x + radii[:, None] * (1 - 1e-9) * direction / direction.norm(dim=1, keepdim=True)
        np.testing.assert_array_equal(nearest.predict(moved.numpy()), labels.numpy())


def test_a_misclassified_sample_has_no_radius(samples):
    reference, classes = samples
    wrong = (classes + 1) % 3
    assert not neighbours(reference, classes, reference, wrong).radii(wrong).any()


def test_the_boundary_lies_on_its_far_side(samples):
    reference, classes = samples
    radii = neighbours(reference, classes, reference, classes).radii(classes).numpy()
    distances = boundary_distances(reference, classes, reference, classes)
    assert np.all(distances >= radii * (1 - 1e-9))
    assert np.median(distances / radii) < 1.2  # on its own references 1-NN's certificate is often exact
