"""A user's mistakes: one line on stderr that names what is wrong, status 2, nothing half-written, no traceback."""

import os
import shutil

import numpy as np
import pytest
import safetensors.torch
import torch
from bundled import TAU4

from lipbench import cli
from lipbench._internal import files
from lipbench.attacks import suites
from lipbench.models import cards
from lipbench.models.cards import digest_of
from lipbench.runs.plans import ModelEntry, Run
from lipbench.runs.suite_plans import SuitePlan

SUITE = 'name = "s"\nnorm = "L2"\neps = [0.1]\n[[attack]]\nname = "gradient/bisection"\n'
RECIPE = (
    'data = "digits"\nseeds = [0]\n[training]\nepochs = 1\n[[architecture]]\nname = "mlp"\n'
    '[[loss]]\nname = "kr_multiclass"\n'
)

QUICK = suites.load("quick")
PLAN = SuitePlan(QUICK, (), QUICK.attacks, (QUICK.eps,), (0,))


def reweigh(folder, change) -> None:
    """Change the weights and write a card whose hash fits."""
    state = safetensors.torch.load_file(folder / cards.WEIGHTS)
    change(state)
    data = safetensors.torch.save(state)
    files.write_bytes(folder / cards.WEIGHTS, data)
    cards.write(folder, cards.read(folder).model_copy(update={"weights_sha256": files.sha256_bytes(data)}))


def recard(folder, **update) -> None:
    cards.write(folder, cards.read(folder).model_copy(update=update))


def truncate(path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def suite(w, text):
    (w / "s.toml").write_text(text)
    return f"evaluate {w}/zoo --suite {w}/s.toml"


def recipe(w, text):
    (w / "r.toml").write_text(text)
    return f"train {w}/r.toml -o {w}/out"


def npz(w, **change):
    arrays = {
        "x_train": np.zeros((2, 8, 8), np.uint8),
        "y_train": np.arange(2),
        "x_test": np.zeros((20, 8, 8), np.float32),
        "y_test": np.arange(20) % 10,
    }
    np.savez(w / "d.npz", **{k: v for k, v in {**arrays, **change}.items() if v is not None})
    return f"evaluate {w}/zoo --data npz:{w}/d.npz"


def held_run(w, **change) -> bool:
    """A run folder without records, whose run.json was edited."""
    run = Run({"samples": 3, "shard": 2}, (ModelEntry("a", {"name": "a"}, digest_of({"name": "a"})),), (PLAN,))
    files.make_folder(w / "run")
    files.write_json(w / "run" / "run.json", {**run.plain(), **change})
    return True


def spoil(change):
    """A case that evaluates the zoo after ``change`` to its model's folder."""

    def case(w):
        change(w / "zoo" / TAU4)
        return f"evaluate {w}/zoo"

    return case


CASES = {  # name: (what the user does, given a working folder with a zoo of one model; what the line must name)
    "unknown command": (lambda w: "evalute", "evalute"),
    "unknown option": (lambda w: "evaluate --sweet quick", "--sweet"),
    "unknown suite": (lambda w: f"evaluate {w}/zoo --suite standrd", "did you mean 'standard'"),
    "unknown zoo": (lambda w: "evaluate digit", "the zoos that have a name are digits"),
    "unknown data set": (lambda w: f"evaluate {w}/zoo --data digts", "did you mean 'digits'"),
    "unknown device": (lambda w: f"evaluate {w}/zoo --device gpu", "auto, cpu or cuda"),
    "unknown thing to list": (lambda w: "list loss", "losses"),
    "no such run": (lambda w: f"report {w}/nowhere", "nowhere"),
    "a run that is no run": (lambda w: (w / "run.json").write_text("{}") and f"report {w}", "not a run"),
    "empty zoo": (lambda w: shutil.rmtree(w / "zoo" / TAU4) or f"evaluate {w}/zoo", "no model"),
    "missing card": (
        lambda w: (w / "zoo" / TAU4 / cards.CARD).unlink() or f"verify {w}/zoo/{TAU4}",
        "no model",
    ),
    "missing weights": (spoil(lambda m: (m / cards.WEIGHTS).unlink()), "cannot read the weights"),
    "truncated weights": (spoil(lambda m: truncate(m / cards.WEIGHTS)), "hash on its card"),
    "truncated card": (spoil(lambda m: (m / cards.CARD).write_text("name = ")), "cannot read the card"),
    "card with a misspelt key": (
        spoil(lambda m: (m / cards.CARD).write_text("nme = 'x'\n" + (m / cards.CARD).read_text())),
        "nme",
    ),
    "weights of another architecture": (
        spoil(
            lambda m: recard(m, architecture=cards.Architecture(name="mlp", constrained=True, args={"widths": [32]}))
        ),
        "does not fit the card's architecture",
    ),
    "unknown architecture": (
        spoil(lambda m: recard(m, architecture=cards.Architecture(name="mpl", constrained=True))),
        "did you mean 'mlp'",
    ),
    "NaN weights": (spoil(lambda m: reweigh(m, lambda s: s["1.weight"].fill_(torch.nan))), "NaN"),
    "float16 weights": (
        spoil(lambda m: reweigh(m, lambda s: s.update({"1.bias": s["1.bias"].half()}))),
        "float32",
    ),
    "input range of 0..255": (spoil(lambda m: recard(m, input_range=(0.0, 255.0))), "input_range"),
    "inputs outside the range": (
        lambda w: npz(w, x_test=np.full((20, 8, 8), 7.0, np.float32)),
        r"\[0, 1\]",
    ),
    "NaN inputs": (lambda w: npz(w, x_test=np.full((20, 8, 8), np.nan, np.float32)), "finite|NaN"),
    "wrong number of classes": (lambda w: npz(w, y_test=np.arange(20) % 3), "classes"),
    "wrong image size": (
        lambda w: npz(w, x_train=None, y_train=None, x_test=np.zeros((20, 9, 9), np.uint8)),
        "shape",
    ),
    "empty data": (
        lambda w: npz(w, x_test=np.zeros((0, 8, 8), np.uint8), y_test=np.zeros(0, int)),
        "no samples|empty",
    ),
    "missing array": (lambda w: npz(w, y_test=None), "y_test"),
    "truncated npz": (
        lambda w: npz(w) and (truncate(w / "d.npz") or f"evaluate {w}/zoo --data npz:{w}/d.npz"),
        "d.npz",
    ),
    "missing npz": (lambda w: f"evaluate {w}/zoo --data npz:{w}/none.npz", "none.npz"),
    "missing MNIST": (lambda w: f"evaluate {w}/zoo --data mnist --data-dir {w}/none", "none"),
    "outputs that are not classes": (
        spoil(lambda m: recard(m, architecture=cards.Architecture(name="mlp", constrained=True, args={"outputs": 5}))),
        "10 classes and 5 outputs",
    ),
    "name that leaves the folder": (
        spoil(lambda m: (m / cards.CARD).write_text((m / cards.CARD).read_text().replace(TAU4, "../../x"))),
        "name",
    ),
    "claim in another norm": (
        spoil(lambda m: (m / cards.CARD).write_text((m / cards.CARD).read_text().replace('"L2"', '"L7"'))),
        "norm",
    ),
    "NaN on the card": (
        spoil(lambda m: (m / cards.CARD).write_text((m / cards.CARD).read_text().replace("tau = 4.0", "tau = nan"))),
        "tau",
    ),
    "seed that is too large": (lambda w: f"evaluate {w}/zoo --seed 18446744073709551616", "seed"),
    "the same seed twice": (lambda w: f"evaluate {w}/zoo --seed 3 --seed 3", r"several different ones, got \[3, 3\]"),
    "shards of no samples": (lambda w: f"evaluate {w}/zoo --shard 0", "--shard"),
    "no jobs": (lambda w: f"evaluate {w}/zoo --jobs 0", "--jobs"),
    "unknown executor": (
        lambda w: f"evaluate {w}/zoo --executor dask",
        "unknown executor .dask.: known are local",
    ),
    "an address for processes of this machine": (lambda w: f"evaluate {w}/zoo --address auto", "--executor ray"),
    "suites for different numbers of samples": (
        lambda w: f"evaluate {w}/zoo --suite quick --suite standard",
        "different numbers of samples; choose one with --samples",
    ),
    "the same suite twice": (lambda w: f"evaluate {w}/zoo --suite quick --suite quick", "'quick' is there twice"),
    "the status of no run": (lambda w: f"status {w}/nowhere", "no run at .*nowhere"),
    "a run of another version": (lambda w: held_run(w, format=2) and f"report {w}/run", "format 2, .* evaluate again"),
    "the status of a run of another version": (lambda w: held_run(w, format=2) and f"status {w}/run", "format 2, "),
    "a run without models": (lambda w: held_run(w, models=[]) and f"status {w}/run", "names no model or no suite"),
    "a run without seeds": (
        lambda w: held_run(w, suites=[{**PLAN.plain(), "seeds": []}]) and f"report {w}/run",
        "not a run of lipbench: a suite has no eps or no seed",
    ),
    "a run of another shard size": (
        lambda w: held_run(w, settings={"shard": 7}) and f"evaluate {w}/zoo --out {w}/run",
        "holds a run with other settings",
    ),
    "attack of no steps": (lambda w: suite(w, SUITE + "args = { steps = 0 }\n"), "steps"),
    "attack of no run": (
        lambda w: suite(w, SUITE.replace("bisection", "pgd") + "args = { targets = 0 }\n"),
        "gradient/pgd needs targets or restarts above 0",
    ),
    "attack with NaN": (
        lambda w: suite(
            w, SUITE.replace("gradient", "art").replace("bisection", "pgd") + "args = { step_ratio = nan }\n"
        ),
        "argument 'step_ratio' of art/pgd must be a finite number, at least 1, at most 1000000, got nan",
    ),
    "eps below float32": (lambda w: suite(w, SUITE.replace("[0.1]", "[1e-320]")), "eps"),
    "recipe with an empty list": (lambda w: recipe(w, RECIPE + "hyperparameters = { tau = [] }\n"), "hyperparameters"),
    "recipe with a huge seed": (lambda w: recipe(w, RECIPE.replace("[0]", "[4294967296]")), "seeds"),
    "recipe with the wrong number of channels": (
        lambda w: recipe(w, RECIPE + "[preprocessing]\nmean = [0.1, 0.2]\nstd = [1.0, 1.0]\n"),
        "channels",
    ),
    "adversarial training of another loss": (
        lambda w: recipe(w, RECIPE + "adversarial = { eps = 0.1 }\n"),
        "cross_entropy",
    ),
    "zero eps grid": (lambda w: suite(w, SUITE.replace("[0.1]", "[]")), "eps"),
    "eps of zero": (lambda w: suite(w, SUITE.replace("[0.1]", "[0.0, 0.1]")), "above 0"),
    "empty --eps": (
        lambda w: f"evaluate {w}/zoo --eps ,",
        "lipbench: eps must be a number, .* or several of them, .*, got ','$",
    ),
    "--eps of zero": (
        lambda w: f"evaluate {w}/zoo --eps 0",
        r"lipbench: eps must be a finite number in \[1e-06, 1e\+06\], got 0.0$",
    ),
    "--eps that is no number": (
        lambda w: f"evaluate {w}/zoo --eps a,b",
        "eps must be a number, or text such as '36/255', got 'a'",
    ),
    "suite with a misspelt key": (lambda w: suite(w, SUITE.replace("norm", "nrom")), "nrom"),
    "suite with an unknown norm": (lambda w: suite(w, SUITE.replace("L2", "L3")), "L3"),
    "suite with an unknown library": (
        lambda w: suite(w, SUITE.replace("gradient", "gradent")),
        "did you mean 'gradient/bisection'",
    ),
    "suite with an unknown attack": (
        lambda w: suite(w, SUITE.replace("bisection", "bisect")),
        "did you mean 'gradient/bisection'",
    ),
    "suite with a misspelt argument": (lambda w: suite(w, SUITE + "args = { step = 3 }\n"), "step"),
    "suite that does not exist": (lambda w: f"evaluate {w}/zoo --suite {w}/none.toml", "none.toml"),
    "suite without attacks": (lambda w: suite(w, SUITE.split("[[")[0]), "attack"),
    "no samples": (lambda w: f"evaluate {w}/zoo --samples 0", "samples"),
    "unknown dtype": (lambda w: f"evaluate {w}/zoo --dtype float16", "float64.*float32"),
    "audit above 1": (lambda w: f"evaluate {w}/zoo --audit 2", "audit"),
    "recipe with a misspelt key": (lambda w: recipe(w, RECIPE.replace("seeds", "seed")), "seeds"),
    "recipe with an unknown loss": (
        lambda w: recipe(w, RECIPE.replace("kr_mult", "kr_mlt")),
        "did you mean 'kr_multiclass'",
    ),
    "recipe with a wrong hyperparameter": (
        lambda w: recipe(w, RECIPE + "hyperparameters = { tau = 1 }\n"),
        "tau",
    ),
    "recipe without epochs": (lambda w: recipe(w, RECIPE.replace("epochs = 1", "epochs = 0")), "epochs"),
    "recipe that does not exist": (lambda w: f"train {w}/none.toml -o {w}/out", "none.toml"),
    "a file where a folder should be": (
        lambda w: (w / "f").write_text("") or f"evaluate {w}/zoo --out {w}/f",
        "f is a file: name a",
    ),
}


@pytest.fixture
def workplace(tmp_path, zoo_of):
    """A folder with a zoo of one model."""
    zoo_of(TAU4)
    return tmp_path


@pytest.mark.parametrize("case", CASES)
def test_bad_input(case, workplace, capfd):
    do, named = CASES[case]
    arguments = do(workplace).split()
    if arguments[0] in ("evaluate", "verify") and "--out" not in arguments:
        arguments += ["--out", str(workplace / "out")]
    status = cli.run(arguments)
    captured = capfd.readouterr()
    assert status == 2, captured.err
    assert captured.err.startswith("lipbench: ")
    assert captured.err.count("\n") == 1, captured.err
    assert __import__("re").search(named, captured.err), captured.err
    assert captured.out == ""
    assert not (workplace / "out").exists()


def test_a_folder_that_is_not_writable(workplace, capfd, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    assert cli.run(["evaluate", f"{workplace}/zoo", "-o", f"{workplace}/out"]) == 2
    assert "not writable" in capfd.readouterr().err


def test_a_disk_that_is_full(workplace, capfd):
    """/dev/full answers every write with ENOSPC."""
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    import errno

    from lipbench.runs import folder as records

    original = files.write_bytes

    def full(path, data):
        if path.suffix == ".parquet":
            with files.writing(path), open("/dev/full", "wb", buffering=0) as file:
                file.write(data)
        original(path, data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records.files, "write_bytes", full)
        status = cli.run(["evaluate", f"{workplace}/zoo", "-q", "--samples", "5", "-o", f"{workplace}/out"])
    err = capfd.readouterr().err
    assert status == 2
    assert err.count("\n") == 1
    assert os.strerror(errno.ENOSPC) in err
    assert not list((workplace / "out" / "records").iterdir())
