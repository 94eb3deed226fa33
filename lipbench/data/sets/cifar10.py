"""CIFAR-10: ``cifar10``."""

from pathlib import Path

from lipbench.data import Dataset
from lipbench.data.cifar import find_folder, joined, read_batch
from lipbench.data.locate import refuse_argument

TRAIN_BATCHES = ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5")


def load(argument: str | None, data_dir: Path | None) -> Dataset:
    """CIFAR-10 in its usual order: uint8 (n, 3, 32, 32), 10 classes.

    As published: 50000 training and 10000 test samples. Raises LipbenchError for an argument, for files that are
    missing (with each path that was searched) or damaged, and for files that would run code.
    """
    refuse_argument("cifar10", argument)
    folder = find_folder("cifar10", "cifar-10-batches-py", "cifar-10-python.tar.gz", data_dir)
    train = [read_batch(folder / name, "labels", num_classes=10) for name in TRAIN_BATCHES]
    test = read_batch(folder / "test_batch", "labels", num_classes=10)
    return Dataset("cifar10", joined(train), test, num_classes=10)
