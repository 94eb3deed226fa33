"""``lipbench status``: what is done, who works, and how long the rest takes, on folders made by hand."""

import json
import os

import pytest
from running import SMALL, rewrite

from lipbench import cli
from lipbench.attacks import suites
from lipbench.errors import LipbenchError
from lipbench.evaluation.evaluate import plan_suite
from lipbench.models.cards import digest_of
from lipbench.runs import status
from lipbench.runs.failures import Failure
from lipbench.runs.folder import RunFolder
from lipbench.runs.journal import Entry
from lipbench.runs.plans import ModelEntry, Run

SETTINGS = {"samples": 50, "shard": 20}
MODELS = tuple(ModelEntry(name, {"name": name}, digest_of({"name": name})) for name in "ab")
KINDS = [
    "certify",
    "gradient/bisection",
    "art/fgm",
    "autoattack/apgd-ce",
    "box",
    "factors",
]  # of SMALL, in the order of work


@pytest.fixture
def folder(tmp_path):
    """A run of two models and three shards, 36 units, nothing done."""
    found = RunFolder(tmp_path / "run")
    found.open(Run(SETTINGS, MODELS, (plan_suite(SMALL),)))
    return found


def finish(folder: RunFolder, units, seconds: float = 2.0) -> None:
    for unit in units:
        rewrite(folder, unit, {"sample": [0]}, {})
        folder.journal.add(unit.name, unit.kind, unit.model, unit.shard.size, seconds)


def units_of(folder: RunFolder) -> list:
    return list(folder.read().units())


def leased(folder: RunFolder, place: int, content=None):
    """A lease on the task at this place; by another machine if ``content`` says so."""
    run = folder.read()
    tasks = [run.certify_unit(model, shard).name for model in run.models for shard in run.shards]
    if content is None:
        return folder.leases.acquire(tasks[place])
    return (folder.leases.folder / f"{tasks[place]}.0").write_text(json.dumps(content))


def shown(folder: RunFolder, capsys) -> list[str]:
    assert cli.run(["status", str(folder.path)]) == 0
    return capsys.readouterr().out.splitlines()


def test_nothing_done(folder, capsys):
    lines = shown(folder, capsys)
    assert lines[0] == f"{folder.path}: 0 of 36 units done (0 %)"
    assert [line.split() for line in lines[1:7]] == [[kind, "0", "of", "6"] for kind in KINDS]
    assert lines[7:] == [
        "running: no process",
        "left: 36 units, no estimate yet",
        "no process works on this run, or workers are just starting: rerun the same `lipbench evaluate` to resume",
    ]


def test_models_that_failed_are_named_and_their_units_not_counted(folder, capsys):
    finish(folder, [unit for unit in units_of(folder) if unit.model == "b"])
    folder.failures.add(Failure("a", "the network's forward failed on 20 inputs: KeyError: 3"))
    lines = shown(folder, capsys)
    assert lines[0] == f"{folder.path}: 18 of 18 units done (100 %)"
    assert lines[7] == "a left out: the network's forward failed on 20 inputs: KeyError: 3"
    assert lines[-1].startswith("nothing is left: ")
    assert lines[-1].endswith("rerun `lipbench evaluate` to try again what was left out")
    folder.failures.add(Failure("b", "no attack runs on it"))
    assert shown(folder, capsys)[0] == f"{folder.path}: 0 of 0 units done (100 %)"
    with pytest.raises(LipbenchError, match=r"^none of 2 models could be evaluated: a: .* KeyError: 3; b: no attack"):
        folder.evaluated()


def test_half_done(folder, capsys):
    finish(folder, units_of(folder)[:9])  # the first shard of a, and half of its second
    lines = shown(folder, capsys)
    assert lines[0] == f"{folder.path}: 9 of 36 units done (25 %)"
    assert [line.split() for line in lines[1:7]] == [
        [kind, str(done), "of", "6"] for kind, done in zip(KINDS, (2, 2, 2, 1, 1, 1), strict=True)
    ]
    # 2 s for 20 samples, of each kind; 27 units are missing, of the 6 tasks' 20, 20, 10, 20, 20, 10 samples
    seconds = 0.1 * (3 * 20 + 6 * (10 + 20 + 20 + 10))
    assert lines[8] == f"left: 27 units, about {seconds:.0f} s"


def test_running_here_and_elsewhere(folder, capsys):
    finish(folder, units_of(folder)[:7], seconds=1000.0)
    mine = leased(folder, 1)
    leased(folder, 3, {"machine": "0123abcd", "pid": 77, "started": "1"})
    leased(folder, 4, {"machine": "0123abcd", "pid": 78})  # being written
    (folder.leases.folder / "run.0").write_text(json.dumps({"machine": "0123abcd", "pid": 79, "started": "1"}))
    lines = shown(folder, capsys)
    assert lines[7].startswith("running: 2; the last unit was finished about ")
    assert lines[7].endswith(" s ago")
    assert sorted(lines[8:10]) == [
        f"  a, samples 20-39: 5 units left (process {os.getpid()}, here)",
        "  b, samples 0-19: 6 units left (process 77, machine 0123abcd)",
    ]
    hours = 50 * (5 * 20 + 6 * (10 + 20 + 20 + 10)) / 2 / 3600
    assert lines[10] == f"left: 29 units, about {hours:.1f} hours"
    assert len(lines) == 11
    mine.release()
    assert shown(folder, capsys)[7].startswith("running: 1;")


def test_a_dead_worker_does_not_run(folder, capsys):
    owner = vars(status.owner_of(leased(folder, 0).path))
    leased(folder, 1, {**owner, "started": "1"})  # another process had the number then
    assert [worker.rows for worker in status.status_of(folder).workers] == [(0, 20)]


def test_finished(folder, capsys):
    finish(folder, units_of(folder))
    lines = shown(folder, capsys)
    assert lines[0] == f"{folder.path}: 36 of 36 units done (100 %)"
    assert lines[-2].startswith("running: no process;")
    assert lines[-1] == "nothing is left: `lipbench report` writes the report"
    assert status.status_of(folder).seconds == 0


def test_one_unit_is_not_several(folder, capsys):
    finish(folder, units_of(folder)[:-1])
    leased(folder, 5)
    lines = shown(folder, capsys)
    assert "samples 40-49: 1 unit left" in lines[8]
    assert lines[9].startswith("left: 1 unit, about")


def test_all_but_one_is_not_100_percent(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.open(Run({"samples": 50, "shard": 1}, MODELS, (plan_suite(SMALL),)))
    state = status.status_of(folder)
    assert state.total == 600
    shown = status.show(status.RunStatus(state.path, 599, 600, state.kinds, (), 5.0, None))
    assert "599 of 600 units done (99 %)" in shown


def test_units_that_suites_share_count_once(tmp_path):
    folder = RunFolder(tmp_path / "run")
    other = suites.parse({**SMALL.plain(), "name": "other"}, "test")
    folder.open(Run(SETTINGS, MODELS, (plan_suite(SMALL), plan_suite(other))))
    assert status.status_of(folder).total == 36
    finish(folder, units_of(folder)[:4])
    assert status.status_of(folder).done == 4


def test_a_record_that_is_half_there_is_not_done(folder):
    unit = units_of(folder)[0]
    finish(folder, [unit])
    path = folder.records / f"{unit.name}.parquet"
    path.write_bytes(path.read_bytes()[:-5])
    assert status.status_of(folder).done == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no run at {path}/run.json: the file does not exist"),
        (lambda path: path.mkdir(), "no run at {path}/run.json: the file does not exist"),
        (
            lambda path: path.mkdir() or (path / "run.json").write_text("{}"),
            "{path}/run.json is not a run of lipbench: ",
        ),
        (lambda path: path.mkdir() or (path / "run.json").write_text("{"), "cannot read the run {path}/run.json: "),
    ],
    ids=["missing", "empty", "something else", "damaged"],
)
def test_no_run(make, message, tmp_path, capsys):
    path = tmp_path / "nowhere"
    make(path)
    before = sorted(tmp_path.rglob("*"))
    assert cli.run(["status", str(path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"lipbench: {message.format(path=path)}")
    assert said.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before  # who only looks makes nothing


def test_the_last_unit_was_finished_a_moment_ago(folder):
    assert status.status_of(folder).last is None
    finish(folder, units_of(folder)[:1])
    assert 0 <= status.status_of(folder).last < 60


def entry(kind: str, model: str, samples: int, seconds: float) -> Entry:
    return Entry("unit", kind, model, samples, seconds, 0.0)


EXPECTED = {  # entries, processes at work -> seconds for the units of the first shard (20 samples) of b
    "nothing is known": ([], 1, None),
    "each kind of this model": (
        [entry(kind, "b", 10, seconds) for kind, seconds in zip(KINDS, (1.0, 2.0, 3.0, 4.0, 5.0, 6.0), strict=True)],
        1,
        2 * (1 + 2 + 3 + 4 + 5 + 6),
    ),
    "another model's, where this one's is not known": (
        [entry("certify", "b", 10, 1.0), *[entry(kind, "a", 10, 5.0) for kind in KINDS]],
        1,
        2 * (1 + 5 * 5),
    ),
    "any kind, where its own is not known": (
        [entry("art/pgd", "c", 5, 1.0), entry("certify", "c", 5, 3.0)],
        1,
        20 * (0.6 + 5 * 0.4),
    ),
    "the mean over samples, not over units": (
        [entry(kind, "b", samples, seconds) for kind in KINDS for samples, seconds in ((1, 5.0), (99, 5.0))],
        1,
        6 * 20 * 0.1,
    ),
    "several at work": ([entry(kind, "b", 10, 6.0) for kind in KINDS], 3, 6 * 2 * 6 / 3),
    "no time at all": ([entry("certify", "b", 0, 0.0)], 1, 0.0),
}


@pytest.mark.parametrize("what", EXPECTED)
def test_expected(what, folder):
    entries, workers, seconds = EXPECTED[what]
    run = folder.read()
    missing = list(run.units_of(run.models[1], run.shards[0]))
    assert status.expected(missing, entries, workers) == (None if seconds is None else pytest.approx(seconds))
    assert status.expected([], entries, workers) == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "no estimate yet"),
        (0.4, "about 0 s"),
        (89, "about 89 s"),
        (91, "about 2 minutes"),
        (5300, "about 88 minutes"),
        (5401, "about 1.5 hours"),
    ],
)
def test_durations(seconds, text, folder):
    state = status.RunStatus("run", 1, 2, {"certify": (1, 2)}, (), seconds, None)
    assert f"left: 1 unit, {text}" in status.show(state)
