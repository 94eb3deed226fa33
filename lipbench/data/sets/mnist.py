"""MNIST from the files that torchvision (IDX) or Keras (mnist.npz) left: ``mnist``."""

import gzip
import math
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lipbench.data import Dataset, Split
from lipbench.data.locate import find, refuse_argument
from lipbench.data.sets import npz
from lipbench.errors import LipbenchError, one_line

IMAGE_SHAPE = (1, 28, 28)
KERAS_FILE = "mnist.npz"
FIRST_FILE = "t10k-images-idx3-ubyte"  # the others are expected beside it
LAYOUTS = (
    f"MNIST/raw/{FIRST_FILE}",
    f"MNIST/raw/{FIRST_FILE}.gz",
    FIRST_FILE,
    f"{FIRST_FILE}.gz",
    KERAS_FILE,
)
HOW_TO_GET = (
    "fetch the four .gz files of http://yann.lecun.com/exdb/mnist/ "
    "(mirror: https://ossci-datasets.s3.amazonaws.com/mnist/) "
    "or https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz"
)


def load(argument: str | None, data_dir: Path | None) -> Dataset:
    """MNIST in its usual order: uint8 (n, 1, 28, 28), 10 classes; as published, 60000 training and 10000 test
    samples.

    Raises LipbenchError for an argument, for files that are missing (with each path that was searched) or damaged.
    """
    refuse_argument("mnist", argument)
    path = find("mnist", LAYOUTS, data_dir, HOW_TO_GET)
    if path.name == KERAS_FILE:
        dataset = replace(npz.read(path), num_classes=10, may_lack_classes=False)
    else:
        dataset = Dataset("mnist", _split(path.parent, "train"), _split(path.parent, "t10k"), num_classes=10)
    if dataset.input_shape != IMAGE_SHAPE:
        raise LipbenchError(f"{path}: expected images of shape {IMAGE_SHAPE}, got {dataset.input_shape}")
    return dataset


def _split(folder: Path, part: str) -> Split:
    images, labels = (
        _idx(folder, f"{part}-images-idx3-ubyte", 3),
        _idx(folder, f"{part}-labels-idx1-ubyte", 1),
    )
    return Split(images[:, None], labels.astype(np.int64))


def _idx(folder: Path, name: str, ndim: int) -> NDArray[np.uint8]:
    """The array of an IDX file, plain or gzipped.

    Format: two zero bytes, 8 for uint8, the number of axes, their sizes as big-endian uint32, the values.
    """
    path = next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)
    if path is None:
        raise LipbenchError(f"no {name} or {name}.gz in {folder}, where other MNIST files lie; {HOW_TO_GET}")
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise LipbenchError(f"cannot read the MNIST file {path}: {one_line(error)}") from error
    header, magic = 4 + 4 * ndim, bytes((0, 0, 8, ndim))
    if data[:4] != magic or len(data) < header:
        raise LipbenchError(
            f"{path}: expected an IDX file of uint8 with {ndim} axes, which begins with {magic.hex()}, "
            f"got {data[:4].hex() or 'an empty file'}"
        )
    shape = struct.unpack_from(f">{ndim}I", data, offset=4)
    if len(data) - header != math.prod(shape):
        raise LipbenchError(
            f"{path}: expected {math.prod(shape)} bytes after the header, as the shape is {shape}, "
            f"got {len(data) - header}; the file is damaged, fetch it again"
        )
    return np.frombuffer(data, dtype=np.uint8, offset=header).reshape(shape).copy()  # a buffer is read-only
