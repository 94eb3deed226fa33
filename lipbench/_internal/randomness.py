"""The global generators of random numbers: of torch, NumPy and Python."""

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch


@contextlib.contextmanager
def keeping_random_numbers(*devices: torch.device | None) -> Iterator[None]:
    """Code inside leaves the random numbers of torch, NumPy and Python as they were.

    devices: those whose generators are kept, beside the CPU's; None and CPU among them change nothing.
    """
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002  a forward may draw from it
    with torch.random.fork_rng([device for device in devices if device is not None and device.type == "cuda"]):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


def gpus_in_use() -> list[torch.device]:
    """Every GPU, once this process computes on one; else none, as their generators are not seeded yet."""
    return [torch.device("cuda", k) for k in range(torch.cuda.device_count())] if torch.cuda.is_initialized() else []


@contextlib.contextmanager
def seeded(seed: int, *devices: torch.device | None) -> Iterator[None]:
    """Code inside draws the numbers that follow from a seed; what it draws changes nothing outside."""
    with keeping_random_numbers(*devices):
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002  a forward may draw from it
        random.seed(seed)
        yield
