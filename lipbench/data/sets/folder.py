"""Data sets as folders of images, one folder per class: ``folder:PATH``."""

import hashlib
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lipbench.data import Dataset, Split
from lipbench.data.locate import path_argument
from lipbench.errors import LipbenchError, one_line

SUFFIXES = (".png", ".jpg", ".jpeg")
GREY_MODES = ("1", "L", "LA")
COLOUR_MODES = ("P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
ClassFiles = dict[str, list[Path]]


def load(argument: str | None, data_dir: Path | None) -> Dataset:
    """The images ``train/<class>/*`` and ``test/<class>/*`` (png, jpg, jpeg) as uint8 (n, c, h, w).

    Labels count the class names of both folders together in alphabetical order ("10" before "2"). A class may
    lack test images; a test class without a training folder is an error. Without ``train`` the training split
    is empty. Images are greyscale, c = 1, if all of them are, else RGB, c = 3; transparency is dropped. Names
    that begin with a dot are skipped. Rows are ordered by the SHA-256 of ``<class>/<file>``, so that the
    first n are a fair sample of the classes, the same on every machine. ``data_dir`` is not used.
    Raises LipbenchError for a missing folder, images of different sizes, and an image that cannot be read.
    """
    root = path_argument("folder", argument)
    test = _class_files(root / "test")
    train = _class_files(root / "train") if os.path.exists(root / "train") else {}
    unseen = sorted(test.keys() - train.keys())
    if train and unseen:
        raise LipbenchError(
            f"{root}: expected the same classes in train and test, only test has {', '.join(unseen)}; "
            f"train has {', '.join(sorted(train))}"
        )
    class_names = sorted(train.keys() | test.keys())
    train_rows, test_rows = _rows(train, class_names), _rows(test, class_names)
    if not test_rows:
        raise LipbenchError(f"no images in {root / 'test'}: expected test/<class>/*, {', '.join(SUFFIXES)}")
    images = _stack([path for path, _ in train_rows + test_rows])
    labels = np.array([label for _, label in train_rows + test_rows], dtype=np.int64)
    cut = len(train_rows)
    return Dataset(
        f"folder:{root}",
        Split(images[:cut], labels[:cut]),
        Split(images[cut:], labels[cut:]),
        num_classes=len(class_names),
    )


def _class_files(folder: Path) -> ClassFiles:
    return {
        path.name: [file for file in _visible(path) if file.suffix.lower() in SUFFIXES]
        for path in _visible(folder)
        if path.is_dir()
    }


def _visible(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise LipbenchError(
            f"cannot read the folder {folder}: {error.strerror or error}; "
            "expected images as train/<class>/*.png and test/<class>/*.png (also jpg, jpeg)"
        ) from error


def _rows(files: ClassFiles, class_names: list[str]) -> list[tuple[Path, int]]:
    rows = [(path, class_names.index(name)) for name, paths in files.items() for path in paths]
    # Sorted by class, the first 100 rows would all be of one class. A hash mixes them without a generator, whose stream
    # may change, and a new file does not change the order of the others.
    return sorted(rows, key=lambda row: hashlib.sha256("/".join(row[0].parts[-2:]).encode()).digest())


def _stack(paths: list[Path]) -> NDArray[np.uint8]:
    """All images as uint8 (n, c, h, w)."""
    images = [_decode(path) for path in paths]
    size = images[0].shape[1:]
    for path, image in zip(paths, images, strict=True):
        if image.shape[1:] != size:
            raise LipbenchError(
                f"expected images of one size (h, w), got {size} in {paths[0]} "
                f"and {image.shape[1:]} in {path}; resize them beforehand"
            )
    channels = max(len(image) for image in images)  # one colour image makes the data set RGB
    return np.stack([np.broadcast_to(image, (channels, *size)) for image in images])


def _decode(path: Path) -> NDArray[np.uint8]:
    """One image as uint8 (1, h, w) or (3, h, w)."""
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            mode = image.mode
            if mode in GREY_MODES:
                return np.asarray(image.convert("L"))[None]
            if mode in COLOUR_MODES:
                return np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    except Exception as error:  # a damaged image raises what each of Pillow's decoders chooses
        raise LipbenchError(f"cannot read the image {path}: {one_line(error)}") from error
    # Pillow clips 16-bit pixels at 255 when it converts them, which would turn most images white.
    raise LipbenchError(f"cannot read the image {path}: expected 8 bits per channel, got Pillow mode {mode!r}")
