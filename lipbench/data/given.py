"""Samples that the caller has in memory, as a data set."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lipbench._internal import arguments
from lipbench.data.arrays import class_labels, images
from lipbench.data.datasets import Dataset, Split, checked, load
from lipbench.errors import LipbenchError

SPEC = "given"
Data = str | Dataset | tuple[Any, Any]  # a spec, or arrays or tensors (x, y)


def dataset_of(data: Data, data_dir: Path | None = None, num_classes: int | None = None) -> Dataset:
    """The data set that the caller named or gave.

    data: a spec as for ``load``, a ``Dataset``, or a pair (x, y) of arrays or tensors, which become the test samples:
    x of floats (n, ...) in [0, 1], y of whole numbers (n,); num_classes: of pairs whose labels may lack some classes.
    Raises LipbenchError for anything else, and as ``load`` does.
    """
    if isinstance(data, str | Dataset):
        dataset = load(data, data_dir) if isinstance(data, str) else checked(data)
        return dataset if num_classes is None else _with_classes(dataset, num_classes)
    if isinstance(data, tuple | list) and len(data) == 2:
        return given(data[0], data[1], num_classes)
    raise LipbenchError(
        f'data must be the name of a data set, such as "digits", or a pair (x, y), got {type(data).__name__}'
    )


def _with_classes(dataset: Dataset, num_classes: int) -> Dataset:
    """The data set with a number of classes that its labels do not show."""
    if not dataset.may_lack_classes and num_classes != dataset.num_classes:
        raise LipbenchError(f"the data set {dataset.spec!r} has {dataset.num_classes} classes, not {num_classes!r}")
    classes = arguments.whole_number("num_classes", num_classes, 2)
    return checked(replace(dataset, num_classes=classes, may_lack_classes=False))


def given(x: Any, y: Any, num_classes: int | None = None) -> Dataset:
    """Inputs x (n, ...) in [0, 1] and labels y (n,) as a data set without a training split."""
    inputs = images(x).cpu().numpy()
    most = 2**31 if num_classes is None else arguments.whole_number("num_classes", num_classes, 2)
    labels = class_labels(y, len(inputs), most).numpy()
    classes = max(2, int(labels.max()) + 1) if num_classes is None else num_classes
    train = Split(inputs[:0], labels[:0])
    return checked(Dataset(SPEC, train, Split(inputs, np.asarray(labels)), classes, num_classes is None))
