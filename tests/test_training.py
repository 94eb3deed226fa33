import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch

from lipbench import cards, claims, cli, files, processes, recipes, training, zoo
from lipbench.claims import Claims
from lipbench.data import Dataset, Split
from lipbench.errors import LipbenchError
from lipbench.executors.local import LocalExecutor

RECIPE = """
data = "digits"
seeds = [0, 1]
[training]
epochs = 2
batch_size = 256
[[architecture]]
name = "mlp"
args = { widths = [16] }
[[loss]]
name = "tau_cross_entropy"
hyperparameters = { tau = [4, 16] }
[[loss]]
name = "cross_entropy"
constrained = false
adversarial = { eps = 0.3, steps = 2 }
"""
NAMES = [
    f"mlp-{setting}-seed{seed}"
    for setting in (
        "tau_cross_entropy-tau4",
        "tau_cross_entropy-tau16",
        "cross_entropy-unconstrained-adversarial0.3",
    )
    for seed in (0, 1)
]
PAIR = RECIPE[: RECIPE.rindex("[[loss]]")].replace("tau = [4, 16]", "tau = 4")  # two models, trained in an instant
CPU = torch.device("cpu")


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def pair(tmp_path):
    path = tmp_path / "pair.toml"
    path.write_text(PAIR)
    return path


def weights(folder) -> dict[str, str]:
    return {path.parent.name: files.sha256_bytes(path.read_bytes()) for path in folder.glob(f"*/{cards.WEIGHTS}")}


def contents(folder) -> set[str]:
    return {path.name for path in folder.iterdir()}


def waits(condition) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def claim_name(recipe, number: int) -> str:
    return training._claim_name(recipes.load(recipe).settings()[number])


class Elsewhere:
    """An executor whose tasks arrive pickled, as in another process."""

    def __init__(self):
        self.runs = 0

    def run(self, function, tasks):
        self.runs += 1
        return map(pickle.loads(pickle.dumps(function)), pickle.loads(pickle.dumps(list(tasks))))


def test_the_grid_is_the_product():
    assert [setting.name for setting in recipes.Recipe.model_validate(files.tomllib.loads(RECIPE)).settings()] == NAMES


def test_a_sweep_is_reproducible_and_not_repeated(recipe, tmp_path, digits):
    first = training.train(recipe, tmp_path / "a", digits, device=CPU, progress=False)
    assert [folder.name for folder in first] == NAMES
    state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    training.train(recipe, tmp_path / "b", digits, device=CPU, progress=False)
    assert torch.equal(torch.get_rng_state(), state[0])
    assert (np.random.get_state()[1] == state[1]).all()  # noqa: NPY002
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    assert len(set(weights(tmp_path / "a").values())) == len(NAMES)
    assert training.train(recipe, tmp_path / "a", digits, device=CPU, progress=False) == []
    assert (tmp_path / "a" / cards.RECIPE).read_text() == RECIPE


def test_training_learns(recipe, digits):
    loaded = recipes.load(recipe)
    longer = loaded.model_copy(
        update={"training": loaded.training.model_copy(update={"epochs": 20, "learning_rate": 1e-2})}
    )
    for number in (0, 4):
        module = training.train_one(longer, longer.settings()[number], digits, device=CPU)
        accuracy = (module(torch.from_numpy(digits.test.x)).argmax(1).numpy() == digits.test.labels).mean()
        assert accuracy > 0.8


def test_a_model_of_another_recipe_is_not_taken_for_this_one(recipe, tmp_path, digits):
    training.train(recipe, tmp_path / "a", digits, device=CPU, progress=False)
    recipe.write_text(RECIPE.replace("epochs = 2", "epochs = 3"))
    with pytest.raises(LipbenchError, match="trained in another way"):
        training.train(recipe, tmp_path / "a", digits, device=CPU, progress=False)


def test_preprocessing_is_in_the_card_and_the_claim(recipe, tmp_path, digits):
    recipe.write_text(RECIPE.replace("[training]", "[preprocessing]\nmean = [0.3]\nstd = [0.25]\n[training]"))
    folder = training.train(recipe, tmp_path / "a", digits, device=CPU, progress=False)[0]
    model = zoo.load(folder)
    assert model.card.claimed.constant == 4.0
    assert torch.allclose(model.module[0](torch.full((1, 1, 8, 8), 0.8)), torch.full((1, 1, 8, 8), 2.0))


def test_divergence_is_told(recipe, digits):
    recipe.write_text(RECIPE.replace("batch_size = 256", "batch_size = 256\nlearning_rate = 1e30\noptimizer='sgd'"))
    loaded = recipes.load(recipe)
    setting = next(s for s in loaded.settings() if s.loss_spec.adversarial)
    plain = setting.loss_spec.model_copy(update={"adversarial": None})
    with pytest.raises(LipbenchError, match="learning_rate"):
        training.train_one(loaded, recipes.Setting(setting.spec, plain, {}, 0), digits, device=CPU)


def test_no_training_samples(recipe, tmp_path, digits):
    empty = Split(digits.train.images[:0], digits.train.labels[:0])
    loaded = recipes.load(recipe)
    with pytest.raises(LipbenchError, match="no training samples"):
        training.train_one(loaded, loaded.settings()[0], Dataset("x", empty, digits.test, 10), device=CPU)
    with pytest.raises(LipbenchError, match=r"^the data set 'x' has no training samples"):
        training.train(recipe, tmp_path / "a", Dataset("x", empty, digits.test, 10), device=CPU)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_sweep_leaves_no_half_model_and_goes_on(recipe, tmp_path, digits, kill):
    command = [sys.executable, "-m", "lipbench", "train", str(recipe), "-o", str(tmp_path / "a"), "-q"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "a" / NAMES[0]).exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(kill)
    _, stderr = process.communicate(timeout=60)
    if kill == signal.SIGINT:
        assert process.returncode == 130
        assert stderr.count("\n") == 1
    for folder in cards.model_folders(tmp_path / "a"):
        zoo.load(folder)
    training.train(recipe, tmp_path / "a", digits, device=CPU, progress=False)
    training.train(recipe, tmp_path / "b", digits, device=CPU, progress=False)
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    assert contents(tmp_path / "a") == {*NAMES, cards.RECIPE, training.CLAIMS}
    assert not list((tmp_path / "a" / training.CLAIMS).iterdir())


@pytest.fixture
def shown(monkeypatch):
    """Where the bar was after each of its steps."""
    steps = []

    class Recorder(training.tqdm):
        def update(self, n=1):
            super().update(n)
            if not self.disable:
                steps.append((self.n, self.total, self.unit))

    monkeypatch.setattr(training, "tqdm", Recorder)
    return steps


def test_processes_train_the_same_models_bit_for_bit(pair, tmp_path, digits, shown):
    found = training.train(pair, tmp_path / "a", digits, device=CPU, executor=LocalExecutor(1, 1))
    assert list(dict.fromkeys(shown)) == [(epochs, 4, "epoch") for epochs in (1, 2, 3, 4)]
    shown.clear()
    assert cli.run(["train", str(pair), "-o", str(tmp_path / "b"), "--jobs", "2"]) == 0
    assert list(dict.fromkeys(shown)) == [(models, 2, "model") for models in (1, 2)]
    assert [path.name for path in found] == NAMES[:2]
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    assert [path.name for path in cards.model_folders(tmp_path / "b")] == NAMES[:2]
    assert not list((tmp_path / "b" / training.CLAIMS).iterdir())


def test_workers_load_the_data_themselves_and_know_it_again(pair, tmp_path, digits):
    found = training.train(pair, tmp_path / "a", digits, device=CPU, executor=Elsewhere(), progress=False)
    assert [path.name for path in found] == NAMES[:2]
    changed = Dataset("digits", digits.train.first(500), digits.test, 10)
    with pytest.raises(LipbenchError, match="other data under 'digits'"):
        training.train(pair, tmp_path / "b", changed, device=CPU, executor=Elsewhere(), progress=False)


def test_two_processes_train_each_model_once(pair, tmp_path):
    command = [sys.executable, "-m", "lipbench", "train", str(pair), "-o", str(tmp_path / "a")]
    theirs = Claims(tmp_path / "a" / training.CLAIMS)
    with theirs.holding(claim_name(pair, 0)), theirs.holding(claim_name(pair, 1)):
        both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
        for process in both:
            process.stderr.read(1)  # its bar is there: it has begun, and waits
    printed = [process.communicate(timeout=120)[0].decode() for process in both]
    assert sum(int(text.split(" models trained")[0]) for text in printed) == 2, printed
    assert [process.returncode for process in both] == [0, 0]
    assert contents(tmp_path / "a") == {*NAMES[:2], cards.RECIPE, training.CLAIMS}


def test_a_model_that_another_process_trains_is_left_to_it(pair, tmp_path, digits, monkeypatch, shown):
    monkeypatch.setattr(training, "POLL", 0.01)
    out, found, executor = tmp_path / "a", [], Elsewhere()

    def train():
        found.extend(training.train(pair, out, digits, device=CPU, executor=executor))

    thread = threading.Thread(target=train)
    with Claims(out / training.CLAIMS).holding(claim_name(pair, 0)):
        thread.start()
        waits((out / NAMES[1]).exists)
        time.sleep(0.1)
        assert thread.is_alive()
        assert executor.runs == 1  # no workers are started for nothing
        assert weights(out).keys() == {NAMES[1]}
    thread.join(timeout=60)  # the other process gave up: its model is trained here
    assert [path.name for path in found] == NAMES[:2]

    other = tmp_path / "b"
    with Claims(other / training.CLAIMS).holding(claim_name(pair, 0)):
        found.clear()
        out, thread = other, threading.Thread(target=train)
        thread.start()
        waits((other / NAMES[1]).exists)
        (tmp_path / "a" / NAMES[0]).rename(other / NAMES[0])
    thread.join(timeout=60)  # the other process trained its model
    assert [path.name for path in found] == NAMES[1:2]
    assert shown[-1] == (2, 2, "model")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("executor", [None, Elsewhere()])
def test_the_claim_of_a_silent_machine_ends(pair, tmp_path, digits, monkeypatch, executor):
    monkeypatch.setattr(training, "POLL", 0.01)
    monkeypatch.setattr(claims, "LEASE", 0.3)
    out = tmp_path / "a"
    (out / training.CLAIMS).mkdir(parents=True)
    for name in (claim_name(pair, 0), "7"):  # a model that is missing, and one that is there or of another recipe
        owner = {"machine": "elsewhere", "pid": 1, "started": "1", "token": "other"}
        (out / training.CLAIMS / f"{name}.0").write_text(json.dumps(owner))
    assert len(training.train(pair, out, digits, device=CPU, executor=executor, progress=False)) == 2
    assert not list((out / training.CLAIMS).iterdir())


def test_a_model_that_was_there_first_is_kept(pair, tmp_path, digits):
    """Two processes may train a model, if one was silent for so long that it was taken for gone."""
    recipe = recipes.load(pair)
    setting = recipe.settings()[0]
    modules = [training.train_one(recipe, s, digits, device=CPU) for s in recipe.settings()]
    training._store(tmp_path / "a", recipe, setting, digits, modules[0])
    before = weights(tmp_path)
    training._store(tmp_path / "a", recipe, setting, digits, modules[1])
    assert weights(tmp_path) == before
    assert contents(tmp_path) == {"a", pair.name}


@pytest.mark.parametrize("executor", [LocalExecutor(1, 1), Elsewhere()])
def test_a_model_that_diverges_does_not_stop_the_others(pair, tmp_path, digits, monkeypatch, executor, capsys, shown):
    pair.write_text(PAIR.replace("tau = 4", "tau = [1e39, 4]").replace("seeds = [0, 1]", "seeds = [0]"))
    out, diverging = tmp_path / "a", "mlp-tau_cross_entropy-tau1e+39-seed0"
    message = rf"1 of 2 models.*\. {diverging}: training diverged: .* lower learning_rate".replace("+", r"\+")
    with pytest.raises(LipbenchError, match=message):
        training.train(pair, out, digits, device=CPU, executor=executor)
    assert shown[-1] == ((4, 4, "epoch") if executor == LocalExecutor(1, 1) else (2, 2, "model"))
    capsys.readouterr()
    assert contents(out) == {NAMES[0], cards.RECIPE, training.CLAIMS}
    seen, true = [], training.train_one
    monkeypatch.setattr(training, "train_one", lambda r, s, *a, **k: seen.append(s.name) or true(r, s, *a, **k))
    assert cli.run(["train", str(pair), "-o", str(out), "-q"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert seen == [diverging]


def test_what_killed_processes_left_half_done_is_removed(pair, tmp_path, digits):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    names = [f"{files.TEMPORARY}{NAMES[0]}-{processes.machine()}-{pid}-ab" for pid in (dead.pid, os.getppid())]
    for name in names:
        (tmp_path / "a" / name).mkdir(parents=True)
    training.train(pair, tmp_path / "a", digits, device=CPU, progress=False)
    assert contents(tmp_path / "a") == {*NAMES[:2], cards.RECIPE, training.CLAIMS, names[1]}  # that one is at it
    assert len(cards.model_folders(tmp_path / "a")) == 2


def test_a_killed_worker_is_told_and_the_rerun_goes_on(pair, tmp_path, digits):
    pair.write_text(PAIR.replace("epochs = 2", "epochs = 50"))
    out = tmp_path / "a"
    killed = []

    def kill():
        waits(lambda: any(path.stat().st_size for path in (out / training.CLAIMS).glob("*")))
        path = next(path for path in (out / training.CLAIMS).glob("*") if path.stat().st_size)
        killed.append(json.loads(path.read_text())["pid"])
        os.kill(killed[0], signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    with pytest.raises(LipbenchError, match="a worker process was killed"):
        training.train(pair, out, digits, device=CPU, executor=LocalExecutor(2, 1), progress=False)
    thread.join()
    assert killed
    left = {*NAMES[:2]} - weights(out).keys()
    assert left
    assert {path.name for path in training.train(pair, out, digits, device=CPU, progress=False)} == left
    assert contents(out) == {*NAMES[:2], cards.RECIPE, training.CLAIMS}
    assert not list((out / training.CLAIMS).iterdir())
