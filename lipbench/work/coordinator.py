"""The coordinator of evaluation and training: which of several processes does which task, until all are settled.

Any number of processes, on one machine or several, may coordinate the same tasks at once. A lease on each task's name
keeps two of them from doing it twice; a process waits where others hold all remaining tasks, and takes over those of
processes that are gone.
"""

import functools
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from lipbench._internal.given import HERE, Given
from lipbench.work import progress as bars
from lipbench.work.executors import Executor, WorkerDiedError
from lipbench.work.lease import Age, Lease, Leases

P = TypeVar("P")
R = TypeVar("R")
POLL = 1.0  # seconds between two looks at what other processes have done


@dataclass(frozen=True)
class Task(Generic[P]):
    """One piece of work: the name of its lease, and a picklable payload."""

    name: str
    payload: P


@dataclass(frozen=True)
class Progress:
    """What the bar counts, whichever process did it."""

    title: str
    unit: str
    total: int
    done: Callable[[Collection[str]], int]  # given the names of the tasks that are not settled; any thread may call it


@dataclass(frozen=True)
class Assignment(Generic[P]):
    """A task as a worker receives it. Workers live too briefly to see a lease expire, so they are given the ages."""

    task: Task[P]
    leases: Path  # the folder
    ages: Mapping[str, Age]
    given: Given = HERE  # objects that were given in Python, which the task finds by their names


def perform(assignment: Assignment[P], function: Callable[[P, Lease], R | None]) -> tuple[str, R | None]:
    """Do a task under its lease; returns its name and the result, None if another process holds the lease."""
    task, leases = assignment.task, Leases(assignment.leases)
    leases.observe(assignment.ages)
    with leases.holding(task.name) as lease:
        return task.name, None if lease is None else function(task.payload, lease)


class Coordinator(Generic[P]):
    """Tasks that are not settled yet. A task is settled by a result of its function, or when ``is_done`` finds it done.

    leases: of the tasks; is_done: whether the outcome of a payload is there, whichever process made it; progress: None
    for no bar.
    """

    def __init__(
        self, leases: Leases, tasks: Sequence[Task[P]], is_done: Callable[[P], bool], progress: Progress | None
    ):
        self._leases = leases
        self._is_done = is_done
        self._progress = progress
        self._open = {task.name: task for task in tasks}
        self._bar: bars.Bar | None = None
        self._lock = threading.Lock()  # the bar's: a thread looks, too

    def run(
        self,
        function: Callable[[P, Lease], R | None],
        executor: Executor,
        lost: Callable[[P, str], R] | None = None,
    ) -> dict[str, R]:
        """Settle all tasks; returns the results of this process, by task name.

        function: of the top level, or picklable; called under the task's lease. It returns None if it left the task to
        others or if ``is_done`` decides. lost: the result of a task whose worker died, from its payload and the reason.
        Raises what a task raised, and WorkerDiedError where nobody knows which task a worker died on; the other tasks
        are then given up.
        """
        results: dict[str, R] = {}
        self._drop_done()
        with self._watched():
            while free := self._free():
                before = len(self._open)
                try:
                    for name, result in self._assign(free, function, executor):
                        if result is not None:
                            results[name] = result
                            self._settle(name)
                except WorkerDiedError as death:
                    names = self._died_on(death)
                    if lost is None or not names:
                        raise
                    for name in names:
                        results[name] = lost(self._open[name].payload, str(death))
                        self._settle(name)
                self._drop_done()
                if len(self._open) == before:  # other processes acquired all of them
                    time.sleep(POLL)
        return results

    def _free(self) -> list[Task[P]]:
        """The tasks that no other process holds, once there is one; none when all are settled."""
        while self._open:
            busy = self._leases.running()
            self._drop_done()  # after the leases: an outcome is there before its lease is released
            free = [task for name, task in self._open.items() if name not in busy]
            if free:
                return free
            if self._open:
                time.sleep(POLL)
        return []

    def _assign(
        self, tasks: Sequence[Task[P]], function: Callable[[P, Lease], R | None], executor: Executor
    ) -> Iterator[tuple[str, R | None]]:
        assignments = [Assignment(task, self._leases.folder, self._leases.ages()) for task in tasks]
        return executor.run(functools.partial(perform, function=function), assignments)

    def _died_on(self, death: WorkerDiedError) -> list[str]:
        """The open tasks that workers died on: those whose leases they left behind."""
        if isinstance(death.task, Assignment):
            return [name for name in self._open if name == death.task.task.name]
        return [name for name in self._leases.left_by(death.pids) if name in self._open]

    def _drop_done(self) -> None:
        for name, task in list(self._open.items()):
            if self._is_done(task.payload):
                self._settle(name)

    def _settle(self, name: str) -> None:
        del self._open[name]
        self.look()

    def look(self) -> None:
        """Bring the bar up to date."""
        if self._bar is None or self._progress is None:
            return
        with self._lock:
            step = self._progress.done(list(self._open)) - int(self._bar.n)
            if step:
                self._bar.update(step)
            else:
                self._bar.refresh()

    def describe(self, text: str) -> None:
        """Put a text before the bar."""
        if self._bar is not None:
            self._bar.set_description(text)

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """A bar inside, and a thread that looks every POLL seconds."""
        if self._progress is None or not self._open:
            yield
            return
        over, done = threading.Event(), self._progress.done(list(self._open))

        def watch() -> None:
            while not over.wait(POLL):
                self.look()

        about = self._progress
        with bars.bar(about.total, initial=done, unit=about.unit, title=about.title) as self._bar:
            thread = threading.Thread(target=watch, daemon=True)
            thread.start()
            try:
                yield
            finally:
                over.set()
                thread.join()
                self.look()
                self._bar = None
