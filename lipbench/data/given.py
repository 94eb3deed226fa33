"""Samples that the caller has in memory, as a data set."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from lipbench._internal import arguments
from lipbench._internal.registry import DATASETS
from lipbench.data.arrays import class_labels, stored_inputs
from lipbench.data.batches import joined
from lipbench.data.datasets import Dataset, Split, checked, load
from lipbench.errors import LipbenchError, unknown_name

SPEC = "given"
NUM_CLASSES = "num_classes"
TEST, TRAIN = ("x_test", "y_test"), ("x_train", "y_train")
KEYS = (*TEST, *TRAIN, NUM_CLASSES)
# a spec or a path; or arrays or tensors (x, y), or a dictionary of them; or what torch loads samples with
Data = str | os.PathLike[str] | Dataset | tuple[Any, Any] | Mapping[str, Any] | TorchDataset[Any] | DataLoader[Any]


def dataset_of(data: Data, data_dir: Path | None = None, num_classes: int | None = None) -> Dataset:
    """The data set that the caller named or gave.

    data: a spec as for ``load``, or a path; a ``Dataset``; a pair (x, y) of arrays or tensors, which become the test
    samples: x of floats (n, ...) in [0, 1] or uint8, y of whole numbers (n,); a dictionary of x_test, y_test, and, if
    wanted, x_train, y_train and num_classes; a ``torch.utils.data.Dataset`` of items (x, y), or a ``DataLoader`` with a
    fixed order. num_classes: for labels that may lack some classes.
    Raises LipbenchError for anything else, and as ``load`` does.
    """
    classes = None if num_classes is None else arguments.whole_number(NUM_CLASSES, num_classes, 2)
    dataset = _dataset(data, data_dir, classes)
    return dataset if classes is None else _with_classes(dataset, classes)


def _with_classes(dataset: Dataset, num_classes: int) -> Dataset:
    """The data set with a number of classes that its labels do not show."""
    if not dataset.may_lack_classes and num_classes != dataset.num_classes:
        raise LipbenchError(f"the data set {dataset.spec!r} has {dataset.num_classes} classes, not {num_classes}")
    return checked(replace(dataset, num_classes=num_classes, may_lack_classes=False))


def _dataset(data: Any, data_dir: Path | None, classes: int | None) -> Dataset:
    if isinstance(data, Dataset):
        loadable = data.spec.partition(":")[0] in DATASETS.names()
        return checked(data if loadable else replace(data, spec=SPEC))  # workers cannot load what no name stands for
    if isinstance(data, str | os.PathLike):
        return load(str(arguments.path("data", data)) if isinstance(data, os.PathLike) else data, data_dir)
    if isinstance(data, Mapping) and data:
        return _of_arrays(data, classes)
    if isinstance(data, TorchDataset | DataLoader):
        x, y = joined(data)
        return given(x, y, classes)
    if isinstance(data, tuple | list) and len(data) == 2:
        x, y = data
        return given(x, y, classes)
    raise LipbenchError(
        'data must be the name of a data set, such as "digits", a pair (x, y), a dictionary of x_test and y_test, or a '
        f"Dataset or DataLoader of torch, got {type(data).__name__}"
    )


def given(x: Any, y: Any, num_classes: int | None = None) -> Dataset:
    """Inputs x (n, ...) and labels y (n,), as for ``dataset_of``, as a data set without a training split."""
    return _of_arrays(dict(zip(TEST, (x, y), strict=True)), num_classes)


def _of_arrays(arrays: Mapping[str, Any], classes: int | None) -> Dataset:
    """The arrays of a dictionary, as they are. classes: how many there are, where the dictionary does not say."""
    for key in arrays:
        if key not in KEYS:
            raise unknown_name("key of data", key, KEYS)
    needed = (*TEST, *TRAIN) if {*TRAIN} & {*arrays} else TEST
    missing = [key for key in needed if key not in arrays]
    if missing:
        raise LipbenchError(f"data: expected the keys {', '.join(needed)}, missing {', '.join(missing)}")
    if NUM_CLASSES in arrays:
        classes = arguments.whole_number(NUM_CLASSES, arrays[NUM_CLASSES], 2)
    test = _split(arrays, TEST, classes)
    train = _split(arrays, TRAIN, classes) if TRAIN[0] in arrays else test.first(0)
    found = 1 + max(int(split.labels.max(initial=0)) for split in (test, train))
    may_lack = classes is None and TRAIN[0] not in arrays  # training samples show all classes
    return checked(Dataset(SPEC, train, test, max(2, found) if classes is None else classes, may_lack))


def _split(arrays: Mapping[str, Any], keys: tuple[str, str], classes: int | None) -> Split:
    inputs = stored_inputs(arrays[keys[0]]).cpu().numpy()
    return Split(inputs, class_labels(arrays[keys[1]], len(inputs), classes).numpy())
