"""Data sets by name: images as float32 (n, c, h, w) in [0, 1], labels as int64 (n,)."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lipbench.errors import LipbenchError
from lipbench.registry import DATASETS


@dataclass(frozen=True)
class Split:
    """Images and labels."""

    images: NDArray[Any]  # uint8 (n, c, h, w) in 0..255, or float32 (n, c, h, w) in [0, 1]
    labels: NDArray[np.int64]  # (n,), 0 .. num_classes - 1

    @property
    def x(self) -> NDArray[np.float32]:
        """float32 (n, c, h, w) in [0, 1]; uint8 pixels are divided by 255."""
        if self.images.dtype == np.uint8:
            return (self.images / np.float32(255)).astype(np.float32)
        return self.images

    def first(self, samples: int | None) -> "Split":
        """The first ``samples`` rows; all of them for None."""
        return Split(self.images[:samples], self.labels[:samples])

    @cached_property
    def sha256(self) -> str:
        """Digest of images and labels."""
        digest = hashlib.sha256()
        for array in (self.images, self.labels):
            digest.update(f"{array.dtype}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Dataset:
    """A training and a test split."""

    spec: str  # as it was asked for: "digits", "npz:PATH", ...
    train: Split
    test: Split
    num_classes: int

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        c, h, w = self.test.images.shape[1:]
        return int(c), int(h), int(w)
