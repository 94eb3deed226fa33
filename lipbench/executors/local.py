"""Processes on this machine."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import TypeVar

from lipbench.errors import LipbenchError
from lipbench.executors import prepare

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class LocalExecutor:
    """``jobs`` processes, or this one if that is 1."""

    jobs: int
    threads: int

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
        try:
            futures = [pool.submit(function, task) for task in tasks]
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise LipbenchError(
                "a worker process was killed, perhaps because memory ran out: the same command goes on where this one "
                "was; fewer --jobs or a smaller --shard need less"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list(
                (pool._processes or {}).values()
            ):  # none is left to work for a coordinator that gave up
                process.terminate()


def _begin(threads: int) -> None:
    prepare(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose coordinator was killed would wait for tasks for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
