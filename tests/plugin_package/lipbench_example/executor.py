"""An executor."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

from lipbench.errors import LipbenchError
from lipbench.work.executors.base import prepare


@dataclass(frozen=True)
class Apart:
    """All tasks in one other process, one after the other: what crashes there does not end this one."""

    jobs: int
    threads: int

    def run(self, function: Callable, tasks: Sequence) -> Iterator:
        """Yield the results as they come."""
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, context, initializer=prepare, initargs=(self.threads,)) as pool:
            try:
                yield from pool.map(function, tasks)
            except BrokenProcessPool as error:
                raise LipbenchError("the process that computes apart died; run the command again") from error
