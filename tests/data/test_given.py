"""Samples that the caller has in memory."""

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
    with pytest.raises(LipbenchError, match=r"data must be the name of a data set, such as .digits., or a pair"):
        dataset_of(wrong)


def test_the_digest_settles_which_samples_they_are():
    first, again, other = (dataset_of((X * scale, [0, 1, 1, 2])).test.sha256 for scale in (1, 1, 0.5))
    assert first == again != other
