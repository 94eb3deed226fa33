"""Data sets by name: inputs as float32 (n, ...) in [0, 1], labels as int64 (n,).

Inputs are images (n, c, h, w), series (n, c, l) or vectors (n, d).

A loader is a function ``load(argument: str | None, data_dir: Path | None) -> Dataset``, registered under the data set's
name; ``argument`` is the text after the first colon of ``NAME:ARG``, None where there is no colon. ``load`` here checks
the result of every loader, so that a plugin's data set obeys the same rules as the bundled ones.
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lipbench._internal import arguments
from lipbench._internal.registry import DATASETS
from lipbench.data.arrays import RANKS
from lipbench.data.mapped import read
from lipbench.errors import LipbenchError

ROWS = 1000  # read at once
SHOWN = 200  # characters of a path in a message


@dataclass(frozen=True)
class Split:
    """Inputs and labels."""

    # images (n, c, h, w), series (n, c, l) or vectors (n, d), uint8 in 0..255 or float32 in [0, 1]; in any memory
    # order, perhaps a read-only map of a file larger than the memory: compute with ``x`` of a ``part``, see ``mapped``
    images: NDArray[Any]
    labels: NDArray[np.int64]  # (n,), 0 .. num_classes - 1
    targets: NDArray[np.float32] | None = None  # (n,), what a loss with ``takes_targets`` is trained on

    @cached_property
    def x(self) -> NDArray[np.float32]:
        """float32 (n, ...) in [0, 1], C-contiguous and writable, for torch; uint8 pixels are divided by 255."""
        if self.images.dtype != np.uint8:
            return np.require(read(self.images), requirements=["C", "WRITEABLE", "ALIGNED"])  # copies only what is not
        x = np.empty(self.images.shape, np.float32)
        for rows, pixels in zip(by_rows(x), by_rows(self.images), strict=True):
            np.divide(pixels, np.float32(255), out=rows)
        return x

    def first(self, samples: int | None) -> "Split":
        """The first ``samples`` rows; all of them for None, and where there are fewer."""
        if samples is not None:
            samples = arguments.whole_number("samples", samples, 0)
        return self._rows(slice(samples))

    def part(self, start: int, stop: int) -> "Split":
        """The rows start .. stop - 1."""
        return self._rows(slice(start, stop))

    def _rows(self, rows: slice) -> "Split":
        return Split(self.images[rows], self.labels[rows], None if self.targets is None else self.targets[rows])

    @cached_property
    def sha256(self) -> str:
        """Digest of images and labels, and of targets where there are some."""
        digest = hashlib.sha256()
        for array in (self.images, self.labels, *(() if self.targets is None else (self.targets,))):
            digest.update(f"{array.dtype}{array.shape}".encode())
            for rows in by_rows(array):
                digest.update(rows.tobytes())  # in C order, whatever the order in memory
        return digest.hexdigest()


def by_rows(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """``array``, ROWS rows at a time: copies, and the part of a mapped file in memory, are never larger."""
    for start in range(0, len(array), ROWS):
        yield read(array[start : start + ROWS])


def in_memory(array: NDArray[Any]) -> NDArray[Any]:
    """A copy, C-contiguous and writable."""
    copied = np.empty(array.shape, array.dtype)
    for rows, given in zip(by_rows(copied), by_rows(array), strict=True):
        rows[:] = given
    return copied


@dataclass(frozen=True)
class Dataset:
    """A training and a test split."""

    spec: str  # as given to ``load``: "digits", "npz:PATH", ...
    train: Split  # may hold no samples, (0, ...): such a data set serves evaluation only
    test: Split
    num_classes: int
    may_lack_classes: bool = False  # whether ``num_classes`` was read off the labels, so that there may be more

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one input: (c, h, w), (c, l) or (d,)."""
        return tuple(int(size) for size in self.test.images.shape[1:])


def load(spec: str, data_dir: Path | None = None) -> Dataset:
    """The data set called ``spec``: ``digits``, ``mnist``, ``cifar10``, ``cifar100``, ``npz:PATH``,
    ``folder:PATH``, or a plugin's ``NAME`` or ``NAME:ARG``, split at the first colon; or a
    path, see ``named``.

    ``data_dir`` is searched for the files of ``mnist`` and of the CIFAR sets instead of the folder named by
    ``LIPBENCH_DATA`` (see ``lipbench.data.locate``). Nothing is ever downloaded.

    Returns inputs as uint8 (n, ...) in 0..255 or float32 (n, ...) in [0, 1], labels as int64 (n,).
    Raises LipbenchError for an unknown name, a wrong argument, files that are missing or damaged, and for every data
    set that ``checked`` refuses.
    """
    spec = named(spec)
    name, colon, argument = spec.partition(":")
    loader = DATASETS.get(name)
    with DATASETS.calling(name):
        dataset = loader(argument if colon else None, data_dir)
    if not isinstance(dataset, Dataset):
        raise LipbenchError(
            f"data set {spec!r}: expected its loader to return a lipbench.data.Dataset, got {type(dataset).__name__}"
        )
    return checked(replace(dataset, spec=spec))


def named(spec: str) -> str:
    """The spec with the name of its loader: ``mine.npz`` is ``npz:mine.npz``, and the path of a folder ``folder:PATH``.

    Raises LipbenchError for a path where neither is.
    """
    if spec.partition(":")[0] in DATASETS.names():
        return spec
    if spec.lower().endswith(".npz"):
        return f"npz:{spec}"
    if os.path.isdir(os.path.expanduser(spec)) and spec:
        return f"folder:{spec}"
    if os.sep in spec and ":" not in spec:
        raise LipbenchError(
            f"no data set at {spec[:SHOWN]!r}: expected a folder of images, or a NumPy archive, whose name ends in .npz"
        )
    return spec


@lru_cache(maxsize=1)
def load_once(spec: str, data_dir: Path | None = None) -> Dataset:
    """``load``, for workers: the last data set stays in memory for the next task."""
    return load(spec, data_dir)


def checked(dataset: Dataset) -> Dataset:
    """The same data set with float images as float32 and labels as int64, if it is sound.

    Images of uint8 and float32 stay where they are, in memory or in a mapped file, and are read ROWS at a time. Float
    images of other types are converted, which takes memory for all of them as float32.

    Raises LipbenchError unless the test split holds a sample, there are at least 2 classes, inputs are uint8
    or float (n, ...) of one shape of one to three axes with finite floats in [0, 1], and labels are integers (n,) in
    0 .. num_classes - 1, as many as there are inputs.
    """
    where = f"data set {dataset.spec!r}"
    if len(dataset.test.labels) == 0:
        raise LipbenchError(f"{where}: expected at least one test sample, got none")
    if dataset.num_classes < 2:
        raise LipbenchError(
            f"{where}: expected at least 2 classes, got {dataset.num_classes}; "
            "a classifier of one class has no decision boundary"
            + ("; if the labels lack classes, give num_classes" if dataset.may_lack_classes else "")
        )
    train = _checked_split(dataset.train, dataset.num_classes, f"{where}, train split")
    test = _checked_split(dataset.test, dataset.num_classes, f"{where}, test split")
    if train.images.shape[1:] != test.images.shape[1:]:
        raise LipbenchError(
            f"{where}: expected inputs of one shape in both splits, "
            f"got {train.images.shape[1:]} in train and {test.images.shape[1:]} in test"
        )
    return replace(dataset, train=train, test=test)


def integer_labels(labels: NDArray[Any], where: str) -> NDArray[np.int64]:
    """Labels (n,) as int64.

    Raises LipbenchError, which begins with ``where``, unless they are integers (n,), none of them negative.
    """
    if labels.ndim != 1:
        raise LipbenchError(
            f"{where}: expected labels of shape (n,), got {labels.shape}; turn one-hot labels into indices with argmax"
        )
    if labels.dtype.kind not in "iu":
        raise LipbenchError(f"{where}: expected integer labels, got {labels.dtype}; convert them with .astype(int)")
    if len(labels) and (labels.min() < 0 or labels.max() > np.iinfo(np.int64).max):
        raise LipbenchError(f"{where}: expected labels counted from 0, got {labels.min()} .. {labels.max()}")
    return labels.astype(np.int64)


def _checked_split(split: Split, num_classes: int, where: str) -> Split:
    images = _checked_images(np.asarray(split.images), where)
    labels = integer_labels(np.asarray(split.labels), where)
    if len(images) != len(labels):
        raise LipbenchError(
            f"{where}: expected one label for each image, got {len(images)} images and {len(labels)} labels"
        )
    if len(labels) and labels.max() >= num_classes:
        raise LipbenchError(
            f"{where}: expected labels in 0 .. {num_classes - 1}, as there are {num_classes} classes, "
            f"got {labels.max()}"
        )
    targets = split.targets
    if targets is not None:
        targets = np.asarray(targets)
        if targets.shape != labels.shape or targets.dtype.kind != "f" or not np.isfinite(targets).all():
            raise LipbenchError(
                f"{where}: expected a finite float for each of {len(labels)} samples as targets, got {targets.dtype} "
                f"of shape {targets.shape}"
            )
        targets = targets.astype(np.float32)
    return Split(images, labels, targets)


def _checked_images(images: NDArray[Any], where: str) -> NDArray[Any]:
    if images.ndim - 1 not in RANKS or 0 in images.shape[1:]:
        raise LipbenchError(
            f"{where}: expected images (n, c, h, w), series (n, c, l) or vectors (n, d), got the shape {images.shape}"
        )
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind != "f":
        raise LipbenchError(
            f"{where}: expected pixels as uint8 in 0 .. 255 or as float in [0, 1], got {images.dtype}; "
            "convert them with .astype(np.uint8)"
        )
    converted = images if images.dtype == np.float32 else np.empty(images.shape, np.float32)
    not_finite, low, high = 0, np.inf, -np.inf
    with np.errstate(over="ignore"):  # an overflow is out of range, and refused below
        for given, rows in zip(by_rows(images), by_rows(converted), strict=True):
            not_finite += int(np.count_nonzero(~np.isfinite(given)))
            if converted is not images:
                rows[:] = given
            low, high = min(low, rows.min()), max(high, rows.max())
    if not_finite:
        raise LipbenchError(
            f"{where}: expected finite pixels, got {not_finite} that are NaN or infinite; repair or remove these images"
        )
    if low < 0 or high > 1:
        raise LipbenchError(
            f"{where}: expected float pixels in [0, 1], got {low:.9g} .. {high:.9g}; "
            "rescale them (divide 0 .. 255 by 255) and leave mean and std to the model's preprocessing"
        )
    return converted
