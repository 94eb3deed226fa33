"""Work in several processes: shared, interrupted and killed, none of it lost and none done twice."""

import multiprocessing
import os
import random
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from bundled import CNN, TAU4, UNCONSTRAINED
from running import (
    children,
    command,
    computed,
    kill,
    leftovers,
    loaded,
    run,
    same,
    session,
    stamps,
    start,
    until,
    with_attacks,
    words,
    write_suite,
)

from lipbench._internal.processes import exists
from lipbench.errors import LipbenchError, UnsupportedError
from lipbench.runs.folder import RunFolder
from lipbench.work import executors
from lipbench.work.executors.local import LocalExecutor
from lipbench.work.executors.ray import RayExecutor

SUITE = with_attacks("autoattack/apgd-t", "gradient/pgd")
OPTIONS = {"samples": 40, "shard": 10}


def about(task: int) -> tuple[int, int, int]:
    return task, os.getpid(), torch.get_num_threads()


def act(task: Path) -> tuple[int, int]:
    """Tell who is at work; or take for ever; or fail, once another task takes for ever."""
    if task.name == "endless":
        task.write_text(str(os.getpid()))
        time.sleep(90)
    if task.name == "fail":
        until(lambda: task.with_name("endless").exists())
        raise UnsupportedError("nothing serves this")
    return os.getpid(), torch.get_num_threads()


def end(task: Path) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_one_job_runs_here_task_by_task():
    results = LocalExecutor(1, 1).run(about, [3, 1])
    assert [next(results)[:2], next(results)[:2]] == [(3, os.getpid()), (1, os.getpid())]
    seen = []
    results = LocalExecutor(1, 1).run(seen.append, [1, 2])
    next(results)
    assert seen == [1]  # the second is given up if the first fails


def test_several_jobs_run_elsewhere_until_one_fails(tmp_path):
    """Its error is raised as it is; what others are at is given up, with the process."""
    results = LocalExecutor(2, 3).run(act, [tmp_path / name for name in ("tell", "endless", "fail", "left")])
    worker, threads = next(results)
    assert worker != os.getpid()
    assert threads == 3
    with pytest.raises(UnsupportedError, match="nothing serves this"):
        list(results)
    endless = int((tmp_path / "endless").read_text())
    assert until(lambda: not exists(endless) and not multiprocessing.active_children(), 20)


def test_nothing_to_do():
    assert list(LocalExecutor(2, 1).run(about, [])) == []


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("rya", {}, "did you mean 'ray'"),
        ("local", {"address": "auto"}, "--address and --gpus-per-task are for --executor ray"),
        ("local", {"gpus": 0.5}, "--address and --gpus-per-task are for --executor ray"),
    ],
)
def test_a_wrong_executor_is_named(name, options, message):
    with pytest.raises(LipbenchError, match=message):
        executors.build(name, **options)


def test_executors_are_built_by_name():
    assert executors.build("local", jobs=3, threads=2) == LocalExecutor(3, 2)
    assert executors.build("ray", jobs=3, threads=2, gpus=0.5) == RayExecutor(3, 2, None, 0.5)


# Whole evaluations.


@pytest.fixture(scope="module")
def models(tmp_path_factory, digits_zoo):
    """A zoo of three models, and one of the first two of them."""
    folder = tmp_path_factory.mktemp("zoos")
    for zoo, names in (("three", (CNN, TAU4, UNCONSTRAINED)), ("two", (CNN, TAU4))):
        (folder / zoo).mkdir()
        for name in names:
            (folder / zoo / name).symlink_to(digits_zoo / name)
    return folder


@pytest.fixture(scope="module")
def whole(models, tmp_path_factory, digits):
    """A run of two models that nothing disturbed, in one process."""
    return run(models / "two", tmp_path_factory.mktemp("whole"), digits, suite=SUITE, **OPTIONS)


@pytest.fixture
def evaluate(models, tmp_path):
    """Starts ``lipbench evaluate`` in a process of its own, and ends what is left of it afterwards."""
    begun = []

    def begin(zoo: str = "two", *options: str) -> subprocess.Popen:
        suite = write_suite(tmp_path / "small.toml", SUITE)
        chosen = [word for name, value in OPTIONS.items() for word in (f"--{name}", str(value))]
        line = command(models / zoo, tmp_path / "run", suite, *chosen, *options)
        begun.append(start(line, stderr=subprocess.PIPE, text=True))
        return begun[-1]

    yield begin
    for process in begun:
        kill(session(process.pid))
        process.wait()
        process.stderr.close()


def finish(folder: RunFolder, models, digits, whole: RunFolder) -> None:
    """Resume in this process: no unit is computed again, and the results are those of an uninterrupted run."""
    before = stamps(folder)
    run(models / "two", folder.path, digits, suite=SUITE, **OPTIONS)
    assert before.items() <= stamps(folder).items()
    assert same(folder, whole)
    assert not leftovers(folder)


def test_two_processes_share_a_run(evaluate, models, tmp_path, digits, whole):
    """One of them has a model more: the run holds all three, and each unit was computed once, by one of them."""
    first, second = evaluate("two"), evaluate("three")
    for process in (first, second):
        said = process.communicate(timeout=200)[1]
        assert process.returncode == 0, said
        assert all(line.startswith("waiting for ") for line in said.splitlines())  # for the report, if for anything
    folder = RunFolder(tmp_path / "run")
    content = folder.read()
    assert {model.name for model in content.models} == {CNN, TAU4, UNCONSTRAINED}
    assert folder.missing(content) == []
    assert computed(folder) == {unit.name: 1 for unit in content.units()}
    assert len(list(folder.journal.folder.iterdir())) == 2  # both had a share in it
    assert not leftovers(folder)
    for unit in whole.read().units():
        (left, said), (right, known) = loaded(folder, unit), loaded(whole, unit)
        assert left.equals(right)
        assert said == known
        witnesses = [one.witness_path(unit) for one in (folder, whole)]
        assert witnesses[0].exists() == witnesses[1].exists()
        assert not witnesses[0].exists() or witnesses[0].read_bytes() == witnesses[1].read_bytes()


def workers_of(process: subprocess.Popen) -> list[int]:
    """The processes that do a coordinator's work, by whatever executor."""
    return [pid for pid in children(process.pid) if "spawn_main" in words(pid) or "ray::prepared" in words(pid)]


class Struck:
    """A run that is struck, what was there before, and what must be so after each time."""

    def __init__(self, folder: RunFolder):
        self.folder = folder
        self.records: dict[str, tuple[int, int]] = {}

    def strike(self, process: subprocess.Popen, blow, pause: float) -> list[int]:
        """Wait for some more units and a moment, then strike; the processes that were there."""
        goal = len(self.records) + 3
        assert until(lambda: len(stamps(self.folder)) >= goal or process.poll() is not None, 250)
        time.sleep(pause)
        assert process.poll() is None, process.stderr.read()
        everyone = session(process.pid)
        blow(process)
        return everyone

    def check(self) -> None:
        """No record was touched again, no unit was done twice."""
        now = stamps(self.folder)
        assert self.records.items() <= now.items()
        assert max(computed(self.folder).values()) == 1
        self.records = now


def only_the_coordinator(process: subprocess.Popen) -> None:
    process.kill()


def every_process(process: subprocess.Popen) -> None:
    kill(session(process.pid))


def a_worker(process: subprocess.Popen) -> None:
    kill(workers_of(process)[:1])


def by_hand(process: subprocess.Popen) -> None:
    """Ctrl-C in a terminal: every process gets it."""
    os.killpg(process.pid, signal.SIGINT)


BLOWS = {  # what happens -> exit status, and what the one line on stderr matches; None: no process is left to print one
    by_hand: (130, "lipbench: interrupted: rerun the same command to resume"),
    only_the_coordinator: (-9, None),
    # the model that it was at is left out, and the other one is evaluated
    a_worker: (2, rf"lipbench: ({CNN}|{TAU4}) left out: a worker process was killed, perhaps because memory ran out: "),
}


def alive(pids: list[int], but: str = "nothing else") -> list[str]:
    """The command lines of those that are there; a zombie is not."""
    return [words(pid) for pid in pids if words(pid) and but not in words(pid)]


def test_a_run_that_is_struck_goes_on(evaluate, models, tmp_path, digits, whole):
    """Three blows, one after the other, on two workers: no unit lost, none done twice, the same records as ever.

    A fourth, SIGKILL to all processes, is in the slow test below, and for training in ``test_sigkill_in_training``.
    """
    struck, moments = Struck(RunFolder(tmp_path / "run")), random.Random(0)
    for blow, (status, line) in BLOWS.items():
        process = evaluate("two", "--jobs", "2")
        everyone = struck.strike(process, blow, moments.random() * 0.03)
        said = process.communicate(timeout=60)[1]
        assert process.returncode == status
        assert line is None or (re.match(line, said) and said.count("\n") == 1), said
        assert until(lambda pids=everyone: not alive(pids), 20), alive(everyone)  # the workers end by themselves
        struck.check()
    finish(struck.folder, models, digits, whole)


def test_ctrl_c_while_workers_start(evaluate, tmp_path):
    """They are importing torch then, and would each end in a traceback of their own."""
    process = evaluate("two", "--jobs", "2")
    assert until(lambda: len(workers_of(process)) == 2, 60)
    time.sleep(0.3)
    by_hand(process)
    status, line = BLOWS[by_hand]
    said = process.communicate(timeout=60)[1]
    assert process.returncode == status
    assert said.startswith(line)
    assert said.count("\n") == 1, said
    assert not stamps(RunFolder(tmp_path / "run"))  # none had got anywhere


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize(("executor", "times"), [("local", 6), ("ray", 4)])
def test_sigkill_at_random_moments(executor, times, evaluate, models, tmp_path, digits, whole):
    struck, moments = Struck(RunFolder(tmp_path / "run")), random.Random(times)
    for _ in range(times):
        process = evaluate("two", "--executor", executor, "--jobs", "2")
        blow = moments.choice([only_the_coordinator, every_process])
        everyone = struck.strike(process, blow, moments.random() * 0.1)
        process.wait()
        # Ray's agents do no work; they look for their raylet for a minute or two before they give up
        assert until(lambda pids=everyone: not alive(pids, but="Agent"), 30), alive(everyone)
        kill([pid for pid in everyone if alive([pid])])
        struck.check()
    finish(struck.folder, models, digits, whole)


@pytest.fixture
def ray(monkeypatch):
    """Ray in this process, shut down afterwards; its workers find the functions of this file."""
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]), prepend=os.pathsep)
    yield ray
    ray.shutdown()
    os.environ.pop("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", None)


def once_dead(task: Path) -> int:
    """Its worker dies, the first time."""
    if not task.exists():
        task.write_text("")
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


@pytest.mark.slow
def test_ray_runs_tasks_retries_lost_ones_and_passes_errors_on(ray, tmp_path):
    """One cluster after the other, each started and ended by the executor."""
    found = sorted(RayExecutor(2, 3, None, None).run(about, [4, 5, 6, 7]))
    assert [task for task, _, _ in found] == [4, 5, 6, 7]
    assert os.getpid() not in {pid for _, pid, _ in found}
    assert {threads for _, _, threads in found} == {3}
    assert not ray.is_initialized()
    assert len(list(RayExecutor(2, 1, None, None).run(once_dead, [tmp_path / "a", tmp_path / "b"]))) == 2
    with pytest.raises(UnsupportedError, match="nothing serves this"):
        list(RayExecutor(2, 1, None, None).run(act, [tmp_path / "endless", tmp_path / "fail"]))
    with pytest.raises(LipbenchError, match="a Ray worker died 4 times"):
        list(RayExecutor(1, 1, None, None).run(end, [tmp_path]))
    assert not ray.is_initialized()


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1"])
def test_a_ray_cluster_that_is_not_there_is_named_at_once(address, ray):
    began = time.monotonic()
    with pytest.raises(LipbenchError, match=rf"no Ray cluster at {address}: .*Connection refused") as caught:
        list(RayExecutor(1, 1, address, None).run(about, [1]))
    assert "\n" not in str(caught.value)
    assert time.monotonic() - began < 30


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ray_computes_what_one_process_does(evaluate, tmp_path, whole):
    process = evaluate("two", "--executor", "ray", "--jobs", "2")
    said = process.communicate(timeout=500)[1]
    assert process.returncode == 0, said
    folder = RunFolder(tmp_path / "run")
    assert same(folder, whole)
    assert set(computed(folder).values()) == {1}
    assert not leftovers(folder)
