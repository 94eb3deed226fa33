"""Samples that the caller has in memory."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lipbench import data
from lipbench.data import dataset_of
from lipbench.errors import LipbenchError

X = np.linspace(0, 1, 4 * 3 * 2 * 2).reshape(4, 3, 2, 2)


@pytest.mark.parametrize("kind", [np.asarray, torch.tensor, lambda values: np.asarray(values).tolist()])
def test_a_pair_of_arrays_is_a_test_split(kind):
    dataset = dataset_of((kind(X), kind([0, 1, 1, 2])))
    assert (dataset.spec, dataset.num_classes, dataset.may_lack_classes) == ("given", 3, True)
    assert dataset.input_shape == (3, 2, 2)
    assert len(dataset.train.labels) == 0
    np.testing.assert_array_equal(dataset.test.x, X.astype(np.float32))
    np.testing.assert_array_equal(dataset.test.labels, [0, 1, 1, 2])


def test_the_number_of_classes_may_be_said():
    dataset = dataset_of((X, [0, 1, 1, 2]), num_classes=5)
    assert (dataset.num_classes, dataset.may_lack_classes) == (5, False)
    with pytest.raises(LipbenchError, match=r"labels must lie in 0..1, got 0 to 2"):
        dataset_of((X, [0, 1, 1, 2]), num_classes=2)


def test_a_data_set_that_knows_its_classes_is_not_given_others(digits):
    assert dataset_of("digits", num_classes=10).num_classes == 10
    assert dataset_of(digits).test.sha256 == data.load("digits").test.sha256
    with pytest.raises(LipbenchError, match="'digits' has 10 classes, not 9"):
        dataset_of("digits", num_classes=9)


@pytest.mark.parametrize("wrong", [None, 3, (X,), (X, X, X), X, {}])
def test_what_is_no_data_set_is_refused(wrong):
    with pytest.raises(LipbenchError, match=r"data must be the name of a data set, such as .digits., a pair .x, y."):
        dataset_of(wrong)


def test_the_digest_settles_which_samples_they_are():
    first, again, other = (dataset_of((X * scale, [0, 1, 1, 2])).test.sha256 for scale in (1, 1, 0.5))
    assert first == again != other


# --- dictionaries -----------------------------------------------------------------------------------------------------


def test_a_dictionary_holds_what_an_archive_does(tmp_path):
    pixels = np.arange(4 * 12, dtype=np.uint8).reshape(4, 12)
    held = {"x_test": pixels, "y_test": [0, 1, 1, 2], "x_train": pixels[:2], "y_train": [3, 0], "num_classes": 5}
    dataset = dataset_of(held)
    np.savez(tmp_path / "held.npz", **held)
    stored = dataset_of(tmp_path / "held.npz")
    assert (
        (dataset.num_classes, dataset.may_lack_classes) == (stored.num_classes, stored.may_lack_classes) == (5, False)
    )
    assert dataset.train.sha256 == stored.train.sha256
    assert dataset.test.sha256 == stored.test.sha256
    assert dataset.test.images.dtype == np.uint8  # a quarter of the memory
    del held["num_classes"]
    dataset = dataset_of(held)
    assert (dataset.num_classes, dataset.may_lack_classes) == (4, False)  # training samples show all
    assert dataset_of(held, num_classes=6).num_classes == 6
    with np.load(tmp_path / "held.npz") as archive:
        assert dataset_of(archive).test.sha256 == dataset.test.sha256


WRONG = {
    "a key too many": ({"x_test": X, "y_test": [0] * 4, "classes": 3}, "unknown key of data 'classes'.*num_classes"),
    "labels are missing": ({"x_test": X}, "expected the keys x_test, y_test, missing y_test"),
    "training labels are missing": ({"x_test": X, "y_test": [0] * 4, "x_train": X}, "missing y_train"),
    "no number of classes": ({"x_test": X, "y_test": [0] * 4, "num_classes": "three"}, "num_classes must be a whole"),
    "too few classes": ({"x_test": X, "y_test": [0, 1, 2, 2], "num_classes": 2}, "labels must lie in 0..1"),
    "shapes differ": (
        {"x_test": X, "y_test": [0] * 4, "x_train": X[:, 0], "y_train": [0] * 4},
        "inputs of one shape in both splits",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_dictionary_of_something_else_is_refused(kind):
    held, said = WRONG[kind]
    with pytest.raises(LipbenchError, match=said) as caught:
        dataset_of(held)
    assert "\n" not in str(caught.value)


def test_a_data_set_under_a_name_that_nobody_knows_is_handed_to_workers(digits):
    assert dataset_of(replace(digits, spec="mine")).spec == "given"
    assert dataset_of(digits).spec == "digits"
