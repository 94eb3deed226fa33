"""One task and its lease: who may write, and what happens to the work of processes that are gone."""

import json
import os
import threading
import time

import pytest
from bundled import CNN, TAU4
from running import TINY, computed, leftovers, run, same, stamps, until, with_attacks

from lipbench._internal import files
from lipbench._internal.processes import machine
from lipbench.attacks import guard
from lipbench.errors import LipbenchError
from lipbench.evaluation import evaluate
from lipbench.evaluation.evaluate import Piece
from lipbench.models.sources import StoredSource
from lipbench.runs.folder import RunFolder
from lipbench.work import coordinator, lease
from lipbench.work.coordinator import Assignment, Task, perform
from lipbench.work.executors.local import LocalExecutor

ELSEWHERE = json.dumps({"machine": "0123abcd", "pid": 1, "started": "1", "token": "theirs"})


class Assignments:
    """An executor that gives the assignments away instead of running them."""

    def run(self, function, assignments):
        self.given = list(assignments)
        raise KeyError


def assignments_of(zoo, out, digits, **options) -> list[Assignment[Piece]]:
    executor = Assignments()
    with pytest.raises(KeyError):
        run(zoo, out, digits, executor=executor, **options)
    return executor.given


def lease_elsewhere(folder: RunFolder, task: Task[Piece], generation: int):
    path = folder.leases.folder / f"{task.name}.{generation}"
    path.write_text(ELSEWHERE)
    return path


def test_a_superseded_process_writes_nothing(zoo_of, tmp_path, digits, monkeypatch):
    """Superseded in the middle of a unit: neither its record nor its witnesses appear, nor is it in the journal."""
    (assignment,) = assignments_of(zoo_of(TAU4), tmp_path / "run", digits, suite=TINY, samples=30)
    folder = RunFolder(tmp_path / "run")
    search = guard.search

    def overtaken(spec, *args, **kwargs):
        found = search(spec, *args, **kwargs)
        lease_elsewhere(folder, assignment.task, 1)
        return found

    monkeypatch.setattr(guard, "search", overtaken)
    assert perform(assignment, evaluate.work)[1] is None
    task = assignment.task
    certify = folder.read().certify_unit(task.payload.entry, task.payload.shard)
    assert [path.stem for path in folder.records.iterdir()] == [certify.name]  # written before that
    assert list(folder.witnesses.iterdir()) == []
    assert list(computed(folder)) == [certify.name]
    assert [path.name for path in folder.leases.folder.iterdir()] == [f"{task.name}.1"]  # its successor's is left alone


def test_a_superseded_process_removes_no_record(zoo_of, tmp_path, digits, monkeypatch):
    """The holder of the lease replaces a damaged record; other processes leave it alone."""
    models = zoo_of(TAU4)
    folder = run(models, tmp_path / "run", digits, suite=TINY, samples=30)
    unit = list(folder.read().units())[1]
    folder.witness_path(unit).unlink()
    path = folder.records / f"{unit.name}.parquet"
    path.write_bytes(b"half")
    monkeypatch.setattr(lease.Lease, "held", False)
    before = stamps(folder)
    evaluation = evaluate.Evaluation(folder, folder.read(), "digits", None, "cpu")
    source = StoredSource(models / TAU4)
    piece = Piece(evaluation, folder.read().models[0], folder.read().shards[0], source, None)
    with folder.leases.holding("task") as held:
        assert evaluate.work(piece, held, digits) is None
    assert stamps(folder) == before


def test_the_task_of_a_machine_that_fell_silent_is_taken_over(zoo_of, tmp_path, digits, monkeypatch):
    """Also by workers that live for one task only: the coordinator tells them what it has seen."""
    monkeypatch.setattr(lease, "LEASE", 0.6)
    monkeypatch.setattr(coordinator, "POLL", 0.05)
    models = zoo_of(TAU4, CNN)
    tasks = assignments_of(models, tmp_path / "run", digits, suite=TINY, samples=20)
    folder = RunFolder(tmp_path / "run")
    path = lease_elsewhere(folder, tasks[0].task, 0)
    os.utime(path, (1, 1))
    calls = Counting()
    start = time.monotonic()
    run(models, tmp_path / "run", digits, suite=TINY, samples=20, executor=calls)
    assert time.monotonic() - start > 0.6
    assert calls.names == [
        [tasks[1].task.name],
        [tasks[0].task.name],
    ]  # once, when it was free
    assert not leftovers(folder)
    assert same(folder, run(models, tmp_path / "whole", digits, suite=TINY, samples=20))


class Counting:
    """This process; keeps which tasks it was given each time."""

    def __init__(self):
        self.names = []

    def run(self, function, tasks):
        self.names.append([assignment.task.name for assignment in tasks])
        yield from LocalExecutor(1, 1).run(function, tasks)


def test_an_evaluation_waits_for_what_others_work_on(zoo_of, tmp_path, digits, monkeypatch):
    monkeypatch.setattr(coordinator, "POLL", 0.05)
    models = zoo_of(TAU4)
    (assignment,) = assignments_of(models, tmp_path / "run", digits, suite=TINY, samples=20)
    folder = RunFolder(tmp_path / "run")
    release = threading.Event()

    def other():
        with folder.leases.holding(assignment.task.name):
            release.wait(60)

    holder = threading.Thread(target=other)
    holder.start()
    assert until(lambda: folder.leases.running(), 10)
    calls = Counting()
    waiter = threading.Thread(
        target=run, args=(models, tmp_path / "run", digits), kwargs={"suite": TINY, "samples": 20, "executor": calls}
    )
    waiter.start()
    time.sleep(0.5)
    assert waiter.is_alive()
    assert calls.names == []
    assert not list(folder.records.iterdir())
    release.set()
    holder.join()
    waiter.join(60)
    assert not waiter.is_alive()
    assert calls.names == [[assignment.task.name]]
    assert folder.missing(folder.read()) == []


class Untidy:
    """This process; and a worker that outlives it for a moment, and is then gone, too."""

    def __init__(self, folder: RunFolder):
        self.folder = folder

    def run(self, function, tasks):
        yield from LocalExecutor(1, 1).run(function, tasks)
        dead = {"machine": machine(), "pid": 2**22 + 1, "started": "1", "token": "x"}  # above any pid_max of Linux
        (self.folder.leases.folder / f"{tasks[0].task.name}.0").write_text(json.dumps(dead))
        for folder in (self.folder.records, self.folder.witnesses):
            (folder / f"{files.TEMPORARY}x-{machine()}-{2**22 + 1}-0123abcd").write_text("half")


def test_what_the_dead_leave_is_gone_when_an_evaluation_ends(zoo_of, tmp_path, digits):
    folder = RunFolder(tmp_path / "run")
    run(zoo_of(TAU4), folder.path, digits, suite=TINY, samples=5, executor=Untidy(folder))
    assert not leftovers(folder)


def test_a_unit_that_is_lost_is_computed_again_and_is_the_same(zoo_of, tmp_path, digits):
    """Whichever it is, and whatever of the task is there already."""
    models = zoo_of(TAU4)
    suite = with_attacks("autoattack/apgd-t", "autoattack/fab-t", "autoattack/square", to=TINY)
    whole, folder = (run(models, tmp_path / name, digits, suite=suite, shard=40) for name in ("whole", "run"))
    units = list(folder.read().units_of(folder.read().models[0], folder.read().shards[1]))
    for lost in [*([unit] for unit in units), units[1:], units[-2:]]:
        before = stamps(folder)
        for unit in lost:
            (folder.records / f"{unit.name}.parquet").unlink()
        run(models, tmp_path / "run", digits, suite=suite, shard=40)
        after = stamps(folder)
        assert {name for name in after if after[name] != before[name]} == {f"{unit.name}.parquet" for unit in lost}
    assert same(whole, folder)


def test_a_model_that_changes_under_way_is_refused(zoo_of, tmp_path, digits):
    models = zoo_of(TAU4, CNN)
    tasks = assignments_of(models, tmp_path / "run", digits, suite=TINY, samples=5)
    task = next(task for task in tasks if task.task.payload.entry.name == TAU4)
    card = models / TAU4 / "card.toml"
    card.write_text(card.read_text().replace("seed = 0", "seed = 1"))
    with pytest.raises(LipbenchError, match=r"was changed while it was evaluated; run the same command again"):
        perform(task, evaluate.work)
    assert not leftovers(RunFolder(tmp_path / "run"))
