"""The journal: what was computed, by whom and how long it took."""

import json
import os
import subprocess
import sys

import pytest

from lipbench._internal.processes import Owner
from lipbench.errors import LipbenchError
from lipbench.runs import journal
from lipbench.runs.journal import Entry, Journal


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "journal"


def line(unit: str, at: float) -> str:
    return json.dumps(vars(Entry(unit, "certify", "m", 20, 1.5, at))) + "\n"


def test_entries_come_back_in_the_order_of_time(folder, monkeypatch):
    moments = iter([20.0, 10.0, 30.0])
    monkeypatch.setattr(journal.time, "time", lambda: next(moments))
    for unit, seconds in (("b", 0.12345), ("a", 2.0), ("c", 3.0)):
        Journal(folder).add(unit, "art/fgm", "model", 50, seconds)
    assert Journal(folder).entries() == [
        Entry("a", "art/fgm", "model", 50, 2.0, 10.0),
        Entry("b", "art/fgm", "model", 50, 0.123, 20.0),
        Entry("c", "art/fgm", "model", 50, 3.0, 30.0),
    ]


def test_nothing_yet(folder):
    assert Journal(folder).entries() == []


def test_each_process_has_a_file_of_its_own(folder):
    add = "import sys; from pathlib import Path; from lipbench.runs.journal import Journal; "
    add += "Journal(Path(sys.argv[1])).add('theirs', 'certify', 'm', 1, 0.0)"
    Journal(folder).add("mine", "certify", "m", 1, 0.0)
    for _ in range(2):
        subprocess.run([sys.executable, "-c", add, folder], check=True)
    Journal(folder).add("mine too", "certify", "m", 1, 0.0)
    me = Owner.me()
    mine = folder / f"{me.machine}-{me.pid}-{me.started}.jsonl"
    assert len(list(folder.iterdir())) == 3
    assert [json.loads(text)["unit"] for text in mine.read_text().splitlines()] == ["mine", "mine too"]
    assert [entry.unit for entry in Journal(folder).entries()] == ["mine", "theirs", "theirs", "mine too"]


@pytest.mark.parametrize("cut", range(1, len(line("b", 2.0)) - 1, 7))
def test_a_line_that_was_cut_off_is_left_out(cut, folder):
    folder.mkdir()
    (folder / "x.jsonl").write_text(line("a", 1.0) + line("b", 2.0)[:cut])
    (folder / "y.jsonl").write_text(line("c", 3.0))
    (folder / "notes.txt").write_text(line("d", 3.0))
    assert [entry.unit for entry in Journal(folder).entries()] == ["a", "c"]


@pytest.mark.parametrize("other", ["5\n", "[]\n", "null\n", '{"unit": "x"}\n', "\n", '"text"\n'])
def test_a_line_that_is_no_entry_is_left_out(other, folder):
    folder.mkdir()
    (folder / "x.jsonl").write_text(other + line("a", 1.0))
    assert [entry.unit for entry in Journal(folder).entries()] == ["a"]


def test_a_line_that_is_written_in_part_is_an_error(folder, monkeypatch):
    """A nearly full disk takes some bytes and reports no error; the next line would be lost with this one."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[: len(data) // 2]))
    with pytest.raises(LipbenchError, match=r"cannot write .*jsonl: No space left on device"):
        Journal(folder).add("a", "certify", "m", 1, 0.0)
    assert Journal(folder).entries() == []


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "journal").write_text("")
    with pytest.raises(LipbenchError, match=r"cannot write .*journal"):
        Journal(tmp_path / "journal").add("a", "certify", "m", 1, 0.0)
