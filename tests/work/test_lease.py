"""Leases: one owner at a time, also when owners die, fall silent, or race."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from running import until

from lipbench._internal.processes import machine
from lipbench.errors import LipbenchError
from lipbench.work import lease
from lipbench.work.lease import Leases

ELSEWHERE = {"machine": "0123abcd", "pid": 1, "started": "1", "token": "theirs"}
DEAD = {"machine": machine(), "pid": 2**22 + 1, "started": "1", "token": "theirs"}  # above any pid_max of Linux
TAKE = """
import sys, time
from pathlib import Path
from lipbench.work.lease import Leases
held = Leases(Path(sys.argv[1])).acquire("task")
print(held is not None, flush=True)
time.sleep(600)
"""


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "leases"
    path.mkdir()
    return path


@pytest.fixture
def owner(folder):
    """Another process that holds a lease on ``task``."""
    process = subprocess.Popen([sys.executable, "-c", TAKE, folder], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "True\n"
    yield process
    process.kill()
    process.communicate()


def put(folder, content, generation: int = 0, name: str = "task"):
    path = folder / f"{name}.{generation}"
    path.write_text(json.dumps(content) if isinstance(content, dict) else content)
    return path


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_one_acquires_and_the_others_wait_until_it_is_released(tmp_path):
    mine, yours = Leases(tmp_path / "leases"), Leases(tmp_path / "leases")
    held = mine.acquire("task")
    assert held.held
    assert yours.acquire("task") is None
    assert mine.acquire("task") is None
    assert yours.acquire("other").held
    held.release()
    assert not held.held
    again = yours.acquire("task")
    assert again.held
    assert again.generation == 0
    assert names(tmp_path / "leases") == ["other.0", "task.0"]


def test_a_name_that_begins_like_another_is_another(folder):
    held = Leases(folder).acquire("task")
    put(folder, DEAD, 7, "task2")
    put(folder, "", 9, "task-3")
    (folder / "task.txt").write_text("")
    assert held.held
    assert held.generation == 0


def test_the_lease_of_a_live_process_is_respected_and_that_of_a_dead_one_superseded_at_once(folder, owner):
    mine = Leases(folder)
    assert mine.acquire("task") is None
    assert mine.running() == {"task": folder / "task.0"}
    assert lease.owner_of(folder / "task.0").pid == owner.pid
    owner.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, owner.pid, os.WEXITED | os.WNOWAIT)  # a zombie, as long as its parent does not ask
    held = mine.acquire("task")
    assert held.held
    assert held.generation == 1
    assert names(folder) == ["task.0", "task.1"]  # never removed from under anyone
    held.release()
    assert names(folder) == []


def test_a_stopped_process_keeps_its_lease(folder, owner, monkeypatch):
    """On the same machine no process need guess: a suspended laptop loses nothing."""
    monkeypatch.setattr(lease, "LEASE", 0.05)
    owner.send_signal(signal.SIGSTOP)
    mine = Leases(folder)
    for _ in range(3):
        assert mine.acquire("task") is None
        time.sleep(0.05)


def test_a_lease_from_elsewhere_falls_when_it_stays_unchanged(folder, monkeypatch):
    monkeypatch.setattr(lease, "LEASE", 0.5)
    path = put(folder, ELSEWHERE)
    os.utime(path, (1, 1))  # the clocks of two machines are not compared: an old time says nothing
    mine = Leases(folder)
    start = time.monotonic()
    assert mine.acquire("task") is None
    os.utime(path, (2e9, 2e9))  # a heartbeat, by a clock that is wrong
    assert until(lambda: time.monotonic() > start + 0.4)
    assert mine.acquire("task") is None
    os.utime(path, (3, 3))
    assert until(lambda: time.monotonic() > start + 0.8)  # 0.4 s after the last heartbeat
    assert mine.acquire("task") is None
    assert Leases(folder).acquire("task") is None  # a newcomer has observed nothing yet
    assert until(lambda: mine.acquire("task") is not None, seconds=10)
    assert time.monotonic() > start + 0.9
    assert names(folder) == ["task.0", "task.1"]


def test_another_process_takes_over_the_ages_that_one_observed(folder, monkeypatch):
    """Workers of a pool live for one task: they would never see a lease run out."""
    monkeypatch.setattr(lease, "LEASE", 0.2)
    path = put(folder, ELSEWHERE)
    mine, yours, late = Leases(folder), Leases(folder), Leases(folder)
    assert mine.running() == {"task": path}
    time.sleep(0.3)
    ages = mine.ages()
    yours.observe(ages)
    assert yours.acquire("task").held
    (folder / "task.1").unlink()
    os.utime(path)  # it speaks again
    late.observe(ages)
    assert late.acquire("task") is None


def test_a_lease_that_is_being_written_counts(folder, monkeypatch):
    put(folder, "")
    monkeypatch.setattr(lease, "LEASE", 0.1)
    mine = Leases(folder)
    assert mine.acquire("task") is None
    assert until(lambda: mine.acquire("task") is not None, seconds=5)  # its writer never finished


@pytest.mark.parametrize("content", ["{", "[1]", '{"machine": "x"}', '{"machine": "x", "pid": "?", "started": ""}'])
def test_a_damaged_lease_is_respected_until_it_expires(content, folder, monkeypatch):
    path = put(folder, content)
    assert lease.owner_of(path) is None
    assert Leases(folder).acquire("task") is None
    monkeypatch.setattr(lease, "LEASE", 0.0)
    assert Leases(folder).acquire("task").generation == 1


def test_the_heartbeat_keeps_a_lease_alive(folder, monkeypatch):
    monkeypatch.setattr(lease, "HEARTBEAT", 0.02)
    with Leases(folder).holding("task") as held:
        seen = {held.path.stat().st_mtime_ns}
        assert until(lambda: seen.add(held.path.stat().st_mtime_ns) or len(seen) > 3, seconds=10)
    assert names(folder) == []
    time.sleep(0.1)
    assert names(folder) == []  # the heart stands still: it would make no file, and touch no other's


def test_holding_releases_after_an_error_too(folder):
    def work():
        with Leases(folder).holding("task"):
            raise KeyError

    with pytest.raises(KeyError):
        work()
    assert names(folder) == []
    with Leases(folder).holding("task") as held, Leases(folder).holding("task") as other:
        assert held.held
        assert other is None
    assert names(folder) == []


def test_waiting_waits(folder):
    order = []
    first = Leases(folder).acquire("task")

    def second():
        with Leases(folder).waiting("task", pause=0.01) as held:
            order.append(("second", held.held))

    thread = threading.Thread(target=second)
    thread.start()
    time.sleep(0.1)
    order.append(("first", first.held))
    first.release()
    thread.join(10)
    assert order == [("first", True), ("second", True)]


def test_a_superseded_process_holds_nothing_and_removes_nothing(folder):
    held = Leases(folder).acquire("task")
    put(folder, ELSEWHERE, 1)
    assert not held.held
    held.release()
    assert names(folder) == ["task.1"]


def test_a_lease_of_the_same_number_is_told_from_ours(folder):
    """Superseded; the successor released both; a third took the name: it begins with generation 0 again."""
    held = Leases(folder).acquire("task")
    held.path.unlink()
    put(folder, ELSEWHERE, 0)
    assert not held.held
    held.release()
    assert names(folder) == ["task.0"]


def test_running_leaves_out_the_dead_and_tidy_removes_them(folder, owner):
    put(folder, DEAD, 0, "left")
    put(folder, DEAD, 1, "left")
    put(folder, ELSEWHERE, 0, "theirs")
    put(folder, DEAD, 0, "taken")
    put(folder, ELSEWHERE, 1, "taken")
    mine = Leases(folder)
    running = {"task": folder / "task.0", "taken": folder / "taken.1", "theirs": folder / "theirs.0"}
    assert mine.running() == running
    mine.tidy()
    assert names(folder) == ["taken.0", "taken.1", "task.0", "theirs.0"]
    assert mine.running() == running


def test_tidy_of_a_folder_that_is_not_there(tmp_path):
    Leases(tmp_path / "leases").tidy()
    assert not (tmp_path / "leases").exists()


def test_what_is_no_regular_file_is_no_lease(folder):
    (folder / "task.0").mkdir()
    (folder / "task.1").symlink_to("nowhere")
    os.mkfifo(folder / "task.5")
    held = Leases(folder).acquire("task")
    assert held.path.name == "task.2"
    assert held.held
    held.release()
    assert Leases(folder).running() == {}
    assert names(folder) == ["task.0", "task.1", "task.5"]


def test_an_empty_file_that_no_lease_can_have_become_stays(folder, monkeypatch):
    monkeypatch.setattr(lease, "LEASE", 0.0)
    put(folder, "", 7)
    held = Leases(folder).acquire("task")
    assert held.path.name == "task.8"
    held.release()
    assert names(folder) == ["task.7"]
    (folder / "task.7").unlink()
    put(folder, DEAD, 0)
    put(folder, "", 1)  # the next process to acquire it was killed while it wrote
    Leases(folder).acquire("task").release()
    assert names(folder) == []


def test_numbers_that_no_lease_comes_to(folder, monkeypatch):
    put(folder, "{}", 999_999_999_999_999_999)
    held = Leases(folder).acquire("task")
    assert held.path.name == "task.0"
    held.release()
    put(folder, "{}", 999_999_999)
    monkeypatch.setattr(lease, "LEASE", 0.0)
    with pytest.raises(LipbenchError, match=r"no lease can follow .*task.999999999: move it away"):
        Leases(folder).acquire("task")


def test_a_long_wait_is_logged(folder, owner, monkeypatch, caplog):
    monkeypatch.setattr(lease, "PATIENCE", 0.1)
    threading.Timer(0.5, owner.kill).start()
    with Leases(folder).waiting("task", pause=0.01):
        pass
    said = f"waiting for {folder / 'task.0'} held by {socket.gethostname()}, process {owner.pid}"
    assert [record.getMessage() for record in caplog.records] == [said]


def test_a_full_disk_leaves_no_empty_lease(tmp_path, monkeypatch):
    """An empty file would block all workers for the length of a lease."""
    full = OSError(28, "No space left on device")
    monkeypatch.setattr(lease.json, "dumps", lambda *args: (_ for _ in ()).throw(full))
    with pytest.raises(LipbenchError, match=r"cannot write .*task.0: No space left on device"):
        Leases(tmp_path / "leases").acquire("task")
    assert names(tmp_path / "leases") == []


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "leases").write_text("")
    with pytest.raises(LipbenchError, match=r"cannot write .*leases"):
        Leases(tmp_path / "leases").acquire("task")


def test_no_process_removes_the_file_of_a_live_process(folder, monkeypatch):
    """A process that acquires too late steps back, and removes its file. Had another removed that before, the file of
    a third one, of the same name, would be hit: with listings as old as these, two processes would hold the lease.
    """
    generations, listings = (
        lease.generations,
        [[0], [1], []],
    )  # what the first and the slow one see; then what is there

    def listed(*args):
        return listings.pop(0) if listings else generations(*args)

    put(folder, DEAD, 0)
    monkeypatch.setattr(lease, "generations", listed)
    first = Leases(folder).acquire("task")
    assert first.path.name == "task.1"
    (folder / "task.0").unlink()  # its successor was done before the first one began, who did not know
    third = []

    class Slow(Leases):
        def live(self, path):
            alive = super().live(path)
            first.release()
            third.append(Leases(folder).acquire("task"))
            return alive

    assert Slow(folder).acquire("task") is None
    assert third[0] is None or third[0].held


def test_a_release_leaves_what_came_after(folder):
    put(folder, DEAD, 3)
    held = Leases(folder).acquire("task")
    assert held.path.name == "task.4"
    put(folder, ELSEWHERE, 0)  # by one who looked long ago, and is about to step back
    held.release()
    assert names(folder) == ["task.0"]


# Takers that die inside, that release, and that only look. Each child works alone inside, or says so.
RACE = """
import os, random, sys, time
from pathlib import Path
from lipbench.work.lease import Leases

folder, seed, deadline = Path(sys.argv[1]), int(sys.argv[2]), time.monotonic() + float(sys.argv[3])
inside = folder.parent / "inside"
moments = random.Random(seed)
count = 0
while time.monotonic() < deadline:
    fate = moments.random()
    if os.fork():
        count += os.WEXITSTATUS(os.wait()[1]) == 0
        continue
    held = Leases(folder).acquire("task")
    if held is None:
        os._exit(1)
    try:
        descriptor = os.open(inside, os.O_CREAT | os.O_EXCL)
    except FileExistsError:
        os.write(1, b"two are inside\\n")
        os._exit(0)
    time.sleep(0.002 * fate)
    ours = held.held
    os.unlink(inside)
    if fate < 0.7:
        held.release()
    os._exit(0 if ours else 2)
print(count)
"""


def test_racing_processes_never_both_hold(tmp_path):
    folder = tmp_path / "leases"
    takers = [
        subprocess.Popen([sys.executable, "-c", RACE, folder, str(seed), "3"], stdout=subprocess.PIPE, text=True)
        for seed in range(4)
    ]
    said = [taker.communicate(timeout=100)[0].split("\n")[:-1] for taker in takers]
    assert all(len(lines) == 1 for lines in said), said  # the count only
    assert sum(int(lines[0]) for lines in said) > 10
