"""Checks of a data set."""

import random
from pathlib import Path

import numpy as np
import torch

from lipbench import data
from lipbench._internal.randomness import keeping_random_numbers
from lipbench.data import Split
from lipbench.testing.state import leaves_settings, random_numbers


def check_dataset(spec: str, data_dir: Path | None = None, *, shared: float = 0.01) -> None:
    """Check a data set.

    spec: ``NAME`` or ``NAME:ARG``, as ``--data`` takes it; data_dir: the folder of its files; shared: the share of test
    images that may be training images as well.

    lipbench itself refuses, with LipbenchError, images that are not (n, c, h, w) in [0, 1], labels that are not
    0..K-1, and splits that do not fit. Checked here are: that loading twice gives the same samples; that it neither
    draws from the global random numbers nor changes settings of torch; that there is no constant image; that each
    class has a training sample, if there are any; and that no larger share of test images than ``shared`` is in both
    splits. Raises AssertionError.
    """
    said = f"the data set {spec!r}"
    with leaves_settings(said), keeping_random_numbers():
        found = data.load(spec, data_dir)  # what it imports may draw, once
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002
        random.seed(0)
        _ = torch.rand(3), np.random.random(3), random.random()  # noqa: NPY002  no longer as just after seeding
        before = random_numbers()
        again = data.load(spec, data_dir)
        assert random_numbers() == before, f"{said} draws from the global random numbers, or seeds them"
    for split in ("train", "test"):
        one, other = getattr(found, split), getattr(again, split)
        assert one.sha256 == other.sha256, f"{said} has other samples in {split} each time it is loaded"
    flat = found.test.x.reshape(len(found.test.labels), -1)
    constant = int((flat.min(axis=1) == flat.max(axis=1)).sum())
    assert constant == 0, f"{said} has {constant} test images whose pixels are all equal"
    if len(found.train.labels):
        absent = sorted(set(range(found.num_classes)) - set(np.unique(found.train.labels).tolist()))
        assert not absent, f"{said} has no training sample of class {absent[0]}, of {found.num_classes} classes"
        twice = len(_images(found.test) & _images(found.train)) / len(found.test.labels)
        assert twice <= shared, f"{said}: {100 * twice:.3g} % of the test images are training images as well"


def _images(split: Split) -> set[bytes]:
    return {image.tobytes() for image in split.images}
