"""What one process knows of its records: each file is read at most once, and never if this process wrote it."""

import time
from collections import Counter
from pathlib import Path

import pytest
from bundled import TAU4
from running import TINY, loaded, run, write_suite

from lipbench import cli
from lipbench._internal import files
from lipbench.runs import store
from lipbench.runs.folder import RunFolder
from lipbench.runs.store import DamagedError


@pytest.fixture
def opened(monkeypatch) -> Counter:
    """How often each record was opened to be read."""
    counts: Counter[str] = Counter()
    true = Path.open

    def counted(self, mode="r", *args, **kwargs):
        if self.parent.name == "records" and "r" in mode and not files.is_temporary(self):
            counts[self.name] += 1
        return true(self, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", counted)
    return counts


def evaluate(zoo, out: Path, suite: Path, *more: str) -> None:
    words = [
        "evaluate",
        zoo,
        "--suite",
        suite,
        "-o",
        out,
        "--samples",
        30,
        "--shard",
        20,
        "--device",
        "cpu",
        "-q",
        *more,
    ]
    assert cli.run([str(word) for word in words]) == 0


def test_a_record_is_read_at_most_once_in_a_run_and_its_report(opened, digits_zoo, tmp_path):
    suite, out = write_suite(tmp_path / "tiny.toml", TINY), tmp_path / "run"
    evaluate(digits_zoo / TAU4, out, suite)
    assert opened == {}  # what was computed here
    units = list(RunFolder(out).read().units())
    time.sleep(2 * store.TICK)
    evaluate(digits_zoo / TAU4, out, suite)
    assert opened == {f"{unit.name}.parquet": 1 for unit in units}
    opened.clear()
    evaluate(digits_zoo / TAU4, out, suite, "--seed", "0", "--seed", "1")  # more units, after those that are there
    assert opened == {f"{unit.name}.parquet": 1 for unit in units}
    opened.clear()
    time.sleep(2 * store.TICK)
    assert cli.run(["report", str(out)]) == 0
    assert set(opened.values()) == {1}


def test_a_record_that_changes_is_read_again(digits_zoo, tmp_path, digits):
    """Also one that this process has written."""
    folder = run(digits_zoo / TAU4, tmp_path / "run", digits, suite=TINY, samples=30, shard=20)
    other = RunFolder(folder.path)
    unit = list(folder.read().units())[1]
    path = folder.record_path(unit)
    data = path.read_bytes()
    time.sleep(2 * store.TICK)
    for one in (folder, other):
        path.write_bytes(data)
        time.sleep(2 * store.TICK)
        before = loaded(one, unit)
        path.write_bytes(data[:200] + bytes([data[200] ^ 255]) + data[201:])  # of the same size
        with pytest.raises(DamagedError):
            one.load(unit)
        path.unlink()
        assert not one.has(unit)
        path.write_bytes(data)
        assert loaded(one, unit)[0].equals(before[0])


def test_what_was_read_cannot_be_changed_by_a_reader(digits_zoo, tmp_path, digits):
    folder = run(digits_zoo / TAU4, tmp_path / "run", digits, suite=TINY, samples=30, shard=20)
    for one in (folder, RunFolder(folder.path)):
        for unit in one.read().units():
            for values in one.load(unit).arrays().values():
                with pytest.raises(ValueError, match="read-only"):
                    values[:0] = 0
            frame = one.load(unit).frame()
            frame["sample"] = frame["sample"] + 1
            assert (one.load(unit).sample + 1 == frame["sample"]).all()
