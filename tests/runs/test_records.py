"""Records that were damaged, cut off, or found no room."""

import errno
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
from bundled import TAU4, UNCONSTRAINED
from running import TINY, computed, leftovers, loaded, rewrite, run, same, stamps, write_suite

from lipbench import cli
from lipbench._internal import files
from lipbench.certification.grades import CLAIM_TOLERANCE, GRADES
from lipbench.models import cards
from lipbench.runs import checks, results
from lipbench.runs.folder import RUN, RunFolder
from lipbench.runs.store import DamagedError, MissingError
from lipbench.work import lease


@pytest.fixture(scope="module")
def whole(tmp_path_factory, digits_zoo, digits):
    """A run of one model; not to be changed."""
    return run(digits_zoo / TAU4, tmp_path_factory.mktemp("run"), digits, suite=TINY, samples=30, shard=20)


@pytest.fixture(scope="module")
def unconstrained(tmp_path_factory, digits_zoo, digits):
    """Likewise, of a model that leaves samples open at every eps."""
    return run(digits_zoo / UNCONSTRAINED, tmp_path_factory.mktemp("run"), digits, suite=TINY, samples=30, shard=20)


def copy_of(folder: RunFolder, path: Path) -> RunFolder:
    subprocess.run(["cp", "-a", folder.path, path], check=True)
    return RunFolder(path)


@pytest.fixture
def copied(whole, tmp_path):
    """A copy of ``whole`` that may be changed."""
    return copy_of(whole, tmp_path / "run")


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
    ("what", "place"), [*((what, 1) for what in DAMAGE), *(("empty", place) for place in (0, 3, 4, 5, 7))]
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
        f"the witnesses {path} differ from what was written; their unit will be computed again"
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
    """The holder of the lease replaces it; removing it would take away what has just been written."""
    path = path_of(copied, 1)
    path.write_bytes(b"half")
    name = copied.read().certify_unit(copied.read().models[0], copied.read().shards[0]).name
    with copied.leases.holding(name):
        copied.mend(copied.read())
    assert path.read_bytes() == b"half"
    copied.mend(copied.read())
    assert not path.exists()
    assert len(caplog.records) == 1


def test_no_flipped_bit_changes_what_a_record_says(copied):
    """Parquet's checksums leave out the footer: numbers and names in it are covered by a digest of our own."""
    path, unit = path_of(copied, 1), list(copied.read().units())[1]
    data = path.read_bytes()
    frame, info = loaded(copied, unit)
    found = 0
    for position in range(0, len(data), 7):
        path.write_bytes(data[:position] + bytes([data[position] ^ 1 << position % 8]) + data[position + 1 :])
        try:
            after, about = loaded(copied, unit)
        except DamagedError:
            found += 1
        else:  # statistics, and what else is never read
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
    with pytest.raises(MissingError, match=rf"lacks records of {TAU4}: the run is not finished; rerun `lipbench eval"):
        copied.load(unit)


# Records that are what was written, and cannot be true. Each is refused, alone or beside what comes before it, and
# computed again; a radius that an attack breaks is a finding, and stays.


def at(frame, row, **change):
    """The frame with other values in one row."""
    frame = frame.copy()
    for name, value in change.items():
        frame.loc[frame.index[row], name] = value
    return frame


def first(frame, found: bool) -> int:
    """The first row in which an input was found, or none was."""
    return int(np.flatnonzero(np.isfinite(frame["adversarial_distance"]) == found)[0])


def with_info(**change):
    return lambda frame, info: (frame, info | change)


def counted(frame, info):
    """The info of an attack, with the counts of its rows."""
    counts = {name: int(frame[name].sum()) for name in ("forward", "backward")}
    return frame, info | counts | {"attacked": len(frame), "audited": int(frame["audit"].sum())}


def wrong(frame) -> int:
    return int(np.flatnonzero(frame["label"] != frame["prediction"])[0])


CERTIFY, OPENING, AT_EPS = 0, 1, 3  # places of units of the first shard; a bisection opens, FGM is one at eps
RADII = [f"certified_radius_{grade}" for grade in GRADES]
CONTRADICTIONS = {  # where, what is changed, and why it is refused
    **{
        f"{what} {name}": (CERTIFY, lambda f, i, name=name, value=value: (at(f, 0, **{name: value}), i), name)
        for name in RADII
        for what, value in (("infinite", np.inf), ("negative", -0.1), ("no", np.nan))
    },
    **{
        f"a radius beyond the input range, {name}": (
            CERTIFY,
            lambda f, i, name=name: (at(f, 0, signed_margin=1e301, **{name: 1e300}), i),
            f"{name} is beyond the diameter",
        )
        for name in RADII
    },
    "a radius above the margin": (
        CERTIFY,
        lambda f, i: (at(f, 0, certified_radius_real=f["signed_margin"][0] * (1 + 1e-6)), i),
        "certified_radius_real is above signed_margin",
    ),
    "a float radius above the real one": (
        CERTIFY,
        lambda f, i: (at(f, 0, certified_radius_float=f["certified_radius_real"][0] * (1 + 1e-6)), i),
        "certified_radius_float is above certified_radius_real",
    ),
    "a real radius below the float one": (
        CERTIFY,
        lambda f, i: (at(f, 0, certified_radius_real=f["certified_radius_float"][0] / 2), i),
        "certified_radius_float is above certified_radius_real",
    ),
    "a negative margin where correct": (
        CERTIFY,
        lambda f, i: (at(f, 0, signed_margin=-0.1, **dict.fromkeys(RADII, 0.0)), i),
        "signed_margin is below 0 where correct",
    ),
    "a margin where misclassified": (
        CERTIFY,
        lambda f, i: (at(f, wrong(f), signed_margin=0.1), i),
        "above 0 where misclassified",
    ),
    "margins of a constant network": (CERTIFY, with_info(lipschitz_bound=0.0), "finite for a Lipschitz bound of 0"),
    "a radius where misclassified": (
        CERTIFY,
        lambda f, i: (at(f, wrong(f), certified_radius_real=0.1), i),
        "above 0 where misclassified",
    ),
    "no margin": (CERTIFY, lambda f, i: (at(f, 2, signed_margin=np.nan), i), "signed_margin is NaN"),
    "a label that is no class": (CERTIFY, lambda f, i: (at(f, 1, label=10), i), "beyond 9"),
    "a negative label": (CERTIFY, lambda f, i: (at(f, 1, label=-1), i), "label is below 0"),
    "a prediction that is no class": (CERTIFY, lambda f, i: (at(f, 1, prediction=10), i), "beyond 9"),
    "a repeated row": (CERTIFY, lambda f, i: (at(f, 1, sample=0), i), "each once and in order"),
    "a row too many": (CERTIFY, lambda f, i: (pd.concat([f, f[-1:]]), i), "each once and in order"),
    "a missing row": (CERTIFY, lambda f, i: (f[:-1], i), "each once and in order"),
    "no rows": (CERTIFY, lambda f, i: (f[:0], i), "each once and in order"),
    "rows of another shard": (CERTIFY, lambda f, i: (f.assign(sample=f["sample"] + 20), i), "outside 0 .. 19"),
    "another model's": (CERTIFY, with_info(model="other"), "another unit's records"),
    "another unit's": (CERTIFY, with_info(unit="other"), "another unit's records"),
    "another type": (CERTIFY, lambda f, i: (f.astype({"label": "int32"}), i), "label is int32, not int64"),
    "numbers as text": (CERTIFY, lambda f, i: (f.astype({"label": str}), i), "is damaged"),
    "a column less": (CERTIFY, lambda f, i: (f.drop(columns="prediction"), i), "columns sample, label, signed"),
    "a column more": (CERTIFY, lambda f, i: (f.assign(certified_radius_best=0.1), i), "columns sample, label, pred"),
    "columns in another order": (CERTIFY, lambda f, i: (f[f.columns[::-1]], i), "columns certified_radius_nominal"),
    "the columns of an attack": (CERTIFY, lambda f, i: (f[["sample"]].assign(eps=0.1), i), "columns sample, eps"),
    **{
        f"a bound of {bound}": (CERTIFY, with_info(lipschitz_bound=bound), "Lipschitz bound")
        for bound in (np.nan, np.inf, -1.0, None, "1", True)
    },
    "another claim than the card's": (CERTIFY, with_info(claimed=2.0), "claimed is 2.0, expected 1.0"),
    "a claim confirmed that is not": (CERTIFY, with_info(lipschitz_bound=1.1), "claim_confirmed is True"),
    "a claim confirmed beyond the tolerance": (CERTIFY, with_info(lipschitz_bound=1 + 4e-6), "claim_confirmed is True"),
    "a claim not confirmed that is": (CERTIFY, with_info(claim_confirmed=False), "claim_confirmed is False"),
    "fewer passes than samples": (CERTIFY, with_info(forward=19), "forward is 19, below the number of samples"),
    "fewer evaluations than rows": (
        AT_EPS,
        lambda f, i: counted(f.assign(forward=0), i),
        "forward is 0, below the number of attacked rows",
    ),
    "a claim confirmed by half": (CERTIFY, with_info(claim_confirmed=1), "claim_confirmed is 1"),
    "another dtype": (CERTIFY, with_info(dtype="float32"), "dtype is 'float32'"),
    "another dimension": (CERTIFY, with_info(dimension=63), "dimension is 63, expected 64"),
    "not analysed, with radii": (CERTIFY, with_info(not_analysed="overflow"), "certified_radius_float"),
    "negative passes": (CERTIFY, with_info(forward=-1), "forward is -1, no count"),
    "a distance that is none": (
        OPENING,
        lambda f, i: (at(f, first(f, True), adversarial_distance=np.nan), i),
        "adversarial_distance is NaN",
    ),
    "a negative distance": (
        OPENING,
        lambda f, i: (at(f, first(f, True), adversarial_distance=-0.5), i),
        "adversarial_distance is below 0",
    ),
    "a distance beyond the input range": (
        OPENING,
        lambda f, i: (at(f, first(f, True), adversarial_distance=8.1), i),
        "diameter",
    ),
    "a distance without an input": (
        OPENING,
        lambda f, i: (at(f, first(f, True), adversarial_label=-1), i),
        "adversarial_label is -1",
    ),
    "an input without a distance": (
        OPENING,
        lambda f, i: (at(f, first(f, True), adversarial_distance=np.inf), i),
        "adversarial_label is -1",
    ),
    "an adversarial label that is no class": (
        OPENING,
        lambda f, i: (at(f, first(f, True), adversarial_label=10), i),
        "beyond 9",
    ),
    "another label below all": (AT_EPS, lambda f, i: (at(f, first(f, False), adversarial_label=-2), i), "below -1"),
    "the same attack twice": (OPENING, lambda f, i: counted(pd.concat([f, f[:1]]), i), "the same row twice"),
    "an eps of no attack": (OPENING, lambda f, i: (f.assign(eps=0.1), i), "another eps than none"),
    "another eps": (AT_EPS, lambda f, i: (at(f, 0, eps=0.2), i), "another eps than 0.1, 0.4"),
    "an infinite eps": (AT_EPS, lambda f, i: (at(f, 0, eps=np.inf), i), "eps is infinite"),
    "some rows without an eps": (AT_EPS, lambda f, i: (at(f, 0, eps=np.nan), i), "another eps than 0.1, 0.4"),
    "attacked rows of another shard": (AT_EPS, lambda f, i: (at(f, 0, sample=20), i), "outside 0 .. 19"),
    "an audit where nothing is closed": (OPENING, lambda f, i: counted(at(f, 0, audit=True), i), "audited rows"),
    "negative evaluations": (AT_EPS, lambda f, i: counted(at(f, 0, forward=-3), i), "forward is below 0"),
    "evaluations of other rows": (AT_EPS, lambda f, i: (at(f, 0, forward=99), i), "forward is"),
    "rows that were dropped": (AT_EPS, lambda f, i: (f[1:], i), "attacked is"),
    "audits that were dropped": (AT_EPS, lambda f, i: (f, i | {"audited": 99}), "audited is 99"),
    "a count that is none": (AT_EPS, with_info(backward=None), "backward is None, no count"),
}
BESIDE = {  # each makes sense by itself
    "an attack on what is misclassified": (CERTIFY, lambda f, i: (misclassified(f), i), OPENING, "are misclassified"),
    "its own label": (
        OPENING,
        lambda f, i: (at(f, 0, adversarial_label=4), i),  # the label of the first sample
        OPENING,
        "the sample's own label",
    ),
    "an opening that left samples out": (OPENING, lambda f, i: counted(f[1:], i), OPENING, "rows are missing: 1"),
    "an open sample that was not attacked": (
        AT_EPS,
        lambda f, i: counted(f.drop(index=f.index[first(f, False)]), i),
        AT_EPS,
        "rows are missing: 1",
    ),
    "an eps that was not attacked": (AT_EPS, lambda f, i: counted(f[f["eps"] != 0.4], i), AT_EPS, "rows are missing"),
    "an audit of what is open": (
        AT_EPS,
        lambda f, i: counted(at(f, first(f, False), audit=True), i),
        AT_EPS,
        "their certificate does not close",
    ),
    "labels of other data": (CERTIFY, lambda f, i: (relabelled(f), i), CERTIFY, "labels differ from those of the test"),
}


def misclassified(frame):
    """The first correct sample is not any more."""
    row = int(np.flatnonzero(frame["label"] == frame["prediction"])[0])
    nothing = dict.fromkeys(RADII, 0.0)
    return at(frame, row, prediction=(frame["label"][row] + 1) % 10, signed_margin=-0.1, **nothing)


def relabelled(frame):
    row = wrong(frame)
    return at(frame, row, label=min({0, 1, 2} - {frame["label"][row], frame["prediction"][row]}))


@pytest.fixture
def changed(request, whole, unconstrained, tmp_path):
    """A run in which one unit was changed, and its units."""
    place, change, *_ = request.param
    folder = copy_of(whole if place == CERTIFY else unconstrained, tmp_path / "run")
    units = list(folder.read().units())
    rewrite(folder, units[place], *change(*loaded(folder, units[place])))
    return folder, units


@pytest.mark.parametrize(
    ("changed", "place", "reason"),
    [(case, case[0], case[2]) for case in CONTRADICTIONS.values()],
    ids=CONTRADICTIONS,
    indirect=["changed"],
)
def test_a_record_that_contradicts_itself_is_refused_and_removed(changed, place, reason, capsys):
    folder, units = changed
    with pytest.raises(DamagedError, match=re.escape(reason)):
        folder.load(units[place])
    assert cli.run(["report", str(folder.path)]) == 2
    shown = capsys.readouterr().err
    assert reason in shown
    assert shown.count("\n") == 1
    folder.mend(folder.read())
    assert [unit.name for unit in folder.missing(folder.read())] == [units[place].name]


@pytest.mark.parametrize(
    ("changed", "refused", "reason"),
    [(case, case[2], case[3]) for case in BESIDE.values()],
    ids=BESIDE,
    indirect=["changed"],
)
def test_a_record_that_contradicts_what_came_before_it_is_refused(changed, refused, reason, digits, caplog):
    folder, units = changed
    assert [unit for unit in units if folder.damage(unit)] == []
    if refused != CERTIFY:  # nothing but the data tells which labels are true
        with pytest.raises(DamagedError, match=reason):
            results.load(folder)
    folder.mend(folder.read(), digits.test.labels)
    assert reason in caplog.records[0].getMessage()
    assert [unit.name for unit in folder.missing(folder.read())][:1] == [units[refused].name]


def test_what_was_refused_is_computed_again_as_it_was(unconstrained, tmp_path, digits_zoo, digits, caplog):
    folder = copy_of(unconstrained, tmp_path / "run")
    units = list(folder.read().units())
    for place, what in ((CERTIFY, "infinite certified_radius_real"), (OPENING, "a distance that is none")):
        rewrite(folder, units[place], *CONTRADICTIONS[what][1](*loaded(folder, units[place])))
    rewrite(folder, units[AT_EPS], *BESIDE["an eps that was not attacked"][1](*loaded(folder, units[AT_EPS])))
    run(digits_zoo / UNCONSTRAINED, folder.path, digits, suite=TINY, samples=30, shard=20)
    assert sum(record.levelname == "WARNING" for record in caplog.records) == 3
    assert same(folder, unconstrained)


def test_the_tolerance_of_claims_is_that_of_certificates():
    assert checks.CONFIRMED == 1 + CLAIM_TOLERANCE


def test_another_units_file_is_refused(copied, whole):
    """Under each unit's name lies the file of each other unit."""
    units = list(copied.read().units())
    for place, unit in enumerate(units):
        for other in range(len(units)):
            path_of(copied, place).write_bytes(path_of(whole, other).read_bytes())
            assert (copied.damage(unit) is None) == (other == place)
        path_of(copied, place).write_bytes(path_of(whole, place).read_bytes())


def test_a_false_certificate_is_a_finding_and_no_contradiction(copied):
    unit = next(copied.read().units())
    frame, info = loaded(copied, unit)
    correct = frame["label"] == frame["prediction"]
    rewrite(copied, unit, frame.assign(**dict.fromkeys([*RADII, "signed_margin"], np.where(correct, 7.9, 0.0))), info)
    factors = next(each for each in copied.read().units() if each.kind == "factors")
    frame, info = loaded(copied, factors)
    rewrite(copied, factors, frame.assign(margin=8.0 * frame["pairwise_bound"]), info)
    copied.mend(copied.read())
    assert copied.missing(copied.read()) == []
    assert results.load(copied)[0].bounds.violations().sum() == correct.sum()


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
    take = lease.json.dumps

    def full(*args, **kwargs):
        nonlocal room
        room -= isinstance(args[0], dict) and "token" in args[0]
        if room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return take(*args, **kwargs)

    monkeypatch.setattr(lease.json, "dumps", full)


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
    if (folder.path / RUN).exists():
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


def test_the_radii_of_a_constant_network_end_at_the_diameter_of_the_input_range(zoo_of, tmp_path, digits):
    """No input lies further away; a record with an infinite radius would be refused."""
    model = zoo_of(TAU4) / TAU4
    state = safetensors.torch.load((model / cards.WEIGHTS).read_bytes())
    data = safetensors.torch.save({name: tensor * ("bias" in name) for name, tensor in state.items()})
    (model / cards.WEIGHTS).write_bytes(data)
    cards.write(model, cards.read(model).model_copy(update={"weights_sha256": files.sha256_bytes(data)}))
    folder = run(model, tmp_path / "run", digits, suite=TINY, samples=30, shard=20)
    frame, info = loaded(folder, next(folder.read().units()))
    assert info["lipschitz_bound"] == 0
    correct = frame["label"] == frame["prediction"]
    assert correct.any()
    assert frame.loc[correct, "certified_radius_real"].tolist() == [8.0] * correct.sum()
    bounds = results.load(folder)[0].bounds
    assert (bounds.certified(0.4) == bounds.correct).all()
