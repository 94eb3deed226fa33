"""The choices about where work is done, which evaluation and training share."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from lipbench._internal import arguments
from lipbench._internal.precision import precisions, set_precisions
from lipbench._internal.registry import EXECUTORS
from lipbench.errors import LipbenchError, unknown_name
from lipbench.work.executors import Executor, build, is_executor
from lipbench.work.executors.local import LocalExecutor

DEVICES = ("auto", "cpu", "cuda")


def unknown_device(name: object) -> LipbenchError:
    """The error for a device that is not one of ``DEVICES``."""
    return LipbenchError(f"unknown device {name!r}: expected auto, cpu or cuda")


@dataclass(frozen=True)
class Execution:
    """Where and by how many processes work is done; none of it changes which work.

    Raises LipbenchError for an unknown device or executor, for more processes or threads than this machine takes, and
    for options that the executor does not have.
    """

    device: str = "auto"  # or "cpu", "cuda"
    executor: str | Executor = "local"  # or "ray", the name of a plugin's, or an object of your own
    jobs: int = 1  # processes (local), or tasks at once (ray)
    threads: int = 1  # of torch on the CPU, in each process
    address: str | None = None  # of a Ray cluster; None: start one here
    gpus_per_task: float | None = None  # that each task takes on a Ray cluster

    def __post_init__(self) -> None:
        if self.device not in DEVICES:
            raise unknown_device(self.device)
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
    """``auto``, ``cpu`` or ``cuda`` to a device; TF32 is switched off, as certificates and attacks need.

    threads: of torch on the CPU. The order of sums, and with it the last bit, depends on it; and on small networks two
    threads that wait for each other are slower than one (up to 15 times on two busy cores).

    Raises LipbenchError for ``cuda`` where there is none, and for more threads than the machine takes.
    """
    threads = arguments.threads(threads)
    if name not in DEVICES:
        raise unknown_device(name)
    set_precisions()
    if name == "cuda" and not torch.cuda.is_available():
        raise LipbenchError("device 'cuda' was asked for, but torch finds no CUDA device; use --device cpu")
    torch.set_num_threads(threads)  # of the whole process, like TF32
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")


@contextmanager
def computing_on(device: str, threads: int = 1) -> Iterator[torch.device]:
    """``resolve_device``; torch's threads and precisions, which it sets for the process, are restored at the end."""
    before, held = torch.get_num_threads(), precisions()
    try:
        yield resolve_device(device, threads)
    finally:
        torch.set_num_threads(before)
        set_precisions(held)
