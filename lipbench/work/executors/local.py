"""Processes on this machine."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from tqdm import tqdm

from lipbench.errors import EXIT_UNEXPECTED
from lipbench.work.executors.base import WorkerDiedError, on_this_machine, prepare

T = TypeVar("T")
R = TypeVar("R")
PATIENCE = 5.0  # seconds for the workers of a broken pool to end


@dataclass(frozen=True)
class LocalExecutor:
    """``jobs`` processes, or this one if that is 1. Ctrl-C is the coordinator's, which ends its workers."""

    jobs: int
    threads: int

    def __post_init__(self) -> None:
        on_this_machine(self.jobs, self.threads)

    def run(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
        """See ``Executor``."""
        if self.jobs == 1:
            yield from map(function, tasks)
            return
        # spawned, not forked: torch's threads do not survive a fork
        pool = ProcessPoolExecutor(
            min(self.jobs, max(1, len(tasks))),
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=(self.threads,),
        )
        workers: Any = pool._processes  # filled as tasks are submitted; the pool itself forgets them when it ends
        try:
            with _no_interrupts():  # a worker that has not started yet would end with a traceback
                futures = [pool.submit(function, task) for task in tasks]
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise WorkerDiedError(
                "a worker process was killed, perhaps because memory ran out: rerun the same command to resume; fewer "
                "--jobs need less memory, and so does a smaller --shard of an evaluation",
                _died(list(workers.values())),
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in list(workers.values()):  # a coordinator that gave up leaves no worker behind
                worker.terminate()


def _died(workers: Sequence[Any]) -> list[int]:
    """The processes that died by themselves; those that the pool ended after that have another status."""
    for worker in workers:
        worker.join(PATIENCE)
    return [worker.pid for worker in workers if worker.exitcode not in (None, 0, -signal.SIGTERM)]


@contextmanager
def _no_interrupts() -> Iterator[None]:
    """Ctrl-C is deferred to the end of this block, and ignored by the processes that are started in it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(threads: int) -> None:
    # tqdm would make a lock between processes, which a killed worker leaves behind with a warning
    tqdm.set_lock(threading.RLock())
    prepare(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End a worker whose coordinator was killed; it would wait for tasks for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(EXIT_UNEXPECTED)
