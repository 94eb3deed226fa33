"""Processes told apart, and the temporary files of those that are gone."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from lipbench import files, processes
from lipbench.errors import LipbenchError
from lipbench.processes import Owner, exists, machine


@pytest.fixture
def zombie():
    """A process that has ended and that nobody has asked for yet."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    yield child.pid
    child.wait()


@pytest.fixture
def sleeper():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield child
    child.kill()
    child.wait()


def owner(pid: int) -> Owner:
    return Owner(machine(), pid, processes._stat(pid)[19])


def test_a_process_exists_until_it_has_ended(sleeper):
    assert exists(sleeper.pid)
    assert exists(os.getpid())
    assert exists(1)
    sleeper.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert not exists(sleeper.pid)
    sleeper.wait()
    assert not exists(sleeper.pid)


def test_a_zombie_is_gone(zombie):
    os.kill(zombie, 0)  # it has a number still
    assert not exists(zombie)
    assert owner(zombie).gone


def test_a_name_with_brackets_does_not_hide_the_state(tmp_path):
    """/proc/PID/stat has the program's name in brackets, which may hold brackets and blanks."""
    program = tmp_path / "a) Z 1 (b"
    program.symlink_to("/bin/sleep")
    child = subprocess.Popen([program, "600"])
    try:
        assert exists(child.pid)
        assert not owner(child.pid).gone
        assert owner(child.pid).started == processes._stat(child.pid)[19]
        assert int(owner(child.pid).started) >= int(Owner.me().started)
    finally:
        child.kill()
        child.wait()


def test_an_owner_is_told_from_others_that_had_its_number(sleeper):
    me = Owner.me()
    assert me == owner(os.getpid())
    assert me.here
    assert not me.gone
    assert Owner(me.machine, me.pid, str(int(me.started) - 1)).gone
    assert not owner(sleeper.pid).gone
    sleeper.kill()
    sleeper.wait()
    assert Owner(machine(), sleeper.pid, "1").gone


def test_nothing_is_known_of_a_process_elsewhere(zombie):
    elsewhere = Owner("0123abcd", zombie, "1")
    assert not elsewhere.here
    assert not elsewhere.gone


def test_the_machine_is_the_same_for_its_processes_only(monkeypatch):
    assert re.fullmatch("[0-9a-f]{8}", machine())
    ask = "from lipbench.processes import machine; print(machine())"
    assert subprocess.check_output([sys.executable, "-c", ask], text=True).strip() == machine()
    monkeypatch.setattr(processes.socket, "gethostname", lambda: "another")
    assert machine.__wrapped__() != machine()


def leave(folder, place: str, pid: int, age: float, *, directory: bool = False):
    path = folder / f"{files.TEMPORARY}a-b.parquet-{place}-{pid}-0123abcd"
    path.mkdir() if directory else path.write_text("half")
    if directory:
        (path / "weights").write_text("half")
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_sweep_removes_what_no_process_will_rename(tmp_path, zombie):
    whole = tmp_path / "whole.parquet"
    whole.write_text("whole")
    gone = [
        leave(tmp_path, machine(), zombie, 0),
        leave(tmp_path, "1111aaaa", 1, 3700),
        leave(tmp_path, "2222aaaa", os.getpid(), 3700, directory=True),
    ]
    kept = [
        leave(tmp_path, machine(), os.getpid(), 1e6),
        leave(tmp_path, "3333aaaa", 1, 3500),  # of another machine, whose processes we cannot see
        leave(tmp_path, "4444aaaa", 2, 0, directory=True),
    ]
    files.sweep(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([*kept, whole])
    assert not any(path.exists() for path in gone)


def test_sweep_removes_the_folders_of_the_dead(tmp_path, zombie):
    leave(tmp_path, machine(), zombie, 0, directory=True)
    files.sweep(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["x", "run.json-1-ab", "--", "-a-b-c-"])
def test_sweep_takes_a_name_that_is_not_ours_for_another_machine_s(name, tmp_path):
    path = tmp_path / f"{files.TEMPORARY}{name}"
    path.write_text("")
    files.sweep(tmp_path)
    assert path.exists()
    os.utime(path, (time.time() - 3700,) * 2)
    files.sweep(tmp_path)
    assert not path.exists()


def test_temporary_names_are_of_this_process_and_never_the_same(tmp_path):
    names = {files.temporary_name(tmp_path / "a-b-c.parquet").name for _ in range(100)}
    assert len(names) == 100
    for name in names:
        (tmp_path / name).write_text("")
    files.sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == names


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    path = tmp_path / "folder" / "whole"
    files.write_bytes(path, b"one")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LipbenchError, match=r"cannot write .*whole: No space left on device; free some space"):
        files.write_bytes(path, b"two")
    assert [entry.read_bytes() for entry in path.parent.iterdir()] == [b"one"]
