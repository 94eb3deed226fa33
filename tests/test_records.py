"""Records that were damaged, cut off, or found no room."""

import errno
import os
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from bundled import TAU4, UNCONSTRAINED
from running import TINY, computed, leftovers, run, same, stamps, write_suite

from lipbench import claims, cli, records
from lipbench.records import DamagedError, MissingError, RunFolder


@pytest.fixture(scope="module")
def whole(tmp_path_factory, digits_zoo, digits):
    """A run of one model; not to be changed."""
    return run(digits_zoo / TAU4, tmp_path_factory.mktemp("run"), digits, suite=TINY, samples=30, shard=20)


@pytest.fixture
def copied(whole, tmp_path):
    """A copy of it that may be."""
    subprocess.run(["cp", "-a", whole.path, tmp_path / "run"], check=True)
    return RunFolder(tmp_path / "run")


def path_of(folder: RunFolder, place: int) -> Path:
    return folder.records / f"{list(folder.read().units())[place].name}.parquet"


def flipped(data: bytes, start: float, stop: float) -> bytes:
    first, last = int(start * len(data)), int(stop * len(data))
    return data[:first] + bytes(byte ^ 255 for byte in data[first:last]) + data[last:]


DAMAGE = {
    "cut off": lambda data: data[:100],
    "the last byte": lambda data: data[:-1],
    "empty": lambda data: b"",
    "flipped in the middle": lambda data: flipped(data, 0.4, 0.6),
    "flipped in a column": lambda data: flipped(data, 0.05, 0.06),
    "flipped in the footer": lambda data: flipped(data, 0.8, 0.81),
    "something else": lambda data: b"PAR1" + b"x" * 1000 + b"\x08\0\0\0PAR1",
    "zeros": lambda data: bytes(len(data)),  # what a file system makes of a file after a power cut
}


@pytest.mark.parametrize(
    ("what", "place"), [*((what, 1) for what in DAMAGE), *(("empty", place) for place in (0, 3, 7))]
)
def test_a_damaged_record_is_computed_again_with_a_warning(
    what, place, copied, whole, digits_zoo, digits, caplog, capsys
):
    path, before = path_of(copied, place), stamps(copied)
    path.write_bytes(DAMAGE[what](path.read_bytes()))
    assert cli.run(["report", str(copied.path)]) == 2
    shown = capsys.readouterr().err
    assert f"the record {path} is damaged" in shown
    assert shown.count("\n") == 1
    run(digits_zoo / TAU4, copied.path, digits, suite=TINY, samples=30, shard=20)
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    assert f"the record {path} is damaged" in warnings[0]
    assert "\n" not in warnings[0]
    after = stamps(copied)
    assert {name for name in after if after[name] != before[name]} == {path.name}
    assert same(copied, whole)
    assert not leftovers(copied)


def test_several_damaged_records_are_computed_again(copied, whole, digits_zoo, digits, caplog):
    for place in (0, 2, 5, 7):
        path = path_of(copied, place)
        path.write_bytes(DAMAGE["flipped in the middle"](path.read_bytes()))
    run(digits_zoo / TAU4, copied.path, digits, suite=TINY, samples=30, shard=20)
    assert sum(record.levelname == "WARNING" for record in caplog.records) == 4
    assert same(copied, whole)


def test_damaged_witnesses_are_found_again(copied, whole, digits_zoo, digits, caplog):
    path = sorted(copied.witnesses.iterdir())[0]
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    run(digits_zoo / TAU4, copied.path, digits, suite=TINY, samples=30, shard=20)
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        f"the witnesses {path} are not what was written; their unit is computed again"
    ]
    assert path.read_bytes() == data
    assert same(copied, whole)


def test_a_run_without_its_witnesses_is_whole(copied, digits_zoo, digits, caplog):
    """They are large: who publishes a run may leave them out."""
    before = stamps(copied)
    for path in copied.witnesses.iterdir():
        path.unlink()
    run(digits_zoo / TAU4, copied.path, digits, suite=TINY, samples=30, shard=20)
    assert stamps(copied) == before
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_a_damaged_record_that_another_process_works_on_is_its_affair(copied, digits_zoo, digits, caplog):
    """Whoever holds the claim replaces it; removing it would take away what has just been written."""
    path = path_of(copied, 1)
    path.write_bytes(b"half")
    name = copied.read().certify_unit(copied.read().models[0], copied.read().shards[0]).name
    with copied.claims.holding(name):
        copied.mend(copied.read())
    assert path.read_bytes() == b"half"
    copied.mend(copied.read())
    assert not path.exists()
    assert len(caplog.records) == 1


def test_no_flipped_bit_changes_what_a_record_says(copied):
    """Parquet's checksums leave out the footer: numbers and names in it are covered by a digest of our own."""
    path, unit = path_of(copied, 1), list(copied.read().units())[1]
    data = path.read_bytes()
    frame, info = copied.load(unit)
    found = 0
    for position in range(0, len(data), 7):
        path.write_bytes(data[:position] + bytes([data[position] ^ 1 << position % 8]) + data[position + 1 :])
        try:
            after, about = copied.load(unit)
        except DamagedError:
            found += 1
        else:  # statistics, and what else nobody reads
            pd.testing.assert_frame_equal(after, frame, check_exact=True)
            assert about == info
    assert found > len(data) / 14


def test_a_record_is_there_when_it_is_whole(copied):
    unit = next(copied.read().units())
    path = path_of(copied, 0)
    data = path.read_bytes()
    assert copied.has(unit)
    for size in (0, 3, 4, 8, 11, 12, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:size])
        assert not copied.has(unit)
        assert isinstance(copied.damage(unit), DamagedError)
    path.unlink()
    assert not copied.has(unit)
    assert copied.damage(unit) is None
    with pytest.raises(MissingError, match=rf"lacks records of {TAU4}: the run is not finished; `lipbench evaluate -o"):
        copied.load(unit)


# A full disk. The first so many files find room.


def cannot_sync(monkeypatch, room: int) -> None:
    sync = os.fsync

    def full(descriptor):
        nonlocal room
        room -= 1
        if room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full)


def cannot_write(monkeypatch, room: int) -> None:
    write = Path.write_bytes

    def full(path, data):
        nonlocal room
        room -= 1
        write(path, data if room >= 0 else data[: len(data) // 2])
        if room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return len(data)

    monkeypatch.setattr(Path, "write_bytes", full)


def cannot_claim(monkeypatch, room: int) -> None:
    take = claims.json.dumps

    def full(*args, **kwargs):
        nonlocal room
        room -= isinstance(args[0], dict) and "token" in args[0]
        if room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return take(*args, **kwargs)

    monkeypatch.setattr(claims.json, "dumps", full)


def cannot_note(monkeypatch, room: int) -> None:
    write = os.write

    def full(descriptor, data):
        nonlocal room
        room -= 1
        return write(descriptor, data if room >= 0 else data[: len(data) // 2])

    monkeypatch.setattr(os, "write", full)


def arguments(zoo, out, suite) -> list[str]:
    words = ["evaluate", zoo, "--suite", suite, "-o", out, "--samples", 30, "--shard", 20, "--device", "cpu", "-q"]
    return [str(word) for word in words]


@pytest.mark.parametrize("room", [0, 1, 4])
@pytest.mark.parametrize("full", [cannot_sync, cannot_write, cannot_claim, cannot_note])
def test_a_full_disk_is_one_line_and_the_run_goes_on(
    full, room, whole, digits_zoo, digits, tmp_path, capsys, monkeypatch
):
    with pytest.MonkeyPatch.context() as patch:
        full(patch, min(room, 2) if full is cannot_claim else room)
        assert cli.run(arguments(digits_zoo / TAU4, tmp_path / "run", write_suite(tmp_path / "tiny.toml", TINY))) == 2
    check_and_go_on(RunFolder(tmp_path / "run"), capsys.readouterr().err, digits_zoo, digits, whole)


def check_and_go_on(folder: RunFolder, shown: str, digits_zoo, digits, whole: RunFolder) -> None:
    assert shown.startswith(f"lipbench: cannot write {folder.path}")
    assert "No space left on device; free some space or choose another folder" in shown
    assert shown.count("\n") == 1
    assert not leftovers(folder)
    written = stamps(folder)
    if (folder.path / records.RUN).exists():
        units = list(folder.read().units())
        assert all(folder.has(unit) == (f"{unit.name}.parquet" in written) for unit in units)
        assert all(folder.damage(unit) is None for unit in units)
    run(digits_zoo / TAU4, folder.path, digits, suite=TINY, samples=30, shard=20)
    assert written.items() <= stamps(folder).items()
    assert max(computed(folder).values()) == 1
    assert same(folder, whole)
    assert not leftovers(folder)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of a few pages; skipped where none can be made."""
    path = tmp_path / "disk"
    path.mkdir()

    def mount(size: int) -> Path:
        options = ["-t", "tmpfs", "-o", f"size={size}k"]
        if subprocess.run(["mount", *options, "tmpfs", path], capture_output=True).returncode:
            pytest.skip("this user cannot mount a file system")
        return path

    yield mount
    subprocess.run(["umount", path], capture_output=True)


@pytest.mark.parametrize("size", [12, 28, 48])
def test_a_disk_that_is_really_full(size, whole, digits_zoo, digits, tmp_path, small_disk, capsys):
    disk = small_disk(size)
    suite = write_suite(tmp_path / "tiny.toml", TINY)
    assert cli.run(arguments(digits_zoo / TAU4, disk / "run", suite)) == 2
    shown = capsys.readouterr().err
    subprocess.run(["mount", "-o", "remount,size=4m", disk], check=True)  # some space is freed
    check_and_go_on(RunFolder(disk / "run"), shown, digits_zoo, digits, whole)


def test_a_run_that_cannot_be_written_says_so(digits_zoo, tmp_path, capsys):
    (tmp_path / "run").write_text("a file")
    suite = write_suite(tmp_path / "tiny.toml", TINY)
    assert cli.run(arguments(digits_zoo / UNCONSTRAINED, tmp_path / "run", suite)) == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"lipbench: cannot write {tmp_path / 'run'}")
    assert shown.count("\n") == 1
    assert (tmp_path / "run").read_text() == "a file"
