"""A package that adds one part of each kind, and its twin in which every part is broken in another way.

Both are in folders beside this file, with a pyproject.toml and tests of their own, and are exposed to other processes
as an editable install would.
"""

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
import tomli_w
from plugins import exposed

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
EXAMPLE, BROKEN = HERE / "plugin_package", HERE / "broken_plugin_package"
pytest.importorskip("orthogonium")

RECIPE = {
    "data": "gratings",
    "seeds": [0],
    "architecture": [
        {"name": "cnn", "layers": "aol", "args": {"channels": [8], "widths": [8]}},
        {"name": "reflections", "layers": "aol", "args": {"width": 16, "depth": 1}},
    ],
    "loss": [{"name": "logistic_margin", "hyperparameters": {"temperature": 0.1}}],
    "training": {"epochs": 5, "batch_size": 50, "learning_rate": 1e-2, "optimizer": "lion"},
}
MODELS = [f"{name}-logistic_margin-temperature0.1-seed0" for name in ("cnn", "reflections")]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("site")
    exposed(place, EXAMPLE)
    return place


def environment(*paths: Path) -> dict[str, str]:
    path = os.pathsep.join(str(path) for path in (ROOT, *paths))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def python(*words: str, paths: tuple[Path, ...], **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, env=environment(*paths), timeout=280, **options
    )


def test_the_packages_own_tests_pass(place, tmp_path):
    options = ("-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(tmp_path))
    ran = python("-m", "pytest", *options, str(EXAMPLE / "tests"), paths=(place,))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "11 passed" in ran.stdout


KILLED = """
import sys, lipbench.training.optimizers
from lipbench.cli import run
sys.exit(run(["train", sys.argv[1], "-o", sys.argv[2], "-q"]))
"""

USED = """
import json, sys
import lipbench
from lipbench.attacks.suites import Suite

zoo, run = sys.argv[1:]
suite = Suite(name="mine", norm="L2", eps=[0.1, 0.5], attack=[{"name": "example/momentum", "args": {"steps": 20}}])
results = lipbench.evaluate(zoo, suite, out=run, executor="apart")
summary = results.summary()
verdict = lipbench.verify(zoo, samples=20, out=run)
lists = {what: lipbench.list(what).set_index("name").origin.to_dict()
         for what in ("architectures", "layers", "losses", "attacks", "datasets", "rules", "optimizers", "executors")}
print(json.dumps({
    "architecture": sorted(set(summary.architecture)),
    "family": sorted(set(summary.family)),
    "violations": int(summary.violations_real.sum()),
    "attacks": sorted(set(results.samples.attack) - {""}),
    "clean": list(summary[summary.eps == 0.1].clean),
    "certified": list(summary[summary.eps == 0.1].certified),
    "passed": verdict.passed,
    "verified": len(verdict.frame()),
    "lists": lists,
    "report": next(path for path in results.report(run + "/report") if path.name == "report.md").read_text(),
}))
"""


def test_a_zoo_of_its_parts_survives_a_kill_is_evaluated_and_verified(place, tmp_path):
    recipe, zoo, whole = tmp_path / "recipe.toml", tmp_path / "zoo", tmp_path / "whole"
    recipe.write_text(tomli_w.dumps(RECIPE))
    killed = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(recipe), str(zoo)], env=environment(place), stderr=subprocess.PIPE
    )
    _await_epoch(zoo / ".training", killed)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (zoo / MODELS[0]).exists()
    left = [json.loads(path.read_text())["epoch"] for path in (zoo / ".training").glob("*.json")]
    assert left, "nothing was left to resume from"
    for folder in (zoo, whole):
        ran = python("-c", KILLED, str(recipe), str(folder), paths=(place,))
        assert ran.returncode == 0, ran.stderr
    for model in MODELS:
        weights = [(folder / model / "weights.safetensors").read_bytes() for folder in (zoo, whole)]
        assert weights[0] == weights[1], f"{model} was resumed to other weights"
    card = (zoo / MODELS[0] / "card.toml").read_text()
    assert 'layers = "aol"' in card
    assert 'lipbench-example = "0.3.0"' in card

    ran = python("-c", USED, str(zoo), str(tmp_path / "run"), paths=(place,))
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout.splitlines()[-1])
    assert found["passed"]
    assert [name.partition("(")[0] for name in found["architecture"]] == ["cnn", "reflections"]
    assert found["family"] == ["logistic_margin"]
    assert found["attacks"] == ["example/momentum"]
    assert found["violations"] == 0
    assert min(found["clean"]) > 0.4
    assert max(found["clean"]) > 0.9
    assert max(found["certified"]) > 0.5
    for word in ("reflections", "example/momentum"):
        assert word in found["report"]
    groups = {group.removeprefix("lipbench."): points for group, points in _points(EXAMPLE).items()}
    for what, points in groups.items():
        for name in points:
            assert found["lists"][what][name] == "lipbench-example 0.3.0"
    assert found["lists"]["losses"]["tau_cross_entropy"] == "bundled"


def _await_epoch(folder: Path, process: subprocess.Popen) -> None:
    """Until the first checkpoint is there, in the middle of the training of the first model."""
    deadline = time.monotonic() + 120
    while not list(folder.glob("*.json")):
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _points(package: Path) -> dict[str, dict[str, str]]:
    return tomllib.loads((package / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]


BREAKS = """
import json, logging, sys, tempfile
import torch
from torch import nn
import lipbench
from lipbench.attacks import base
from lipbench.certification.lipschitz.table import RULES
from lipbench.work import executors

logged = []
class Handler(logging.Handler):
    def emit(self, record):
        logged.append(record.getMessage())
logging.getLogger("lipbench").addHandler(Handler())

bound = lipbench.lipschitz_bound(nn.Linear(4, 4), (4,))
rules = list(logged)
lipbench.lipschitz_bound(nn.Linear(4, 4), (4,))
once = logged == rules
logged.clear()
frames = {what: lipbench.list(what).set_index("name")
          for what in ("architectures", "layers", "losses", "attacks", "datasets", "rules", "optimizers", "executors")}
lists = {what: frame.summary.to_dict() for what, frame in frames.items()}
origin = frames["losses"].origin["tau_cross_entropy"]
listed = list(logged)

RECIPE = {"data": "digits", "seeds": [0], "architecture": [{"name": "mlp", "args": {"widths": [8]}}],
          "loss": [{"name": "cross_entropy"}], "training": {"epochs": 1}}
def train(**changes):
    return lambda: lipbench.train({**RECIPE, **changes}, tempfile.mkdtemp())
USES = {
    "raises": train(architecture=[{"name": "raises"}]),
    "forgets": train(architecture=[{"name": "forgets"}]),
    "aol": train(architecture=[{"name": "mlp", "layers": "aol"}]),
    "words": train(architecture=[{"name": "mlp", "layers": "words"}]),
    "needs_another_package": train(loss=[{"name": "needs_another_package"}]),
    "tau_cross_entropy": train(loss=[{"name": "tau_cross_entropy", "hyperparameters": {"tau": 1}}]),
    "per_sample": train(loss=[{"name": "per_sample"}]),
    "number": lambda: base.named("number"),
    "divides": train(data="divides"),
    "nothing": train(training={"epochs": 1, "optimizer": "nothing"}),
    "exits": lambda: executors.build("exits"),
    "none": lambda: len(train()()),
}
said = {}
for name, use in USES.items():
    try:
        said[name] = use()
    except lipbench.LipbenchError as error:
        said[name] = str(error)
print(json.dumps({"bound": bound, "rules": rules, "once": once, "lists": lists, "origin": origin, "listed": listed,
                  "said": said, "linear": RULES[nn.Linear].__module__,
                  "forgetful": any(getattr(key, "__name__", "") == "Forgetful" for key in RULES)}))
"""
SAID = {
    "raises": "the architecture 'raises' of lipbench-broken 0.0.1 failed: KeyError: 'no such key'",
    "forgets": "the network computes something else when it is loaded again: a layer keeps something that is no tensor",
    "aol": "the set of layers 'aol' has 2 sources: lipbench-broken 0.0.1 (lipbench_broken.parts:words) and "
    "lipbench-example 0.3.0 (lipbench_example.layers:aol); uninstall all but one, or register it under another name",
    "words": "the set of layers 'words' of lipbench-broken 0.0.1 must be a Layers object, or a function without",
    "needs_another_package": "the loss 'needs_another_package' of lipbench-broken 0.0.1 cannot be imported from "
    "lipbench_broken.missing:loss: ModuleNotFoundError: No module named 'a_package_that_nobody_has'",
    "tau_cross_entropy": "the loss 'tau_cross_entropy' has 2 sources: bundled and lipbench-broken 0.0.1 "
    "(lipbench_broken.parts:per_sample)",
    "per_sample": "the loss 'per_sample' of lipbench-broken 0.0.1 must return the mean over the batch, a scalar "
    "tensor; got shape (20,)",
    "number": "the attack 'number' of lipbench-broken 0.0.1 must be a function (model, x, labels, eps) or an Attack, "
    "got 3",
    "divides": "the data set 'divides' of lipbench-broken 0.0.1 failed: ZeroDivisionError: division by zero",
    "nothing": "the optimizer 'nothing' of lipbench-broken 0.0.1 must make a torch.optim.Optimizer, got NoneType",
    "exits": "the executor 'exits' of lipbench-broken 0.0.1 cannot be imported from lipbench_broken.exits:Executor: "
    "SystemExit: 0",
}


def test_each_part_of_the_broken_package_is_named_with_its_reason(place, tmp_path):
    exposed(tmp_path / "site", BROKEN)
    ran = python("-c", BREAKS, paths=(place, tmp_path / "site"))
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout.splitlines()[-1])
    assert found["said"].pop("none") == 1  # work that needs none of them is done
    for name, message in found["said"].items():
        assert SAID[name] in message, name
        assert "\n" not in message
    assert found["said"].keys() == SAID.keys()
    replaces, fails = sorted(found["rules"], reverse=True)
    assert "the set of rules 'replaces' of lipbench-broken 0.0.1 replaces the rule of torch.nn.modules" in replaces
    assert "the set of rules 'fails' of lipbench-broken 0.0.1 failed: RuntimeError: no more rules" in fails
    assert found["once"]
    assert found["bound"] > 0.1
    assert found["linear"].startswith("lipbench.")  # lipbench's own rule
    assert not found["forgetful"]  # a set of rules is registered whole or not at all
    assert found["origin"] == "bundled and lipbench-broken 0.0.1"
    for what, name in {
        "layers": "words", "losses": "needs_another_package", "attacks": "number", "executors": "exits",
    }.items():  # fmt: skip
        assert found["lists"][what][name] == f"cannot be used: {_listed(found, name)}"
    for what, name in {"layers": "aol", "losses": "tau_cross_entropy"}.items():
        assert "2 sources" in found["lists"][what][name]
    assert "the architecture 'raises' of lipbench-broken 0.0.1 failed" in _listed(found, "raises")


def _listed(found: dict, name: str) -> str:
    """The one warning that names it."""
    (line,) = (line for line in found["listed"] if repr(name) in line)
    return line
