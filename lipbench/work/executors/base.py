"""The interface of executors, and how one is chosen by name."""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Protocol, TypeVar

import torch

from lipbench._internal import arguments
from lipbench._internal.registry import EXECUTORS, SHOWN
from lipbench.errors import LipbenchError

T = TypeVar("T")
R = TypeVar("R")


class WorkerDiedError(LipbenchError):
    """A worker process died, and so did the executor's other workers: the tasks without a result are not done."""

    def __init__(self, message: str, pids: Collection[int] = (), task: object = None):
        super().__init__(message)
        self.pids = frozenset(pids)  # of the workers that died by themselves, on this machine; empty if not known
        self.task = task  # that the worker died on; None if not known


class Executor(Protocol):
    """Runs tasks; ``local`` and ``ray`` implement it, and so may an object of your own.

    A plugin registers a class or a function ``(jobs, threads)`` that makes one, in the group ``lipbench.executors``.
    """

    def run(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
        """Yield the results as they come, in any order. Raises what a task raised; the other tasks are then given up.

        Raises WorkerDiedError if workers die and no retry helps.
        """
        ...


def build(
    name: str, *, jobs: int = 1, threads: int = 1, address: str | None = None, gpus: float | None = None
) -> Executor:
    """The executor called ``name``.

    jobs: processes, or for ray the largest number of tasks at once (0: as many as the cluster takes); threads: of torch
    in each; address: of a Ray cluster, None for one that is started here; gpus: of each task, for ray. Raises
    LipbenchError for more processes or threads than the machine takes.
    """
    made = EXECUTORS.get(name)
    if gpus is not None:
        gpus = arguments.real_number("--gpus-per-task", gpus, 0)
    if name == "ray":
        found = made(jobs, threads, address, gpus)
    elif address is not None or gpus is not None:
        raise LipbenchError("--address and --gpus-per-task are for --executor ray")
    else:
        with EXECUTORS.calling(name):
            found = made(jobs, threads)
    if not is_executor(found):
        said = repr(found)[:SHOWN]
        raise LipbenchError(f"{EXECUTORS.said(name)} must make an object with run(function, tasks), got {said}")
    return found


def is_executor(found: object) -> bool:
    """Whether it is an object with a method ``run``."""
    return not isinstance(found, type) and callable(getattr(found, "run", None))


def on_this_machine(jobs: int, threads: int, least: int = 1) -> None:
    """Raise LipbenchError unless so many jobs of so many threads can be expected to start on this machine."""
    jobs = arguments.whole_number("jobs", jobs, least)
    arguments.threads(arguments.threads(threads) * max(1, jobs), "jobs times threads")


def prepare(threads: int) -> None:
    """Set torch's threads and precisions, which belong to the process; every worker does so first."""
    from lipbench._internal.precision import set_precisions

    torch.set_num_threads(arguments.threads(threads))  # by this machine's CPUs, a worker's
    set_precisions()
