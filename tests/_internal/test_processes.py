"""Processes, distinguished from others that had their number."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lipbench._internal import processes
from lipbench._internal.processes import Owner, exists, machine


@pytest.fixture
def sleeper():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield child
    child.kill()
    child.wait()


def started(pid: int) -> str:
    """Field 22 of /proc/PID/stat, counted from 1; the program's name in brackets is field 2."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[22 - 3]


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
    assert Owner.of(zombie).gone


def test_a_name_with_brackets_does_not_hide_the_state(tmp_path):
    """/proc/PID/stat has the program's name in brackets, which may hold brackets and blanks."""
    program = tmp_path / "a) Z 1 (b"
    program.symlink_to("/bin/sleep")
    child = subprocess.Popen([program, "600"])
    try:
        assert exists(child.pid)
        assert not Owner.of(child.pid).gone
        assert Owner.of(child.pid).started == started(child.pid)
        assert int(Owner.of(child.pid).started) >= int(Owner.me().started)
    finally:
        child.kill()
        child.wait()


def test_an_owner_is_told_from_others_that_had_its_number(sleeper):
    me = Owner.me()
    assert me == Owner.of(os.getpid())
    assert me.here
    assert not me.gone
    assert Owner(me.machine, me.pid, str(int(me.started) - 1)).gone
    assert not Owner.of(sleeper.pid).gone
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
