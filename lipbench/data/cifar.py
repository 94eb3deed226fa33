"""CIFAR-10 and CIFAR-100 (Python version), as torchvision and Keras leave them: ``cifar10``, ``cifar100``."""

from pathlib import Path

import numpy as np

from lipbench.data import Dataset, Split
from lipbench.data.locate import find, refuse_argument
from lipbench.data.unpickle import read_dict
from lipbench.errors import LipbenchError

TRAIN_BATCHES = ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5")


def load_cifar10(argument: str | None, data_dir: Path | None) -> Dataset:
    """CIFAR-10 in its usual order: uint8 (n, 3, 32, 32), 10 classes.

    As published: 50000 training and 10000 test samples. Raises LipbenchError for an argument, for files that
    are missing (with each path looked at) or damaged, and for such as would run code.
    """
    refuse_argument("cifar10", argument)
    folder = _find("cifar10", "cifar-10-batches-py", "cifar-10-python.tar.gz", data_dir)
    train = [_batch(folder / name, "labels", num_classes=10) for name in TRAIN_BATCHES]
    test = _batch(folder / "test_batch", "labels", num_classes=10)
    return Dataset("cifar10", _joined(train), test, num_classes=10)


def load_cifar100(argument: str | None, data_dir: Path | None) -> Dataset:
    """CIFAR-100 with its 100 fine labels, in its usual order: uint8 (n, 3, 32, 32).

    As published: 50000 training and 10000 test samples. Raises LipbenchError as ``load_cifar10`` does.
    """
    refuse_argument("cifar100", argument)
    folder = _find("cifar100", "cifar-100-python", "cifar-100-python.tar.gz", data_dir)
    train, test = (_batch(folder / name, "fine_labels", num_classes=100) for name in ("train", "test"))
    return Dataset("cifar100", train, test, num_classes=100)


def _find(name: str, folder: str, archive: str, data_dir: Path | None) -> Path:
    # Keras 3 unpacks the archive, which holds the folder, into a folder of the same name, later NAME-target.
    layouts = (f"{folder}/{folder}", f"{folder}-target/{folder}", folder)
    how_to_get = f"fetch https://www.cs.toronto.edu/~kriz/{archive}, unpack it (tar -xf {archive})"
    return find(name, layouts, data_dir, how_to_get)


def _batch(path: Path, label_key: str, num_classes: int) -> Split:
    batch = read_dict(path)
    missing = [key for key in ("data", label_key) if key.encode() not in batch]
    if missing:
        raise LipbenchError(f"{path}: expected the keys data and {label_key}, missing {', '.join(missing)}")
    pixels, labels = batch[b"data"], batch[label_key.encode()]
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[1:] != (3072,):
        came = f"{pixels.dtype} {pixels.shape}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise LipbenchError(f"{path}: expected data as uint8 (n, 3072), got {came}")
    if isinstance(labels, np.ndarray):
        labels = labels.tolist()
    if not isinstance(labels, list) or not all(isinstance(label, int) and 0 <= label < num_classes for label in labels):
        raise LipbenchError(f"{path}: expected {label_key} to be a list of integers in 0 .. {num_classes - 1}")
    if len(labels) != len(pixels):  # here and not only in ``checked``: batches might make up for each other
        raise LipbenchError(f"{path}: expected one label for each image, got {len(pixels)} and {len(labels)}")
    return Split(pixels.reshape(-1, 3, 32, 32), np.array(labels, dtype=np.int64))


def _joined(splits: list[Split]) -> Split:
    images = np.concatenate([split.images for split in splits])
    return Split(images, np.concatenate([split.labels for split in splits]))
