"""The exit status of the command: 1 says that a certificate was broken, and nothing else ever ends a process so."""

import os
import signal
import subprocess
import sys
import time

import pytest
from bundled import TAU4

from lipbench import cli
from lipbench.attacks import suites
from lipbench.models import cards

PROLOGUE = """
import atexit, ctypes, os, sys, threading, time
from lipbench import cli
from lipbench.attacks import suites
def names():
    {body}
    return ["quick"]
suites.names = names
sys.argv = ["lipbench", "list", "suites"]
"""


def command(body: str, *python: str, **options) -> subprocess.CompletedProcess:
    """``lipbench list suites`` in a process of its own, where a part of it does something else."""
    script = PROLOGUE.format(body=body.replace("\n", "\n    ")) + "cli.main()\n"
    return subprocess.run([sys.executable, *python, "-c", script], capture_output=True, text=True, **options)


LIBRARIES = {
    "exit": "ctypes.CDLL(None).exit(1)",
    "exit with 0": "ctypes.CDLL(None).exit(0)",
    "exit in another thread": (
        "thread = threading.Thread(target=lambda: ctypes.CDLL(None).exit(1))\nthread.start()\nthread.join()"
    ),
    "OpenMP": (
        "import torch\ntorch.set_num_threads(10**9)\n"  # libgomp: Out of memory allocating 216000001344 bytes
        "torch.ones(3000, 3000) @ torch.ones(3000, 3000)\nctypes.CDLL(None).exit(1)"
    ),
    "exit after torch": "import torch\ntorch.ones(300, 300) @ torch.ones(300, 300)\nctypes.CDLL(None).exit(1)",
}


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_library_that_calls_exit_has_status_3(name):
    ran = command(LIBRARIES[name])
    assert ran.returncode == 3, ran.stderr


RAISED = {
    "sys.exit(1)": "sys.exit(1)",
    "sys.exit(0)": "sys.exit(0)",
    "sys.exit of a message": "sys.exit('no licence')",
    "MemoryError": "raise MemoryError",
    "RecursionError": "f = lambda: f()\nf()",
    "a BaseException": "class Stop(BaseException): pass\nraise Stop",
    "GeneratorExit": "raise GeneratorExit",
    "click's Exit": "import click\nraise click.exceptions.Exit(1)",
    "click's Exit with 0": "import click\nraise click.exceptions.Exit(0)",
    "click's help": "import click\nraise click.exceptions.NoArgsIsHelpError(click.get_current_context())",
    "click's wrong use": "import click\nraise click.UsageError('no')",
    "click's Abort": "import click\nraise click.Abort",
    "an exception of a library": "raise ZeroDivisionError",
}


@pytest.mark.parametrize("name", RAISED)
def test_what_a_library_raises_has_status_3(name):
    ran = command(RAISED[name])
    assert ran.returncode == 3, ran.stderr
    assert "Traceback" in ran.stderr


@pytest.mark.parametrize("status", [0, 1, "no licence"])
def test_a_library_that_exits_does_not_end_the_caller(status, monkeypatch, capsys):
    """In this process, as tests and notebooks run commands."""

    def leave():
        sys.exit(status)

    monkeypatch.setattr(suites, "names", leave)
    assert cli.run(["list", "suites"]) == 3
    assert "unexpected SystemExit" in capsys.readouterr().err


def test_ctrl_c_has_status_130():
    ran = command("os.kill(os.getpid(), 2)\ntime.sleep(30)")
    assert ran.returncode == 130
    assert ran.stderr.startswith("lipbench: interrupted")
    assert ran.stderr.count("\n") == 1


def test_ctrl_c_while_modules_are_imported(tmp_path):
    (tmp_path / "click.py").write_text("raise KeyboardInterrupt")
    ran = module("list", "suites", path=tmp_path)
    assert ran.returncode == 130


def module(*words: str, path=None, **options) -> subprocess.CompletedProcess:
    """``python -m lipbench``, with a folder in front of all others that modules are looked for in."""
    places = os.pathsep.join(filter(None, [str(path) if path else "", os.environ.get("PYTHONPATH", "")]))
    line = [sys.executable, "-m", "lipbench", *words]
    return subprocess.run(line, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": places}, **options)


@pytest.mark.parametrize("missing", ["click", "torch"])
def test_an_installation_that_lacks_a_package_has_status_3(missing, tmp_path):
    (tmp_path / f"{missing}.py").write_text(f"raise ModuleNotFoundError('No module named {missing}')")
    ran = module("list", "losses", path=tmp_path)
    assert ran.returncode == 3
    assert f"No module named {missing}" in ran.stderr


def test_a_status_of_our_own_is_kept():
    assert module("list", "suites").returncode == 0
    assert module("--version").returncode == 0
    assert module("lits").returncode == 2
    assert command("from lipbench.errors import LipbenchError\nraise LipbenchError('wrong')").returncode == 2


def test_what_python_does_at_its_end_is_done():
    """Exit functions, threads that are still at work, and what they print."""
    ran = command(
        "atexit.register(print, 'at exit')\n"
        "threading.Thread(target=lambda: (time.sleep(0.5), sys.stdout.write('thread\\n'))).start()\n"
        "print('no newline', end='')"
    )
    assert ran.returncode == 0, ran.stderr
    assert "no newline" in ran.stdout
    assert ran.stdout.splitlines()[-2:] == ["thread", "at exit"]


def test_an_exit_function_that_fails_changes_no_status():
    assert command("atexit.register(lambda: 1 / 0)").returncode == 0
    assert command("atexit.register(lambda: ctypes.CDLL(None).exit(1))").returncode == 0


def test_large_outputs_are_complete():
    ran = command("sys.stdout.write(''.join(f'{n}\\n' for n in range(300_000)))\nprint('last', end='')")
    assert ran.returncode == 0
    lines = ran.stdout.splitlines()
    assert lines[:300_000] == [str(n) for n in range(300_000)]
    assert lines[300_000].startswith("last")


def test_printf_of_a_library_is_complete():
    ran = command("ctypes.CDLL(None).printf(b'from C')")
    assert ran.returncode == 0
    assert "from C" in ran.stdout


def shell(line: str) -> str:
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True).stdout


@pytest.mark.parametrize("words", ["list checks", "--help", "verify --help", "--version", "list architectures"])
def test_a_reader_that_has_enough_changes_no_status(words):
    assert shell(f"{sys.executable} -m lipbench {words} | true; echo ${{PIPESTATUS[0]}}") == "0\n"


@pytest.fixture
def half(zoo_of):
    """A model whose card claims half of its constant."""
    folder = zoo_of(TAU4) / TAU4
    claimed = cards.Lipschitz(constant=0.5)
    cards.write(folder, cards.read(folder).model_copy(update={"claimed": claimed}))
    return folder


def test_a_broken_certificate_has_status_1_for_every_reader(half, tmp_path):
    words = f"{sys.executable} -m lipbench verify {half} -q --samples 1 -o {tmp_path}/v"
    assert shell(f"{words}; echo $?").splitlines()[-1] == "1"
    witness = next((tmp_path / "v" / "witnesses").glob("*-radius-nominal.safetensors"))
    replay = f"{sys.executable} -m lipbench verify --replay {witness} {half}"  # prints as much, and attacks nothing
    assert shell(f"{replay} | true; echo ${{PIPESTATUS[0]}}") == "1\n"
    assert shell(f"{replay} >&-; echo $?") == "1\n"
    loud = words.replace(" -q ", " ")
    assert shell(f"{loud} 2>&-; echo $?").splitlines()[-1] == "1"
    assert shell(f"{loud} >&- 2>&-; echo $?") == "1\n"


def test_an_output_that_is_full_is_no_pass():
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    said = shell(f"{{ {sys.executable} -m lipbench list checks > /dev/full; }} 2>&1; echo $?")
    assert said.splitlines()[-1] == "2"
    assert "No space left on device" in said


def test_a_signal_keeps_its_status():
    script = PROLOGUE.format(body="print('here', flush=True)\n    time.sleep(60)") + "cli.main()\n"
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    process.stdout.readline()
    time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == -signal.SIGTERM
    process.stdout.close()


def leave(task: int) -> int:
    """A task of another process that ends it."""
    import ctypes

    {1: lambda: sys.exit(1), 2: lambda: ctypes.CDLL(None).exit(1), 3: lambda: os._exit(1)}[task]()
    return task


@pytest.mark.parametrize(("task", "status"), [(1, 3), (2, 2), (3, 2)])
def test_workers_that_exit(task, status, monkeypatch, capsys):
    """``sys.exit`` in a worker comes back as an exception; where the process is gone, the user may run it again."""
    from lipbench.work.executors.local import LocalExecutor

    monkeypatch.setattr(suites, "names", lambda: list(LocalExecutor(2, 1).run(leave, [task])))
    assert cli.run(["list", "suites"]) == status
    said = capsys.readouterr().err
    assert ("a worker process was killed" in said) is (status == 2)
