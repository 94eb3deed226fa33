"""Evaluations that tests run, compare and kill: on digits, with a small suite, in this process or in others."""

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import tomli_w

from lipbench._internal import files
from lipbench._internal.processes import exists
from lipbench.attacks import base, suites
from lipbench.attacks.suites import Suite
from lipbench.evaluation.evaluate import evaluate_models
from lipbench.evaluation.options import EvaluateOptions
from lipbench.models.sources import stored_sources
from lipbench.runs import encoding
from lipbench.runs.folder import RunFolder
from lipbench.work.execution import Execution

SMALL = suites.parse(
    {
        "name": "small",
        "norm": "L2",
        "eps": [0.4, 0.1],
        "attack": [
            {"name": "art/fgm"},
            {"name": "gradient/bisection", "args": {"rounds": 4}},
            {"name": "autoattack/apgd-ce", "args": {"n_iter": 10}},
        ],
    },
    "test",
)


TINY = suites.parse(
    {
        **SMALL.plain(),
        "attack": [
            {"name": "gradient/bisection", "args": {"rounds": 1, "steps": 2, "targets": 1}},
            {"name": "art/fgm"},
            {"name": "autoattack/apgd-ce", "args": {"n_iter": 2}},
        ],
    },
    "test",
)


def run(zoo, out, digits, suite=SMALL, device=None, executor=None, **options) -> RunFolder:
    """Evaluate in this process, 60 samples of digits unless the options say otherwise."""
    options = EvaluateOptions(**{"samples": 60, **options})
    suites = suite if isinstance(suite, list) else [suite]
    execution = Execution("cpu" if device is None else device.type, executor or "local")
    return evaluate_models(stored_sources(zoo), suites, digits, out, options, execution, progress=False)


def with_attacks(*names: str, to: Suite = SMALL, **change: Any) -> Suite:
    """A suite with further attacks at its end, ``library/name`` with arguments that make them short."""
    short = {"n_iter": 10, "targets": 3, "n_queries": 50, "max_iter": 5, "steps": 5, "rounds": 2}
    attacks = to.plain()["attack"]
    for name in names:
        defaults = base.named(name).defaults
        args = {key: value for key, value in short.items() if key in defaults}
        attacks = [*attacks, {"name": name, "args": args}]
    return suites.parse({**to.plain(), **change, "attack": attacks}, "test")


def loaded(folder: RunFolder, unit) -> tuple[pd.DataFrame, dict]:
    """The columns of a unit's record, and what its metadata say."""
    record = folder.load(unit)
    return record.frame(), {"model": unit.model, "unit": unit.name, **dataclasses.asdict(record.facts)}


def rewrite(folder: RunFolder, unit, columns, info: dict) -> None:
    """A record with these columns and metadata, whether they make sense or not."""
    about = {"model": unit.model, "unit": unit.name, **info}
    files.write_bytes(folder.record_path(unit), encoding.encode(encoding.table_of(columns), about))


def decoded(folder: RunFolder) -> dict[str, tuple[pd.DataFrame, dict]]:
    return {unit.name: loaded(folder, unit) for unit in folder.read().units()}


def witnesses(folder: RunFolder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.witnesses.iterdir()}


def same(a: RunFolder, b: RunFolder) -> bool:
    """Equal records, to the byte once decoded, and equal witnesses."""
    left, right = decoded(a), decoded(b)
    assert left.keys() == right.keys()
    for name in left:
        pd.testing.assert_frame_equal(left[name][0], right[name][0], check_exact=True)
        assert left[name][1] == right[name][1]
    return witnesses(a) == witnesses(b)


def stamps(folder: RunFolder) -> dict[str, tuple[int, int]]:
    """Inode and time of each record: a record that was written again has others."""
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.records.glob("*.parquet")}


def computed(folder: RunFolder) -> Counter[str]:
    """How often each unit was computed, by the journal."""
    return Counter(entry.unit for entry in folder.journal.entries())


def leftovers(folder: RunFolder) -> list[Path]:
    """Leases and temporary files."""
    return [*folder.leases.folder.iterdir(), *folder.path.rglob(f"{files.TEMPORARY}*")]


def command(zoo, out, suite: Path, *options: str) -> list[str]:
    """The command line that evaluates as ``run`` does."""
    words = ["-m", "lipbench", "evaluate", zoo, "--suite", suite, "-o", out, "--samples", 60, "--device", "cpu", "-q"]
    return [sys.executable, *map(str, words), *options]


def write_suite(path: Path, suite: Suite = SMALL) -> Path:
    path.write_text(tomli_w.dumps({key: value for key, value in suite.plain().items() if value is not None}))
    return path


def start(arguments: list[str], **options: Any) -> subprocess.Popen:
    """A process in a session of its own, so that ``kill`` knows what belongs to it."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(arguments, start_new_session=True, **{**quiet, **options})


def children(pid: int) -> list[int]:
    """All descendants that are alive, parents before their children."""
    found = [pid]
    for parent in found:
        found += [child for child, fields in _processes() if int(fields[1]) == parent and child not in found]
    return [child for child in found[1:] if exists(child)]


def session(pid: int) -> list[int]:
    """The processes that are alive in the session that ``start`` made, whoever their parent is by now."""
    return [member for member, fields in _processes() if int(fields[3]) == pid and exists(member)]


def _processes() -> list[tuple[int, list[str]]]:
    """Every process, with the fields of its ``stat`` from the state on: state, parent, group, session."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            found.append((int(path.parent.name), path.read_text().rpartition(")")[2].split()))
    return found


def words(pid: int) -> str:
    """The command line of a process; nothing if it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def kill(pids: list[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def until(condition, seconds: float = 120.0, pause: float = 0.005) -> bool:
    """Whether the condition came true in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(pause)
    return False
