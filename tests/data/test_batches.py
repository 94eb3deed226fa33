"""Samples of torch: data sets and loaders become the same samples as the tensors that they hold."""

import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, RandomSampler, TensorDataset

from lipbench.data import dataset_of
from lipbench.errors import LipbenchError

X = torch.linspace(0, 1, 7 * 6).view(7, 1, 2, 3)
Y = torch.tensor([0, 2, 1, 1, 0, 2, 1])


class Items(Dataset):
    """Items as a user writes them: an array and a Python number."""

    def __len__(self):
        return len(X)

    def __getitem__(self, place):
        return X[place].numpy(), int(Y[place])


class Stream(IterableDataset):
    def __iter__(self):
        yield from zip(X, Y, strict=True)


class OfBatches(IterableDataset):
    def __iter__(self):
        yield X[:4], Y[:4]
        yield X[4:], Y[4:]


class Bytes(Items):
    def __getitem__(self, place):
        return (X[place] * 255).byte(), Y[place]


GIVEN = {
    "tensors": TensorDataset(X, Y),
    "items": Items(),
    "a stream": Stream(),
    "a list of items": DataLoader(list(zip(X, Y, strict=True)), batch_size=2),
    "a loader": DataLoader(TensorDataset(X, Y), batch_size=3),
    "a loader of a stream": DataLoader(Stream(), batch_size=3),
    "a loader without batches": DataLoader(OfBatches(), batch_size=None),
    "a loader with an order of its own": DataLoader(TensorDataset(X, Y), batch_sampler=[[0, 1], [2], [3, 4, 5, 6]]),
    "a loader with workers": DataLoader(TensorDataset(X, Y), batch_size=3, num_workers=1),
}


@pytest.mark.parametrize("kind", GIVEN)
def test_samples_of_torch_are_those_of_their_tensors(kind):
    before = torch.get_rng_state()
    dataset = dataset_of(GIVEN[kind])
    expected = dataset_of((X, Y))
    assert dataset.test.sha256 == expected.test.sha256
    assert (dataset.spec, dataset.num_classes, dataset.may_lack_classes) == ("given", 3, True)
    assert torch.equal(torch.get_rng_state(), before)


def test_bytes_stay_bytes():
    assert dataset_of(Bytes()).test.sha256 == dataset_of(((X * 255).byte(), Y)).test.sha256


class Noisy(Items):
    def __getitem__(self, place):
        return torch.rand(1, 2, 3), Y[place]


class Unlabelled(Items):
    def __getitem__(self, place):
        return X[place]


class Triples(Items):
    def __getitem__(self, place):
        return X[place], Y[place], place


class Named(Items):
    def __getitem__(self, place):
        return {"image": X[place], "label": Y[place]}


class Ragged(Items):
    def __getitem__(self, place):
        return X[place, :, : 1 + place % 2], Y[place]


class Bright(Items):
    def __getitem__(self, place):
        return X[place] * 2, Y[place]


class Broken(Items):
    def __getitem__(self, place):
        raise OSError("the disk is gone")


class Image:
    """What torch cannot put into a batch, as a Pillow image."""


class Pictures(Items):
    def __getitem__(self, place):
        return IMAGE, Y[place]


IMAGE = Image()
SHUFFLES = "the DataLoader shuffles.*shuffle=False.*loader.dataset"
REFUSED = {
    "shuffled": (DataLoader(TensorDataset(X, Y), shuffle=True), SHUFFLES),
    "shuffled with a seed": (
        DataLoader(TensorDataset(X, Y), shuffle=True, generator=torch.Generator().manual_seed(0)),
        SHUFFLES,
    ),
    "one sample, shuffled": (DataLoader(TensorDataset(X[:1], Y[:1]), shuffle=True), SHUFFLES),
    "shuffled batches": (
        DataLoader(TensorDataset(X, Y), batch_sampler=BatchSampler(RandomSampler(Items()), 2, False)),
        SHUFFLES,
    ),
    "random transforms": (Noisy(), "the first item of Noisy differs at every access.*transforms"),
    "no labels": (Unlabelled(), r"items \(x, y\)"),
    "three parts": (Triples(), r"items \(x, y\).*of 3"),
    "dictionaries": (Named(), r"items \(x, y\).*dict"),
    "several shapes": (Ragged(), "cannot read the samples of Ragged"),
    "out of range": (Bright(), "x must lie in"),
    "an error of its own": (Broken(), "cannot read the samples of Broken: the disk is gone"),
    "pictures": (Pictures(), "cannot read the samples of Pictures"),
    "nothing": (TensorDataset(X[:0], Y[:0]), "holds no samples"),
    "single items": (DataLoader(TensorDataset(X, Y), batch_size=None), "batch_size"),
    "labels of the wrong kind": (TensorDataset(X, torch.eye(7)), "one-hot"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_fixed_set_of_samples_is_refused(kind):
    given, said = REFUSED[kind]
    with pytest.raises(LipbenchError, match=said) as caught:
        dataset_of(given)
    assert "\n" not in str(caught.value)


def test_batches_of_several_shapes_are_refused():
    class Growing(IterableDataset):
        def __iter__(self):
            yield X[:2], Y[:2]
            yield X[:2, :, :1], Y[:2]

    with pytest.raises(LipbenchError, match=r"one shape.*\(1, 1, 3\), \(1, 2, 3\)"):
        dataset_of(DataLoader(Growing(), batch_size=None))


def test_a_bool_label_is_a_class():
    np.testing.assert_array_equal(dataset_of(TensorDataset(X, Y > 0)).test.labels, (Y > 0).long())
