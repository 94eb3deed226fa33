"""Optical recognition of handwritten digits (8 x 8 pixels), which scikit-learn carries: needs no files."""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from lipbench.data import Dataset, Split
from lipbench.data.locate import refuse_argument

TEST_SAMPLES = 500
SPLIT_SEED = 0  # part of the data set's definition: another seed is another data set
BRIGHTEST = 16  # each pixel counts the dark points among 4 x 4


def load(argument: str | None, data_dir: Path | None) -> Dataset:
    """1297 training and 500 test samples, float32 (n, 1, 8, 8) in [0, 1], of 10 classes.

    scikit-learn publishes no split. This one is fixed: ``train_test_split`` with 500 test samples, stratified
    by class, seed 0; both splits are shuffled, so that the first rows are a fair sample. ``data_dir`` is not
    used. Raises LipbenchError for an argument.
    """
    refuse_argument("digits", argument)
    pixels, labels = load_digits(return_X_y=True)
    images = (pixels / BRIGHTEST).astype(np.float32).reshape(-1, 1, 8, 8)
    x_train, x_test, y_train, y_test = train_test_split(
        images, labels.astype(np.int64), test_size=TEST_SAMPLES, stratify=labels, random_state=SPLIT_SEED
    )
    return Dataset("digits", Split(x_train, y_train), Split(x_test, y_test), num_classes=10)
