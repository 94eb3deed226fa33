"""CIFAR-100 with its 100 fine labels: ``cifar100``."""

from pathlib import Path

from lipbench.data import Dataset
from lipbench.data.cifar import find_folder, read_batch
from lipbench.data.locate import refuse_argument


def load(argument: str | None, data_dir: Path | None) -> Dataset:
    """CIFAR-100 with its 100 fine labels, in its usual order: uint8 (n, 3, 32, 32).

    As published: 50000 training and 10000 test samples. Raises LipbenchError as for ``cifar10``.
    """
    refuse_argument("cifar100", argument)
    folder = find_folder("cifar100", "cifar-100-python", "cifar-100-python.tar.gz", data_dir)
    train, test = (read_batch(folder / name, "fine_labels", num_classes=100) for name in ("train", "test"))
    return Dataset("cifar100", train, test, num_classes=100)
