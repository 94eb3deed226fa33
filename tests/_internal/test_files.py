"""Files that are whole or absent, their temporary names, and what belongs to others."""

import os
import time

import pytest

from lipbench._internal import files
from lipbench._internal.processes import machine
from lipbench.errors import LipbenchError

GONE = 2**22 + 1  # above any pid_max of Linux


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


def test_writing_is_all_or_nothing(tmp_path):
    path = tmp_path / "file"
    files.write_text(path, "old")

    def fail():
        with files.writing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("file", "file is a file: name a folder"),
        ("file/run", "file is a file: name a folder"),
        ("x" * 300, "File name too long; choose a shorter name"),
    ],
)
def test_a_folder_that_cannot_be_made_says_what_is_so(path, reason, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LipbenchError, match=f"^cannot write .*{reason}$"):
        files.make_folder(tmp_path / path)


def test_what_people_keep_beside_anything_is_harmless(tmp_path):
    for name in (".gitignore", "README", "README.md"):
        (tmp_path / name).write_text("")
    (tmp_path / ".git").mkdir()
    assert files.foreign(tmp_path, files.is_harmless) is None
    (tmp_path / "notes.txt").write_text("")
    assert files.foreign(tmp_path, files.is_harmless) == tmp_path / "notes.txt"
