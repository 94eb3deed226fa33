import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from lipbench import cards, files, recipes, training, zoo
from lipbench.data import Dataset, Split
from lipbench.errors import LipbenchError

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
CPU = torch.device("cpu")


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE)
    return path


def weights(folder) -> dict[str, str]:
    return {path.parent.name: files.sha256_bytes(path.read_bytes()) for path in folder.glob(f"*/{cards.WEIGHTS}")}


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


def test_no_training_samples(recipe, digits):
    empty = Split(digits.train.images[:0], digits.train.labels[:0])
    loaded = recipes.load(recipe)
    with pytest.raises(LipbenchError, match="no training samples"):
        training.train_one(loaded, loaded.settings()[0], Dataset("x", empty, digits.test, 10), device=CPU)


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
    for folder in (tmp_path / "a").iterdir():
        if folder.is_dir() and not folder.name.startswith(files.TEMPORARY):
            zoo.load(folder)
    training.train(recipe, tmp_path / "a", digits, device=CPU, progress=False)
    training.train(recipe, tmp_path / "b", digits, device=CPU, progress=False)
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    assert not list((tmp_path / "a").glob(f"{files.TEMPORARY}*"))
