"""Files of others: whatever lies in a folder that lipbench is given, only what lipbench made is removed or replaced."""

import json
import os
import re
import shutil
import time

import pytest
import torch
from bundled import TAU4
from running import TINY, run, write_suite

from lipbench import cli, data
from lipbench._internal import files
from lipbench._internal.processes import Owner, machine
from lipbench.errors import LipbenchError
from lipbench.models.cards import RECIPE
from lipbench.report import style
from lipbench.runs.folder import RunFolder
from lipbench.runs.journal import Journal
from lipbench.training import recipes, sweep
from lipbench.training.checkpoint import UNFINISHED, lease_name
from lipbench.training.zoo_folder import LEASES
from lipbench.verification import witness
from lipbench.work import lease
from lipbench.work.execution import Execution

DEAD = 2**22 + 1  # above any pid_max of Linux
LEASE = {"machine": machine(), "pid": DEAD, "started": "1", "token": "theirs"}
SWEEP = (
    'data = "digits"\nseeds = [0]\n[training]\nepochs = 1\nbatch_size = 256\n[[architecture]]\nname = "mlp"\n'
    'args = { widths = [4] }\n[[loss]]\nname = "kr_multiclass"\n'
)
MODEL = "mlp-kr_multiclass-seed0"


def abandoned(name: str) -> str:
    """What a process that was killed called its half-written file."""
    return f"{files.TEMPORARY}{name}-{machine()}-{DEAD}-0123abcd"


def put(path, content: str = "mine", age: float = 7200.0):
    """A file that was not touched for two hours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    os.utime(path, (time.time() - age,) * 2)
    return path


def tree(folder) -> dict[str, object]:
    """Everything in a folder: the bytes of files, the targets of links; None for folders and pipes."""
    found = {}
    for path in sorted(folder.rglob("*")):
        plain = path.is_file() and not path.is_symlink()
        found[str(path.relative_to(folder))] = (
            path.read_bytes() if plain else os.readlink(path) if path.is_symlink() else None
        )
    return found


@pytest.fixture
def place(tmp_path, zoo_of, monkeypatch):
    """A folder with a zoo of one model, a suite and a recipe; leases run out at once."""
    zoo_of(TAU4)
    write_suite(tmp_path / "tiny.toml", TINY)
    (tmp_path / "sweep.toml").write_text(SWEEP)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setattr(lease, "LEASE", 0.0)
    monkeypatch.setattr(style, "encode", lambda figure, kind: b"a picture")
    return tmp_path


def evaluate(place, out, *options: str) -> int:
    words = ["evaluate", place / "zoo", "--suite", place / "tiny.toml", "--samples", "5", "-q", "-o", out, *options]
    return cli.run([str(word) for word in words])


def train(place, out, recipe: str = "sweep.toml") -> int:
    return cli.run(["train", str(place / recipe), "-o", str(out), "-q"])


def refused(capfd, named: str) -> None:
    err = capfd.readouterr().err
    assert err.startswith("lipbench: ")
    assert err.count("\n") == 1, err
    assert re.search(named, err), err


# What may lie in a folder beside, or instead of, what lipbench makes there; the last word is where the line points to.
FOREIGN = {
    "a file": lambda out, aside: put(out / "thesis.tex"),
    "a name that begins like a temporary one": lambda out, aside: put(out / f"{files.TEMPORARY}draft"),
    "a link called like a temporary file": lambda out, aside: (out / abandoned("x")).symlink_to(aside),
    "a folder": lambda out, aside: put(out / "chapters" / "one.tex"),
    "a pipe": lambda out, aside: os.mkfifo(out / "pipe"),
}
INSTEAD_OF_A_RUN = {
    **FOREIGN,
    "records of something else": lambda out, aside: put(out / "records" / "2023.parquet"),
    "witnesses of something else": lambda out, aside: put(out / "witnesses" / "statement.txt"),
    "a journal of something else": lambda out, aside: put(out / "journal" / "monday.jsonl"),
    "leases of something else": lambda out, aside: put(out / "leases" / "notes.2023"),
    "a lease called like ours": lambda out, aside: put(out / "leases" / "run.0"),
    "a folder called like a lease": lambda out, aside: (out / "leases" / "run.0").mkdir(parents=True),
    "a pipe called like a lease": lambda out, aside: (out / "leases").mkdir() or os.mkfifo(out / "leases" / "run.0"),
    "a file called leases": lambda out, aside: put(out / "leases"),
    "a link to records": lambda out, aside: (out / "records").symlink_to(aside),
    "a link to leases": lambda out, aside: (out / "leases").symlink_to(aside),
    "a run.json of something else": lambda out, aside: put(out / "run.json", "{}"),
    "a run.json that is none": lambda out, aside: put(out / "run.json", "to run: json"),
    "a list called run.json": lambda out, aside: put(out / "run.json", "[]"),
    "a folder called run.json": lambda out, aside: (out / "run.json").mkdir(),
    "a link called run.json that leads nowhere": lambda out, aside: (out / "run.json").symlink_to("nowhere"),
    "a pipe called run.json": lambda out, aside: os.mkfifo(out / "run.json"),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("what", INSTEAD_OF_A_RUN)
def test_an_evaluation_refuses_a_folder_of_others_and_leaves_it_as_it_is(what, place, capfd):
    out = place / "out"
    out.mkdir()
    put(place / "elsewhere" / abandoned("x.parquet"))
    put(out / abandoned("run.json"))  # of ours or not: the folder is not
    INSTEAD_OF_A_RUN[what](out, place / "elsewhere")
    before = tree(place)
    assert evaluate(place, out) == 2
    refused(capfd, "out")
    assert tree(place) == before


def beside(folders: list[str], out) -> None:
    """Files of others in all folders."""
    for folder in (out, *(out / name for name in folders)):
        put(folder / ".tmp-draft")
        put(folder / f".tmp-x-{machine()}-{DEAD}-0123abcd")  # of another program, or another version
        put(folder / f"{files.TEMPORARY}draft")
        put(folder / f"{files.TEMPORARY}x-{machine()}-{DEAD}-0123abcd.bak")
        put(folder / f"{files.TEMPORARY}x-{machine()}-²-0123abcd")
        put(folder / "notes.2023")
        put(folder / "notes.²")
        put(folder / "7.07", json.dumps(LEASE))
        (folder / abandoned("link")).symlink_to(out.parent / "elsewhere")
        (folder / f"folder.{len(folder.parts)}").mkdir()
        put(folder / f"folder.{len(folder.parts)}" / "notes.2023")
        os.mkfifo(folder / "pipe.1")


def kept(before: dict[str, object], after: dict[str, object]) -> bool:
    return all(name in after and after[name] == content for name, content in before.items())


def test_files_of_others_in_a_run_folder_stay_as_they_are(place):
    out = place / "out"
    assert evaluate(place, out) == 0
    beside(["records", "witnesses", "leases", "journal", "report"], out)
    put(place / "elsewhere" / "precious")
    before = tree(out)
    ours = [put(out / name / abandoned("x"), "half") for name in (".", "records", "witnesses")]
    left = put(out / "leases" / "gone.0", json.dumps(LEASE))
    assert evaluate(place, out) == 0
    assert kept(before, tree(out))
    assert not any(path.exists() for path in (*ours, left))
    assert evaluate(place, out, "--seed", "0", "--seed", "1") == 0
    now = tree(out)
    changed = {name for name, content in before.items() if now.get(name) != content}
    assert all(name == "run.json" or name.startswith(("report/", "journal/")) for name in changed)
    assert now["report/notes.2023"] == b"mine"
    assert tree(place / "elsewhere") == {"precious": b"mine"}
    RunFolder(out).journal.entries()  # can be read


@pytest.mark.parametrize("name", ["records", "witnesses", "leases", "journal"])
def test_links_in_a_run_folder_are_not_followed(name, place, capfd):
    out, aside = place / "out", place / "elsewhere"
    assert evaluate(place, out) == 0
    shutil.rmtree(out / name)
    (out / name).symlink_to(aside)
    put(aside / abandoned("x.parquet"))
    put(aside / "gone.0", json.dumps(LEASE))
    before = tree(aside)
    capfd.readouterr()
    assert evaluate(place, out, "--seed", "0", "--seed", "1") == 2
    refused(capfd, rf"{name}: it is a symbolic link")
    assert tree(aside) == before


def test_the_folder_itself_may_be_a_link(place):
    (place / "out").symlink_to(place / "elsewhere")
    assert evaluate(place, place / "out") == 0
    assert (place / "elsewhere" / "run.json").is_file()
    (place / "zoo2").symlink_to(place / "elsewhere2")
    (place / "elsewhere2").mkdir()
    assert train(place, place / "zoo2") == 0
    assert (place / "elsewhere2" / MODEL).is_dir()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_what_is_no_file_is_not_taken_for_a_record(kind, place, capfd):
    out = place / "out"
    assert evaluate(place, out) == 0
    record = next((out / "records").iterdir())
    record.unlink()
    target = put(place / "elsewhere" / "precious")
    if kind == "link":
        record.symlink_to(target)
    elif kind == "folder":
        put(record / "precious")
    else:
        os.mkfifo(record)
    before = tree(place / "out")
    capfd.readouterr()
    assert evaluate(place, out) == 2
    refused(capfd, record.name)
    assert tree(out) == before
    assert target.read_text() == "mine"


OTHER = SWEEP.replace("seeds = [0]", "seeds = [1]")
INSTEAD_OF_A_ZOO = {
    **FOREIGN,
    "leases of something else": lambda out, aside: put(out / LEASES / "notes.2023"),
    "half a training of something else": lambda out, aside: put(out / UNFINISHED / "week 3.pdf"),
    "a link to leases": lambda out, aside: (out / LEASES).symlink_to(aside),
    "a link to half a training": lambda out, aside: (out / UNFINISHED).symlink_to(aside),
    "a run": lambda out, aside: put(out / "run.json", "{}"),
    "a recipe for bread": lambda out, aside: put(out / RECIPE, 'name = "bread"\nflour = 500\n'),
    "a recipe that is no TOML": lambda out, aside: put(out / RECIPE, "500 g flour"),
    "a recipe that is no text": lambda out, aside: (out / RECIPE).write_bytes(b"\xff\xfe"),
    "a folder called recipe.toml": lambda out, aside: (out / RECIPE).mkdir(),
    "a pipe called recipe.toml": lambda out, aside: os.mkfifo(out / RECIPE),
    "a link called recipe.toml that leads nowhere": lambda out, aside: (out / RECIPE).symlink_to("nowhere"),
    "another recipe": lambda out, aside: put(out / RECIPE, OTHER),
    "a shorter recipe": lambda out, aside: put(out / RECIPE, SWEEP.replace("seeds = [0]", "seeds = [0, 1]")),
    "a file called like a model": lambda out, aside: put(out / MODEL),
    "an empty folder called like a model": lambda out, aside: (out / MODEL).mkdir(),
    "a folder called like a model": lambda out, aside: put(out / MODEL / "card.toml", "[model]"),
    "a link called like a model that leads nowhere": lambda out, aside: (out / MODEL).symlink_to("nowhere"),
    "a link called like a model": lambda out, aside: (out / MODEL).symlink_to(aside),
}


BESIDE_THE_RECIPE = [
    "a link to leases",
    "a link to half a training",
    *(name for name in INSTEAD_OF_A_ZOO if "called like a model" in name),
]


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("what", "recipe"), [*((what, False) for what in INSTEAD_OF_A_ZOO), *((what, True) for what in BESIDE_THE_RECIPE)]
)
def test_training_refuses_a_folder_of_others_and_leaves_it_as_it_is(what, recipe, place, capfd):
    out = place / "out"
    out.mkdir()
    put(place / "elsewhere" / abandoned("x.pt"))
    if not recipe:
        put(out / abandoned(MODEL))
    INSTEAD_OF_A_ZOO[what](out, place / "elsewhere")
    if recipe:  # which makes it a zoo
        put(out / RECIPE, SWEEP)
    before = tree(place)
    assert train(place, out) == 2
    refused(capfd, "out")
    assert tree(place) == before


def test_files_of_others_in_a_zoo_stay_as_they_are(place):
    out = place / "out"
    assert train(place, out) == 0
    beside([LEASES, UNFINISHED, MODEL], out)
    before = tree(out)
    ours = [put(out / name / abandoned("x"), "half") for name in (".", UNFINISHED)]
    half = put(out / abandoned(MODEL) / "card.toml", "half").parent
    left = put(out / LEASES / "gone.0", json.dumps(LEASE))
    assert train(place, out) == 0
    assert tree(out) == before
    assert not any(path.exists() for path in (*ours, half, left))
    shutil.rmtree(out / MODEL)
    assert train(place, out) == 0
    assert kept({name: content for name, content in before.items() if not name.startswith(MODEL)}, tree(out))


def test_half_trained_models_are_removed_by_their_whole_names(place):
    out = place / "out"
    assert train(place, out) == 0
    name = lease_name(recipes.load(place / "sweep.toml").training_jobs()[0])
    others = [put(out / UNFINISHED / f"{name}-{rest}") for rest in ("notes.txt", "0123456789abcdef.pt.bak")]
    ours = [put(out / UNFINISHED / f"{name}-0123456789abcdef.{kind}") for kind in ("pt", "json")]
    assert train(place, out) == 0
    assert all(path.exists() for path in others)
    assert not any(path.exists() for path in ours)


def test_a_zoo_has_one_recipe(place, capfd):
    """The one that made it: another is refused, and says what to do. One that says the same is no other one."""
    out = place / "out"
    assert train(place, out) == 0
    (place / "other.toml").write_text(OTHER)
    before = tree(out)
    capfd.readouterr()
    assert train(place, out, "other.toml") == 2
    refused(capfd, r"was made from another recipe \(.* there, .* here\): train into another folder with -o")
    assert tree(out) == before
    (place / "same.toml").write_text(f"# said in other words\n{SWEEP}")
    assert train(place, out, "same.toml") == 0
    assert tree(out) == before
    (out / RECIPE).unlink()  # the way out
    assert train(place, out, "other.toml") == 0
    assert (out / RECIPE).read_text() == OTHER
    assert {path.name for path in out.glob("mlp*")} == {MODEL, MODEL.replace("seed0", "seed1")}


def test_a_recipe_may_lie_in_its_zoo(place):
    out = place / "out"
    put(out / RECIPE, SWEEP)
    put(out / "README.md")
    assert cli.run(["train", str(out / RECIPE), "-o", str(out), "-q"]) == 0
    assert {path.name for path in out.iterdir()} == {RECIPE, "README.md", MODEL, LEASES}


def test_the_recipe_that_is_kept_is_the_one_that_was_read(place, digits, monkeypatch):
    """It may be edited while the models train."""
    load = data.load

    def edited(*args):
        (place / "sweep.toml").write_text(OTHER)
        return load(*args)

    monkeypatch.setattr(sweep, "check", lambda *args: edited("digits"))
    sweep.train(place / "sweep.toml", place / "out", digits, Execution("cpu"), progress=False)
    assert (place / "out" / RECIPE).read_text() == SWEEP
    assert {path.name for path in (place / "out").glob("mlp*")} == {MODEL}


def test_a_lease_of_something_else_is_never_removed(tmp_path, monkeypatch):
    """Nor mistaken for a lease on a name that some process works on."""
    monkeypatch.setattr(lease, "LEASE", 0.0)
    folder = tmp_path / "leases"
    contents = ["mine", "{}", json.dumps([LEASE]), json.dumps({**LEASE, "pid": "1"}), json.dumps({"pid": 1})]
    contents.append(json.dumps({key: value for key, value in LEASE.items() if key != "token"}))
    for number, content in enumerate(contents):
        put(folder / f"notes.{number}", content)
    put(folder / "notes.02", json.dumps(LEASE))
    put(folder / "empty.2023", "")  # of a name that no process works on
    before = tree(folder)
    mine = lease.Leases(folder)
    mine.tidy()
    assert tree(folder) == before
    held = mine.acquire("notes")
    assert held.held
    held.release()
    assert tree(folder) == before


@pytest.mark.timeout(60)
def test_journals_are_written_to_files_of_their_own(tmp_path):
    me, target = Owner.me(), put(tmp_path / "elsewhere")
    path = tmp_path / "journal" / f"{me.machine}-{me.pid}-{me.started}.jsonl"
    path.parent.mkdir()
    for make in (lambda: path.symlink_to(target), lambda: os.mkfifo(path), lambda: path.mkdir()):
        make()
        with pytest.raises(LipbenchError, match=r"cannot write .*jsonl"):
            Journal(path.parent).add("a", "certify", "m", 1, 0.0)
        assert Journal(path.parent).entries() == []
        path.rmdir() if path.is_dir() else path.unlink()
    assert target.read_text() == "mine"


@pytest.mark.timeout(60)
def test_only_files_are_replaced(tmp_path):
    """What is behind a link, in a folder or at the other end of a pipe is not what a write is about."""
    target, path = put(tmp_path / "elsewhere"), tmp_path / "out" / "name"
    path.parent.mkdir()
    for make in (lambda: path.symlink_to(target), lambda: os.mkfifo(path), lambda: path.mkdir()):
        make()
        before = tree(tmp_path)
        with pytest.raises(LipbenchError, match=r"cannot write .*name: .* is there"):
            files.write_bytes(path, b"new")
        assert tree(tmp_path) == before
        path.rmdir() if path.is_dir() else path.unlink()


def test_a_witness_takes_the_place_of_one_of_the_same_model_only(tmp_path):
    def save(digest: str, value: float):
        x = torch.full((1, 1, 2, 2), value)
        line = witness.Witness("lipschitz", "m", "zoo/m", digest, "nominal", "float64", 1)
        return witness.save(tmp_path / "m-lipschitz-nominal.safetensors", line, {"x": x, "z": 1 - x})

    put(tmp_path / "m-lipschitz-nominal.json", '{"mine": true}')
    put(tmp_path / "m-lipschitz-nominal-2.safetensors")
    first = save("a", 0.25)
    assert first.name == "m-lipschitz-nominal-3.safetensors"
    assert (tmp_path / "m-lipschitz-nominal.json").read_text() == '{"mine": true}'
    assert (tmp_path / "m-lipschitz-nominal-2.safetensors").read_text() == "mine"
    assert save("a", 0.75) == first
    assert (witness.load(first)[1]["x"] == 0.75).all()
    other = save("b", 0.125)
    assert other.name == "m-lipschitz-nominal-4.safetensors"
    assert witness.load(first)[0].digest == "a"
    assert witness.load(other)[0].digest == "b"


def test_a_run_that_appears_while_it_is_looked_for_is_joined(place, zoo_of, digits, monkeypatch):
    """Whoever comes second may look for ``run.json`` too early, and into the folder when the first one is at work."""
    out = place / "out"
    whole = run(place / "zoo", out, digits, suite=TINY, samples=5)
    held, looked = out / "run.json", []
    content = held.read_bytes()
    exists = os.path.lexists

    def late(path):
        if str(path) == str(held) and not looked:
            looked.append(path)
            return False
        return exists(path)

    monkeypatch.setattr(os.path, "lexists", late)
    run(place / "zoo", out, digits, suite=TINY, samples=5)
    assert looked
    assert held.read_bytes() == content
    assert not whole.missing(whole.read())
