"""The files of CIFAR-10 and CIFAR-100 (Python version), as torchvision and Keras leave them."""

from pathlib import Path

import numpy as np

from lipbench.data import Split
from lipbench.data.locate import find
from lipbench.data.unpickle import read_dict
from lipbench.errors import LipbenchError


def find_folder(name: str, folder: str, archive: str, data_dir: Path | None) -> Path:
    """The folder with the files of an archive. Raises LipbenchError, with each path looked at, where it is missing."""
    # Keras 3 unpacks the archive, which holds the folder, into a folder of the same name, later NAME-target.
    layouts = (f"{folder}/{folder}", f"{folder}-target/{folder}", folder)
    how_to_get = f"fetch https://www.cs.toronto.edu/~kriz/{archive}, unpack it (tar -xf {archive})"
    return find(name, layouts, data_dir, how_to_get)


def read_batch(path: Path, label_key: str, num_classes: int) -> Split:
    """The images uint8 (n, 3, 32, 32) and labels of one file. Raises LipbenchError for a file that is damaged."""
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


def joined(splits: list[Split]) -> Split:
    """All samples, in order."""
    images = np.concatenate([split.images for split in splits])
    return Split(images, np.concatenate([split.labels for split in splits]))
