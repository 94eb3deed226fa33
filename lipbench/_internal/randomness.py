"""The global generators of random numbers: of torch, NumPy and Python."""

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch


@contextlib.contextmanager
def keeping_random_numbers(device: torch.device | None = None) -> Iterator[None]:
    """Code inside leaves the random numbers of torch, NumPy and Python as they were.

    device: whose generator is kept, beside the CPU's.
    """
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002  a forward may draw from it
    with torch.random.fork_rng([device] if device is not None and device.type == "cuda" else []):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
