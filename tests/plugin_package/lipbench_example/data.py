"""A data set that needs no files."""

import numpy as np

from lipbench.data import Dataset, Split
from lipbench.errors import LipbenchError

CLASSES = 4


def _split(seed: int, samples: int) -> Split:
    random = np.random.default_rng(seed)
    labels = np.arange(samples) % CLASSES
    angle = np.pi * labels / CLASSES + random.normal(0, 0.08, samples)
    phase = random.uniform(0, 2 * np.pi, samples)
    y, x = np.mgrid[0:8, 0:8]
    wave = np.cos(np.multiply.outer(np.cos(angle), x) + np.multiply.outer(np.sin(angle), y) + phase[:, None, None])
    noise = random.normal(0, 0.05, wave.shape)
    return Split(np.clip(0.5 + 0.4 * wave + noise, 0, 1).astype(np.float32)[:, None], labels.astype(np.int64))


def gratings(argument, data_dir) -> Dataset:
    """Gratings of 4 orientations with random phase and noise: 600 training and 100 test samples, (1, 8, 8)."""
    if argument is not None:
        raise LipbenchError(f"the data set gratings takes no argument, got {argument!r}")
    return Dataset("gratings", _split(0, 600), _split(1, 100), CLASSES)
