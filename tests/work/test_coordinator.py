"""Tasks that several processes share: who does which, who waits, and when a task is settled."""

import json
import pickle
import threading
from pathlib import Path

import pytest

from lipbench.errors import LipbenchError
from lipbench.work import coordinator, lease, progress
from lipbench.work.coordinator import Coordinator, Progress, Task
from lipbench.work.execution import Execution
from lipbench.work.executors.local import LocalExecutor
from lipbench.work.lease import Leases

ELSEWHERE = json.dumps({"machine": "0123abcd", "pid": 1, "started": "1", "token": "theirs"})


def write(path: Path, lease) -> None:
    """A task whose outcome is a file; whether it is there decides."""
    assert lease.held
    path.write_text("done")


def fail(path: Path, lease) -> str | None:
    """A task that may end without an outcome: then its result settles it."""
    if path.name == "raises":
        raise LipbenchError("all is lost")
    return f"no {path.name}"


class Pickling:
    """This process; tasks arrive pickled, as elsewhere. Keeps which ones it was given each time."""

    def __init__(self):
        self.names = []

    def run(self, function, assignments):
        self.names.append([assignment.task.name for assignment in assignments])
        for assignment in pickle.loads(pickle.dumps(assignments)):
            yield pickle.loads(pickle.dumps(function))(assignment)


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr(coordinator, "POLL", 0.02)


def made(tmp_path, *names: str, progress: Progress | None = None) -> Coordinator[Path]:
    tasks = [Task(f"lease-{name}", tmp_path / name) for name in names]
    return Coordinator(Leases(tmp_path / "leases"), tasks, Path.exists, progress)


def test_what_is_there_is_not_done_again_and_no_worker_starts_for_nothing(tmp_path):
    executor = Pickling()
    (tmp_path / "a").write_text("before")
    assert made(tmp_path, "a", "b").run(write, executor) == {}
    assert executor.names == [["lease-b"]]
    assert (tmp_path / "a").read_text() == "before"
    made(tmp_path, "a", "b").run(write, executor)
    assert executor.names == [["lease-b"]]
    assert not list((tmp_path / "leases").iterdir())


def test_a_result_settles_a_task_that_left_nothing(tmp_path):
    executor = Pickling()
    assert made(tmp_path, "a", "b").run(fail, executor) == {"lease-a": "no a", "lease-b": "no b"}
    assert executor.names == [["lease-a", "lease-b"]]


def test_an_error_gives_the_other_tasks_up(tmp_path):
    with pytest.raises(LipbenchError, match="all is lost"):
        made(tmp_path, "raises", "b").run(fail, LocalExecutor(1, 1))
    assert not list((tmp_path / "leases").iterdir())


@pytest.mark.parametrize("finished", [True, False])
def test_a_task_of_another_process_is_waited_for(tmp_path, finished):
    """It is done here only if the other process released its lease without an outcome."""
    executor, over = Pickling(), threading.Event()

    def work():
        made(tmp_path, "a", "b").run(write, executor)
        over.set()

    with Leases(tmp_path / "leases").holding("lease-a"):
        thread = threading.Thread(target=work)
        thread.start()
        assert not over.wait(0.3)
        assert executor.names == [["lease-b"]]
        if finished:
            (tmp_path / "a").write_text("theirs")
    thread.join(20)
    assert over.is_set()
    assert executor.names == [["lease-b"], *([] if finished else [["lease-a"]])]
    assert (tmp_path / "a").read_text() == ("theirs" if finished else "done")


def test_the_lease_of_a_silent_machine_is_taken_over_by_workers_that_never_saw_it(tmp_path, monkeypatch):
    monkeypatch.setattr(lease, "LEASE", 0.2)
    (tmp_path / "leases").mkdir()
    (tmp_path / "leases" / "lease-a.0").write_text(ELSEWHERE)
    executor = Pickling()
    made(tmp_path, "a").run(write, executor)
    assert executor.names == [["lease-a"]]
    assert (tmp_path / "a").exists()


def test_the_bar_shows_what_every_process_has_done(tmp_path, monkeypatch):
    steps = []

    class Recorder(progress.tqdm):
        def update(self, n=1):
            super().update(n)
            steps.append((self.initial, self.n, self.total, self.unit, self.desc))

    monkeypatch.setattr(progress, "tqdm", Recorder)
    monkeypatch.setattr(progress, "on_terminal", lambda: True)
    (tmp_path / "a").write_text("theirs")
    bar = Progress("title", "file", 3, lambda waiting: 3 - len(waiting))
    made(tmp_path, "a", "b", "c", progress=bar).run(write, LocalExecutor(1, 1))
    assert steps[-1] == (1, 3, 3, "file", "title")
    count = len(steps)
    made(tmp_path, "a", "b", "c", progress=bar).run(write, LocalExecutor(1, 1))
    assert len(steps) == count  # no bar where nothing is left


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"device": "gpu"}, "unknown device 'gpu': expected auto, cpu or cuda"),
        ({"executor": "rya"}, "unknown executor 'rya': did you mean 'ray'"),
        ({"executor": 3}, "unknown executor 3"),
        ({"jobs": 0}, "jobs must be a whole number of at least 1, got 0"),
        ({"threads": 1.5}, "threads must be a whole number of at least 1, got 1.5"),
        ({"address": "auto"}, "--address and --gpus-per-task are for --executor ray"),
    ],
)
def test_wrong_executions(options, said):
    with pytest.raises(LipbenchError, match=said):
        Execution(**options)


def test_an_execution_has_its_executor():
    assert Execution(jobs=3, threads=2).workers() == LocalExecutor(3, 2)
    mine = Pickling()
    assert Execution(executor=mine).workers() is mine
    assert [Execution(jobs=1).in_this_process, Execution(jobs=2).in_this_process] == [True, False]
    assert not Execution(executor=mine).in_this_process
