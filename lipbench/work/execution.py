"""The choices about where work is done, which evaluation and training share."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from lipbench._internal import arguments
from lipbench._internal.precision import precisions, set_precisions
from lipbench._internal.registry import EXECUTORS
from lipbench.errors import LipbenchError, quoted, unknown_name
from lipbench.work.executors import Executor, build, is_executor
from lipbench.work.executors.local import LocalExecutor


def check_device(name: Any) -> str:
    """The name of a device: "auto", "cpu", "cuda" or "cuda:1"; raises LipbenchError for anything else.

    Whether there is such a GPU is known where the work is done, see ``resolve_device``.
    """
    if isinstance(name, str) and re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,3})?", name):
        return name
    if name == "mps":
        raise LipbenchError("device 'mps' has no float64, which certificates are computed in; use --device cpu")
    raise LipbenchError(
        f"unknown device {quoted(name)}: expected auto, cpu or cuda, or a GPU by its number (here: {gpus()})"
    )


def gpus() -> str:
    """The GPUs of this machine, in words."""
    return ", ".join(f"cuda:{index}" for index in range(torch.cuda.device_count())) or "none"


@dataclass(frozen=True)
class Execution:
    """Where and by how many processes work is done; none of it changes which work.

    Raises LipbenchError for an unknown device or executor, for more processes or threads than this machine takes, and
    for options that the executor does not have.
    """

    device: str = "auto"  # or "cpu", "cuda", or one of several GPUs, such as "cuda:1"
    executor: str | Executor = "local"  # or "ray", the name of a plugin's, or an object of your own
    jobs: int = 1  # processes (local), or tasks at once (ray)
    threads: int = 1  # of torch on the CPU, in each process
    address: str | None = None  # of a Ray cluster; None: start one here
    gpus_per_task: float | None = None  # that each task takes on a Ray cluster

    def __post_init__(self) -> None:
        if self.executor == "ray" and check_device(self.device).startswith("cuda:"):
            raise LipbenchError(f"device {self.device!r} is for --executor local; Ray chooses GPUs: use --device cuda")
        check_device(self.device)
        arguments.threads(self.threads)
        self.workers()

    def workers(self) -> Executor:
        """The executor."""
        if not isinstance(self.executor, str):
            if not is_executor(self.executor):
                raise unknown_name("executor", self.executor, EXECUTORS.names())
            return self.executor
        return build(self.executor, jobs=self.jobs, threads=self.threads, address=self.address, gpus=self.gpus_per_task)

    @property
    def in_this_process(self) -> bool:
        """Whether tasks run here, where the data set is loaded already."""
        workers = self.workers()
        return isinstance(workers, LocalExecutor) and workers.jobs == 1

    @contextmanager
    def computing(self) -> Iterator[torch.device]:
        """As ``computing_on``, with the device and threads of this object."""
        with computing_on(self.device, self.threads) as device:
            yield device


HERE = Execution()  # this process


def resolve_device(name: str, threads: int = 1) -> torch.device:
    """``auto``, ``cpu``, ``cuda`` or ``cuda:1`` to a device; TF32 is switched off, as certificates and attacks need.

    threads: of torch on the CPU. The order of sums, and with it the last bit, depends on it; and on small networks two
    threads that wait for each other are slower than one (up to 15 times on two busy cores).

    Raises LipbenchError for a GPU that is not there, and for more threads than the machine takes.
    """
    threads = arguments.threads(threads)
    check_device(name)
    set_precisions()
    found = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
    if found.type == "cuda" and not torch.cuda.is_available():
        raise LipbenchError(f"device {name!r} was asked for, but torch finds no CUDA device; use --device cpu")
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise LipbenchError(f"device {name!r} was asked for, but torch finds only {gpus()}")
    torch.set_num_threads(threads)  # of the whole process, like TF32
    return found


@contextmanager
def on_device(device: torch.device) -> Iterator[None]:
    """Inside, the device is the one that libraries mean by "the GPU", as ART does."""
    if device.type == "cuda" and device.index is not None:
        with torch.cuda.device(device):
            yield
    else:
        yield


@contextmanager
def computing_on(device: str, threads: int = 1) -> Iterator[torch.device]:
    """``resolve_device``; torch's threads and precisions, which it sets for the process, are restored at the end."""
    before, held = torch.get_num_threads(), precisions()
    try:
        target = resolve_device(device, threads)
        with on_device(target):
            yield target
    finally:
        torch.set_num_threads(before)
        set_precisions(held)
