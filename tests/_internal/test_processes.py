"""Processes told apart, and the temporary files of those that are gone."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from lipbench._internal import files, processes
from lipbench._internal.processes import Owner, exists, machine
from lipbench.errors import LipbenchError


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
    ask = "from lipbench._internal.processes import machine; print(machine())"
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


GONE = 2**22 + 1  # above any pid_max of Linux


@pytest.mark.parametrize("name", ["x", "run.json-1-ab", "--", "-a-b-c-", "x-0123abcd-1-ab.txt", "x-0123abcd-0-ab"])
@pytest.mark.parametrize("prefix", [files.TEMPORARY, ".tmp-", "tmp-", f"x{files.TEMPORARY}"])
def test_sweep_leaves_a_name_that_is_not_ours(prefix, name, tmp_path):
    path = tmp_path / f"{prefix}{name}"
    path.write_text("")
    os.utime(path, (time.time() - 3700,) * 2)
    files.sweep(tmp_path)
    assert path.exists()


@pytest.mark.parametrize("pid", ["²", "9" * 30, "07", "-1", "1.0", ""])
def test_sweep_leaves_what_names_no_process(pid, tmp_path):
    path = tmp_path / f"{files.TEMPORARY}x-{machine()}-{pid}-0123abcd"
    path.write_text("")
    files.sweep(tmp_path)
    assert path.exists()


def test_sweep_removes_neither_links_nor_pipes_nor_what_is_behind_them(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "precious").write_text("")
    name = f"{files.TEMPORARY}x-{machine()}-{GONE}-0123abc"
    for number, make in enumerate(
        [
            lambda path: path.symlink_to(tmp_path / "elsewhere"),
            lambda path: path.symlink_to("nowhere"),
            lambda path: os.mkfifo(path),
        ]
    ):
        make(tmp_path / f"{name}{number}")
    folder = tmp_path / f"{name}9"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    files.sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [*(f"{name}{k}" for k in range(3)), "elsewhere"]
    assert (tmp_path / "elsewhere" / "precious").exists()


def test_a_name_of_any_length_has_a_temporary_one(tmp_path):
    path = tmp_path / ("ü" * 120)
    files.write_bytes(path, b"whole")
    assert files.is_temporary(files.temporary_name(path)) is False  # there is no such file
    half = files.temporary_name(path)
    half.write_bytes(b"half")
    assert files.is_temporary(half)


def test_write_new_writes_over_nothing(tmp_path, monkeypatch):
    path = tmp_path / "name"
    assert files.write_new(path, b"one")
    assert not files.write_new(path, b"two")
    (tmp_path / "link").symlink_to("nowhere")
    assert not files.write_new(tmp_path / "link", b"two")

    def refused(*args):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)  # a file system without hard links
    assert not files.write_new(path, b"two")
    assert files.write_new(tmp_path / "other", b"three")
    assert path.read_bytes() == b"one"
    assert (tmp_path / "other").read_bytes() == b"three"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["link", "name", "other"]


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
