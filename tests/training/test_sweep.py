import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pandas as pd
import pytest
import torch

from lipbench import cli
from lipbench._internal import files, processes, registry
from lipbench.attacks import suites
from lipbench.certification.certificate import certificate
from lipbench.data import Dataset, Split
from lipbench.errors import LipbenchError
from lipbench.evaluation.evaluate import evaluate_models
from lipbench.evaluation.options import EvaluateOptions
from lipbench.models import architectures, cards
from lipbench.models.sources import stored_sources
from lipbench.models.stored import load_model, serialize
from lipbench.models.zoo import model_folders
from lipbench.training import recipes, sweep, trainer
from lipbench.training.checkpoint import UNFINISHED, Checkpoint, lease_name
from lipbench.training.losses.multiclass import TauCrossEntropy
from lipbench.training.notation import Notation
from lipbench.training.storing import HISTORY, store
from lipbench.training.zoo_folder import LEASES
from lipbench.work import coordinator, lease, progress
from lipbench.work.execution import Execution
from lipbench.work.executors.local import LocalExecutor
from lipbench.work.lease import Leases

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
    f"mlp-{job}-seed{seed}"
    for job in (
        "tau_cross_entropy-tau4",
        "tau_cross_entropy-tau16",
        "cross_entropy-unconstrained-adversarial0.3",
    )
    for seed in (0, 1)
]
PAIR = RECIPE[: RECIPE.rindex("[[loss]]")].replace("tau = [4, 16]", "tau = 4")  # two models, trained in an instant
CPU = torch.device("cpu")
ON_CPU = Execution("cpu")


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


def lease_of(recipe, number: int) -> str:
    return lease_name(recipes.load(recipe).training_jobs()[number])


class Elsewhere:
    """An executor whose tasks arrive pickled, as in another process."""

    def __init__(self):
        self.runs = 0

    def run(self, function, tasks):
        self.runs += 1
        return map(pickle.loads(pickle.dumps(function)), pickle.loads(pickle.dumps(list(tasks))))


def test_the_grid_is_the_product():
    assert [job.name for job in recipes.Recipe.model_validate(files.tomllib.loads(RECIPE)).training_jobs()] == NAMES


def test_a_sweep_is_reproducible_and_not_repeated(recipe, tmp_path, digits):
    first = sweep.train(recipe, tmp_path / "a", digits, ON_CPU, progress=False)
    assert [folder.name for folder in first] == NAMES
    state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    sweep.train(recipe, tmp_path / "b", digits, ON_CPU, progress=False)
    assert torch.equal(torch.get_rng_state(), state[0])
    assert (np.random.get_state()[1] == state[1]).all()  # noqa: NPY002
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    assert len(set(weights(tmp_path / "a").values())) == len(NAMES)
    assert sweep.train(recipe, tmp_path / "a", digits, ON_CPU, progress=False) == []
    assert (tmp_path / "a" / cards.RECIPE).read_text() == RECIPE


def test_training_learns(recipe, digits):
    loaded = recipes.load(recipe)
    longer = loaded.model_copy(
        update={"training": loaded.training.model_copy(update={"epochs": 20, "learning_rate": 1e-2})}
    )
    for number in (0, 4):
        module = trainer.train_one(longer, longer.training_jobs()[number], digits, device=CPU).module
        accuracy = (module(torch.from_numpy(digits.test.x)).argmax(1).numpy() == digits.test.labels).mean()
        assert accuracy > 0.8


def test_a_model_of_another_recipe_is_not_taken_for_this_one(recipe, tmp_path, digits):
    sweep.train(recipe, tmp_path / "a", digits, ON_CPU, progress=False)
    recipe.write_text(RECIPE.replace("epochs = 2", "epochs = 3"))
    with pytest.raises(LipbenchError, match="trained in another way"):
        sweep.train(recipe, tmp_path / "a", digits, ON_CPU, progress=False)


def test_preprocessing_is_in_the_card_and_the_claim(recipe, tmp_path, digits):
    recipe.write_text(RECIPE.replace("[training]", "[preprocessing]\nmean = [0.3]\nstd = [0.25]\n[training]"))
    folder = sweep.train(recipe, tmp_path / "a", digits, ON_CPU, progress=False)[0]
    model = load_model(folder)
    assert model.card.claimed.constant == 4.0
    assert torch.allclose(model.module[0](torch.full((1, 1, 8, 8), 0.8)), torch.full((1, 1, 8, 8), 2.0))


@pytest.mark.parametrize("loss", ["tau_binary_cross_entropy", "kr_binary"])
def test_a_binary_loss_makes_a_single_logit_head_that_is_evaluated(loss, recipe, tmp_path, digits):
    def two(split):
        wanted = split.labels < 2
        return Split(split.images[wanted], split.labels[wanted])

    tau = "hyperparameters = { tau = 8 }" if loss.startswith("tau") else ""
    longer = PAIR.replace("epochs = 2\nbatch_size = 256", "epochs = 20\nbatch_size = 32")
    recipe.write_text(longer.replace("tau_cross_entropy", loss).replace("hyperparameters = { tau = 4 }", tau))
    pairs = Dataset("digits", two(digits.train), two(digits.test), 2)
    folder = sweep.train(recipe, tmp_path / "zoo", pairs, ON_CPU, progress=False)[0]
    model = load_model(folder)
    assert model.card.architecture.args["outputs"] == 1
    last = pd.read_parquet(folder / HISTORY).iloc[-1]
    assert last["train_accuracy"] > 0.9
    assert last["accuracy"] > 0.9
    with torch.no_grad():
        logits = model.module(torch.from_numpy(pairs.test.x))
    assert logits.shape == (len(pairs.test.labels), 1)
    assert ((logits[:, 0] > 0).long().numpy() == pairs.test.labels).mean() > 0.9
    assert sweep.train(recipe, tmp_path / "zoo", pairs, ON_CPU, progress=False) == []  # its card is known again
    options = EvaluateOptions(samples=20)
    run = evaluate_models(
        stored_sources(folder), [suites.load("quick")], pairs, tmp_path / "run", options=options, execution=ON_CPU
    )
    assert not run.missing(run.read())


def test_what_differs_in_a_recipe_is_told(pair, tmp_path, digits):
    sweep.train(pair, tmp_path / "zoo", digits, ON_CPU, progress=False)
    pair.write_text(PAIR.replace("epochs = 2", "epochs = 3"))
    with pytest.raises(LipbenchError, match=r"\(training.epochs: 2 there, 3 in the recipe\); choose another folder"):
        sweep.train(pair, tmp_path / "zoo", digits, ON_CPU, progress=False)


def test_a_label_tells_two_trainings_of_one_loss_apart(pair, tmp_path, digits):
    text = PAIR.replace("seeds = [0, 1]", "seeds = [0]")
    block = text[text.index("[[loss]]") :]
    pair.write_text(text + block)
    with pytest.raises(LipbenchError, match=r"is there twice; .* a label each"):
        recipes.load(pair)
    pair.write_text(text + block + 'label = "quick"\ntraining = { epochs = 1 }\n')
    folders = sweep.train(pair, tmp_path / "zoo", digits, ON_CPU, progress=False)
    assert [folder.name for folder in folders] == [NAMES[0], "mlp-tau_cross_entropy-quick-tau4-seed0"]
    found = [cards.read(folder) for folder in folders]
    assert [card.family for card in found] == ["tau_cross_entropy", "tau_cross_entropy (quick)"]
    assert [card.training["epochs"] for card in found] == [2, 1]
    assert "label" not in (folders[0] / cards.CARD).read_text()


def test_hyperparameters_have_one_order(pair):
    pair.write_text(
        PAIR.replace("tau_cross_entropy", "hkr_multiclass").replace("tau = 4", "min_margin = 1, alpha = 0.9")
    )
    assert recipes.load(pair).training_jobs()[0].name == "mlp-hkr_multiclass-alpha0.9-min_margin1-seed0"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("epochs = 2", "epochs = 0", "training.epochs: input should be greater than or equal to 1, got 0"),
        ("epochs = 2", "epoch = 2", "training.epoch: this key is not known; did you mean 'epochs'? (keys here: augm"),
        ("seeds = [0, 1]", "seeds = 0", "seeds: input should be a list, got 0"),
        ("[[loss]]", "[loss]", "loss: expected a list of tables; write [[loss]], with two brackets"),
        ("tau = 4", 'tau = "a"', "loss 1.hyperparameters.tau: input should be a number"),
        ("tau = 4 }", 'tau = 4 }\nconstrained = "no"', "loss 1.constrained: input should be a boolean, got 'no'"),
        (
            "tau = 4 }",
            "tau = 4 }\nadversarial = { eps = 1, betta = 6 }",
            "betta: this key is not known; did you mean 'beta'",
        ),
    ],
)
def test_a_recipe_that_is_wrong_says_where_and_what(pair, old, new, said):
    pair.write_text(PAIR.replace(old, new))
    with pytest.raises(LipbenchError) as caught:
        recipes.load(pair)
    assert said in str(caught.value)
    assert "at least 1 item" not in str(caught.value)


def test_a_binary_loss_on_ten_classes_is_told(recipe, tmp_path, digits):
    recipe.write_text(PAIR.replace("tau_cross_entropy", "tau_binary_cross_entropy"))
    with pytest.raises(LipbenchError, match="takes data of 2 classes, not 10"):
        sweep.train(recipe, tmp_path / "zoo", digits, ON_CPU, progress=False)


def test_the_card_of_orthogonal_layers(pair, tmp_path, digits):
    pytest.importorskip("orthogonium")
    pair.write_text(PAIR.replace('name = "mlp"', 'name = "mlp"\nlayers = "orthogonium"'))
    model = load_model(sweep.train(pair, tmp_path / "zoo", digits, ON_CPU, progress=False)[0])
    assert model.card.architecture.layers == "orthogonium"
    assert "orthogonium" in model.card.versions
    assert 1 < model.card.claimed.constant < 1.001
    assert certificate(model.module, (1, 8, 8)).bound <= model.card.claimed.constant


def test_divergence_is_told(recipe, digits):
    recipe.write_text(RECIPE.replace("batch_size = 256", "batch_size = 256\nlearning_rate = 1e30\noptimizer='sgd'"))
    loaded = recipes.load(recipe)
    job = next(s for s in loaded.training_jobs() if s.loss_spec.adversarial)
    plain = job.loss_spec.model_copy(update={"adversarial": None})
    with pytest.raises(LipbenchError, match="learning_rate"):
        trainer.train_one(loaded, recipes.TrainingJob(job.spec, plain, {}, 0, loaded.training), digits, device=CPU)


def test_no_training_samples(recipe, tmp_path, digits):
    empty = Split(digits.train.images[:0], digits.train.labels[:0])
    loaded = recipes.load(recipe)
    with pytest.raises(LipbenchError, match="no training samples"):
        trainer.train_one(loaded, loaded.training_jobs()[0], Dataset("x", empty, digits.test, 10), device=CPU)
    with pytest.raises(LipbenchError, match=r"^the data set 'x' has no training samples"):
        sweep.train(recipe, tmp_path / "a", Dataset("x", empty, digits.test, 10), ON_CPU)
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
    for folder in model_folders(tmp_path / "a"):
        load_model(folder)
    sweep.train(recipe, tmp_path / "a", digits, ON_CPU, progress=False)
    sweep.train(recipe, tmp_path / "b", digits, ON_CPU, progress=False)
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    assert contents(tmp_path / "a") == {*NAMES, cards.RECIPE, LEASES}
    assert not list((tmp_path / "a" / LEASES).iterdir())


@pytest.fixture
def shown(monkeypatch):
    """Where the bar was after each of its steps."""
    steps = []

    class Recorder(progress.tqdm):
        def update(self, n=1):
            super().update(n)
            if not self.disable:
                steps.append((self.n, self.total, self.unit))

    monkeypatch.setattr(progress, "tqdm", Recorder)
    monkeypatch.setattr(progress, "on_terminal", lambda: True)
    return steps


def test_processes_train_the_same_models_bit_for_bit(pair, tmp_path, digits, shown):
    found = sweep.train(pair, tmp_path / "a", digits, Execution("cpu", LocalExecutor(1, 1)))
    assert list(dict.fromkeys(shown)) == [(epochs, 4, "epoch") for epochs in (1, 2, 3, 4)]
    shown.clear()
    assert cli.run(["train", str(pair), "-o", str(tmp_path / "b"), "--jobs", "2"]) == 0
    assert shown[-1] == (4, 4, "epoch")
    assert [path.name for path in found] == NAMES[:2]
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    assert [path.name for path in model_folders(tmp_path / "b")] == NAMES[:2]
    assert not list((tmp_path / "b" / LEASES).iterdir())


def test_workers_load_the_data_themselves_and_know_it_again(pair, tmp_path, digits):
    found = sweep.train(pair, tmp_path / "a", digits, Execution("cpu", Elsewhere()), progress=False)
    assert [path.name for path in found] == NAMES[:2]
    changed = Dataset("digits", digits.train.first(500), digits.test, 10)
    with pytest.raises(LipbenchError, match="other data under 'digits'"):
        sweep.train(pair, tmp_path / "b", changed, Execution("cpu", Elsewhere()), progress=False)


@pytest.mark.slow
def test_two_processes_train_each_model_once(pair, tmp_path):
    command = [sys.executable, "-m", "lipbench", "train", str(pair), "-o", str(tmp_path / "a")]
    theirs = Leases(tmp_path / "a" / LEASES)
    with theirs.holding(lease_of(pair, 0)), theirs.holding(lease_of(pair, 1)):
        both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
        for process in both:
            process.stderr.read(1)  # its bar is there: it has begun, and waits
    printed = [process.communicate(timeout=120)[0].decode() for process in both]
    trained = [0 if text.startswith("all models are there already") else int(text.split()[0]) for text in printed]
    assert sum(trained) == 2, printed
    assert [process.returncode for process in both] == [0, 0]
    assert contents(tmp_path / "a") == {*NAMES[:2], cards.RECIPE, LEASES}


def test_a_model_that_another_process_trains_is_left_to_it(pair, tmp_path, digits, monkeypatch, shown):
    monkeypatch.setattr(coordinator, "POLL", 0.01)
    out, found, executor = tmp_path / "a", [], Elsewhere()

    def train():
        found.extend(sweep.train(pair, out, digits, Execution("cpu", executor)))

    thread = threading.Thread(target=train)
    with Leases(out / LEASES).holding(lease_of(pair, 0)):
        thread.start()
        waits((out / NAMES[1]).exists)
        time.sleep(0.1)
        assert thread.is_alive()
        assert executor.runs == 1  # no workers are started for nothing
        assert weights(out).keys() == {NAMES[1]}
    thread.join(timeout=60)  # the other process gave up: its model is trained here
    assert [path.name for path in found] == NAMES[:2]

    other = tmp_path / "b"
    with Leases(other / LEASES).holding(lease_of(pair, 0)):
        found.clear()
        out, thread = other, threading.Thread(target=train)
        thread.start()
        waits((other / NAMES[1]).exists)
        (tmp_path / "a" / NAMES[0]).rename(other / NAMES[0])
    thread.join(timeout=60)  # the other process trained its model
    assert [path.name for path in found] == NAMES[1:2]
    assert shown[-1] == (4, 4, "epoch")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("executor", ["local", Elsewhere()])
def test_the_claim_of_a_silent_machine_ends(pair, tmp_path, digits, monkeypatch, executor):
    monkeypatch.setattr(coordinator, "POLL", 0.01)
    monkeypatch.setattr(lease, "LEASE", 0.3)
    out = tmp_path / "a"
    (out / LEASES).mkdir(parents=True)
    for name in (lease_of(pair, 0), "7"):  # a model that is missing, and one that is there or of another recipe
        owner = {"machine": "elsewhere", "pid": 1, "started": "1", "token": "other"}
        (out / LEASES / f"{name}.0").write_text(json.dumps(owner))
    assert len(sweep.train(pair, out, digits, Execution("cpu", executor), progress=False)) == 2
    assert not list((out / LEASES).iterdir())


def test_a_history_lies_beside_the_card(pair, tmp_path, digits):
    pair.write_text(PAIR + "[history]\neps = [0.1, 0.3]\nsamples = 100\n")
    folder = sweep.train(pair, tmp_path / "a", digits, ON_CPU, progress=False)[0]
    history = pd.read_parquet(folder / HISTORY)
    columns = [
        "epoch",
        "loss",
        "train_accuracy",
        "accuracy",
        "certified_accuracy_0.1",
        "certified_accuracy_0.3",
        "bound",
    ]
    assert list(history.columns) == columns
    assert list(history["epoch"]) == [1, 2]
    model, last = load_model(folder), history.iloc[-1]
    x, labels = torch.from_numpy(digits.test.x[:100]), torch.from_numpy(digits.test.labels[:100])
    logits = model.module(x).double()
    proof = certificate(model.module, model.card.input_shape)
    assert last["accuracy"] == (logits.argmax(1) == labels).double().mean()
    assert last["certified_accuracy_0.1"] == (proof.radii(logits, labels) >= 0.1).double().mean()
    assert last["bound"] == pytest.approx(proof.bound, rel=1e-9)
    assert history["loss"].iloc[1] < history["loss"].iloc[0]


def test_what_a_loss_and_an_architecture_change(recipe):
    text = RECIPE.replace("args = { widths = [16] }", "args = { widths = [16] }\ntraining = { epochs = 7, ema = 0.5 }")
    recipe.write_text(text.replace("tau = [4, 16] }", "tau = 4 }\ntraining = { epochs = 9 }"))
    first, last = (recipes.load(recipe).training_jobs()[place].training for place in (0, -1))
    assert (first.epochs, first.ema, first.batch_size) == (9, 0.5, 256)
    assert (last.epochs, last.ema, last.batch_size) == (7, 0.5, 256)


@pytest.mark.parametrize("change", ["epochs = 0", "epoch = 3", 'augmentation = { flip = "perhaps" }'])
def test_a_wrong_change_is_told_before_any_work(pair, tmp_path, change, capsys):
    pair.write_text(PAIR.replace("tau = 4 }", "tau = 4 }\ntraining = { " + change + " }"))
    assert cli.run(["train", str(pair), "-o", str(tmp_path / "a"), "-q"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert change.split()[0] in said
    assert not (tmp_path / "a").exists()


RICH = """{
    epochs = 4, schedule = "one_cycle", ema = 0.9, gradient_clip = 1.0, optimizer = "sgd", weight_decay = 1e-3,
    precision = "bfloat16", augmentation = { flip = true, crop = 1, resized_crop = 0.8, brightness = 0.2 }
}""".replace("\n", " ")


@pytest.mark.parametrize("change", ["{ epochs = 4 }", RICH])
@pytest.mark.parametrize("number", [0, 2, 4])
def test_training_goes_on_from_the_last_whole_epoch(recipe, tmp_path, digits, number, change):
    text = RECIPE.replace("steps = 2 }", f"steps = 2 }}\ntraining = {change}")
    recipe.write_text(text.replace("tau = [4, 16] }", f"tau = [4, 16] }}\ntraining = {change}"))
    loaded = recipes.load(recipe)
    job, checkpoint = loaded.training_jobs()[number], Checkpoint(tmp_path / "half" / "done.pt")
    whole = trainer.train_one(loaded, job, digits, device=CPU)
    for end in (1, 3):
        epochs = []

        def stop(epochs=epochs, end=end):
            epochs.append(len(epochs))
            if len(epochs) == (1 if end == 1 else 2):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            trainer.train_one(loaded, job, digits, device=CPU, checkpoint=checkpoint, epoch_done=stop)
        assert checkpoint.epochs == end
    resumed = trainer.train_one(loaded, job, digits, device=CPU, checkpoint=checkpoint)
    assert resumed.history == whole.history
    assert serialize(resumed.module) == serialize(whole.module)


def resumed_and_whole(path, text, tmp_path, digits):
    """The model trained in one go, and killed after each epoch but the last."""
    path.write_text(text)
    loaded = recipes.load(path)
    job, checkpoint = loaded.training_jobs()[0], Checkpoint(tmp_path / "half" / "done.pt")
    whole = trainer.train_one(loaded, job, digits, device=CPU)

    def stop():
        raise KeyboardInterrupt

    for _ in range(job.training.epochs):
        with contextlib.suppress(KeyboardInterrupt):
            torch.rand(3)  # others draw random numbers in between
            trainer.train_one(loaded, job, digits, device=CPU, checkpoint=checkpoint, epoch_done=stop)
    resumed = trainer.train_one(loaded, job, digits, device=CPU, checkpoint=checkpoint)
    return serialize(resumed.module), serialize(whole.module)


def test_the_state_of_a_loss_is_gone_on_with(pair, tmp_path, digits):
    soft = "alpha = 0.9, min_margin = 0.05, alpha_mean = 0.9, temperature = 5"
    text = PAIR.replace("tau_cross_entropy", "soft_hkr_multiclass").replace("tau = 4", soft)
    resumed, whole = resumed_and_whole(pair, text.replace("epochs = 2", "epochs = 3"), tmp_path, digits)
    assert resumed == whole


def test_random_numbers_of_a_network_are_gone_on_with(pair, tmp_path, digits, monkeypatch):
    def dropping(layers, input_shape, num_classes, *, widths=(16,)):
        return [torch.nn.Flatten(), torch.nn.Dropout(0.2), layers.linear(64, num_classes)]

    monkeypatch.setattr(architectures.chains, "mlp", dropping)
    monkeypatch.setitem(registry.ARCHITECTURES.bundled, "mlp", "lipbench.models.architectures.chains:mlp")
    text = PAIR.replace('name = "tau_cross', 'constrained = false\nname = "tau_cross').replace(
        "epochs = 2", "epochs = 3"
    )
    resumed, whole = resumed_and_whole(pair, text, tmp_path, digits)
    assert resumed == whole


@pytest.mark.parametrize("layers", ["torchlip", "orthogonium"])
def test_bfloat16_with_large_steps(pair, digits, layers):
    """A weight that was kept from the step before let orthogonalisation diverge."""
    pytest.importorskip("orthogonium")
    text = PAIR.replace('name = "mlp"', f'name = "mlp"\nlayers = "{layers}"').replace("[16]", "[256, 256]")
    text = text.replace("tau = 4", "tau = 16")
    pair.write_text(text.replace("epochs = 2", 'epochs = 2\nlearning_rate = 1e-2\nprecision = "bfloat16"'))
    loaded = recipes.load(pair)
    trained = trainer.train_one(loaded, loaded.training_jobs()[0], digits, device=CPU)
    assert trained.history[-1]["accuracy"] > 0.7
    assert trained.history[-1]["bound"] < 1.0001


def test_outputs_that_are_not_finite_do_not_stop_the_others(pair, tmp_path, digits, capsys):
    huge = "learning_rate = 1e25, optimizer = 'sgd', batch_size = 2000, schedule = 'constant'"
    pair.write_text(f"""{PAIR}
        [[loss]]
        name = "cross_entropy"
        constrained = false
        seeds = [0]
        training = {{ {huge} }}""")
    assert cli.run(["train", str(pair), "-o", str(tmp_path / "zoo"), "-q"]) == 2
    said = capsys.readouterr().err
    assert "1 of 3 models could not be trained" in said
    assert "training diverged" in said
    assert [path.name for path in model_folders(tmp_path / "zoo")] == NAMES[:2]


def test_averaged_weights_keep_the_statistics_of_batch_norm(pair, digits):
    text = PAIR.replace('name = "tau_cross', 'constrained = false\nname = "tau_cross').replace(
        "widths", "batch_norm = true, widths"
    )
    pair.write_text(text.replace("epochs = 2", "epochs = 20\nema = 0.5").replace("batch_size = 256", "batch_size = 64"))
    order = digits.train.labels.argsort(kind="stable")  # the first batch is of one class
    by_class = Dataset("digits", Split(digits.train.images[order], digits.train.labels[order]), digits.test, 10)
    loaded = recipes.load(pair)
    trained = trainer.train_one(loaded, loaded.training_jobs()[0], by_class, device=CPU)
    assert trained.history[-1]["accuracy"] > 0.93


def test_a_damaged_checkpoint_is_not_gone_on_from(pair, tmp_path, digits):
    loaded = recipes.load(pair)
    job, checkpoint = loaded.training_jobs()[0], Checkpoint(tmp_path / "done.pt")
    whole = trainer.train_one(loaded, job, digits, device=CPU, checkpoint=checkpoint)
    data = checkpoint.path.read_bytes()
    for damaged in (data[: len(data) // 2], b"", pickle.dumps(Elsewhere())):
        checkpoint.path.write_bytes(damaged)
        again = trainer.train_one(loaded, job, digits, device=CPU, checkpoint=checkpoint)
        assert serialize(again.module) == serialize(whole.module)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("times", [2, pytest.param(5, marks=pytest.mark.slow)])
def test_sigkill_in_training(pair, tmp_path, digits, times):
    """Workers and coordinator: the same weights as uninterrupted, and no whole epoch is trained twice."""
    pair.write_text(PAIR.replace("epochs = 2", "epochs = 40"))
    sweep.train(pair, tmp_path / "whole", digits, ON_CPU, progress=False)
    out, seen = tmp_path / "a", [0]

    def epochs() -> int:
        under_way = sum(Checkpoint(path).epochs for path in (out / UNFINISHED).glob("*.pt"))
        return under_way + 40 * len(list(out.glob("mlp-*/card.toml")))

    for _ in range(times):
        command = [sys.executable, "-m", "lipbench", "train", str(pair), "-o", str(out), "-q", "--jobs", "2"]
        process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE)
        waits(lambda process=process: epochs() > seen[-1] + 5 or process.poll() is not None)
        assert process.poll() is None, process.stderr.read()
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        seen.append(epochs())
    assert seen == sorted(seen)
    sweep.train(pair, out, digits, ON_CPU, progress=False)
    assert weights(out) == weights(tmp_path / "whole")
    assert contents(out) == {*NAMES[:2], cards.RECIPE, LEASES}


def test_a_model_that_was_there_first_is_kept(pair, tmp_path, digits):
    """Two processes may train a model, if one missed its heartbeat for so long that another superseded it."""
    recipe = recipes.load(pair)
    job = recipe.training_jobs()[0]
    modules = [trainer.train_one(recipe, s, digits, device=CPU) for s in recipe.training_jobs()]
    store(tmp_path / "a", recipe, job, digits, modules[0])
    before = weights(tmp_path)
    store(tmp_path / "a", recipe, job, digits, modules[1])
    assert weights(tmp_path) == before
    assert contents(tmp_path) == {"a", pair.name}


@pytest.mark.parametrize("executor", [LocalExecutor(1, 1), Elsewhere()])
def test_a_model_that_diverges_does_not_stop_the_others(pair, tmp_path, digits, monkeypatch, executor, capsys, shown):
    pair.write_text(PAIR.replace("tau = 4", "tau = [1e39, 4]").replace("seeds = [0, 1]", "seeds = [0]"))
    out, diverging = tmp_path / "a", "mlp-tau_cross_entropy-tau1e+39-seed0"
    message = rf"1 of 2 models.*\. {diverging}: training diverged: .* lower learning_rate".replace("+", r"\+")
    with pytest.raises(LipbenchError, match=message):
        sweep.train(pair, out, digits, Execution("cpu", executor))
    assert shown[-1] == (4, 4, "epoch")
    capsys.readouterr()
    assert contents(out) == {NAMES[0], cards.RECIPE, LEASES}
    seen, true = [], trainer.train_one
    monkeypatch.setattr(trainer, "train_one", lambda r, s, *a, **k: seen.append(s.name) or true(r, s, *a, **k))
    assert cli.run(["train", str(pair), "-o", str(out), "-q"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert seen == [diverging]


class Raises(TauCrossEntropy):
    """A loss of a plugin that fails: at once, or in the middle of the second epoch."""

    name = "test_raises"
    notation = Notation("raises", {"tau": "τ"})

    def __init__(self, tau: float):
        super().__init__(tau)
        if tau == 1:
            raise RuntimeError("no table\nfor tau 1")
        self.left = 8

    def value(self, logits, labels):
        self.left -= 1
        if self.left < 0:
            raise ZeroDivisionError("the table is used up")
        return super().value(logits, labels)


@pytest.mark.parametrize("executor", [LocalExecutor(1, 1), Elsewhere()])
def test_a_plugin_that_raises_does_not_stop_the_others(pair, tmp_path, digits, monkeypatch, executor, capsys):
    monkeypatch.setitem(registry.LOSSES.bundled, Raises.name, Raises)
    own = '[[loss]]\nname = "test_raises"\nhyperparameters = { tau = [1, 2] }\n[[loss]]'
    pair.write_text(PAIR.replace("[[loss]]", own, 1).replace("seeds = [0, 1]", "seeds = [0]"))
    first, second = (f"mlp-test_raises-tau{tau}-seed0" for tau in (1, 2))
    message = rf"2 of 3 models .*\. {first}: RuntimeError: no table for tau 1\. {second}: ZeroDivisionError: the table"
    with pytest.raises(LipbenchError, match=message):
        sweep.train(pair, tmp_path / "a", digits, Execution("cpu", executor), progress=False)
    assert [path.name for path in model_folders(tmp_path / "a")] == [NAMES[0]]
    before = weights(tmp_path / "a")
    monkeypatch.setattr(Raises, "value", TauCrossEntropy.value)  # repaired: it resumes at its last whole epoch
    assert cli.run(["train", str(pair), "-o", str(tmp_path / "a"), "-q"]) == 2
    said = capsys.readouterr().err
    assert "1 of 3 models could not be trained" in said
    assert f"{first}: RuntimeError: no table for tau 1" in said
    assert said.count("\n") == 1
    assert weights(tmp_path / "a").keys() == {NAMES[0], second}
    assert before.items() <= weights(tmp_path / "a").items()


def test_what_killed_processes_left_half_done_is_removed(pair, tmp_path, digits):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    names = [f"{files.TEMPORARY}{NAMES[0]}-{processes.machine()}-{pid}-ab" for pid in (dead.pid, os.getppid())]
    for name in names:
        (tmp_path / "a" / name).mkdir(parents=True)
    sweep.train(pair, tmp_path / "a", digits, ON_CPU, progress=False)
    assert contents(tmp_path / "a") == {*NAMES[:2], cards.RECIPE, LEASES, names[1]}  # that one is at it
    assert len(model_folders(tmp_path / "a")) == 2


def test_a_killed_worker_is_told_and_the_rerun_goes_on(pair, tmp_path, digits):
    pair.write_text(PAIR.replace("epochs = 2", "epochs = 50"))
    out = tmp_path / "a"
    killed = []

    def kill():
        waits(lambda: any(path.stat().st_size for path in (out / LEASES).glob("*")))
        path = next(path for path in (out / LEASES).glob("*") if path.stat().st_size)
        killed.append(json.loads(path.read_text())["pid"])
        os.kill(killed[0], signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    with pytest.raises(LipbenchError, match="a worker process was killed"):
        sweep.train(pair, out, digits, Execution("cpu", LocalExecutor(2, 1)), progress=False)
    thread.join()
    assert killed
    left = {*NAMES[:2]} - weights(out).keys()
    assert left
    assert {path.name for path in sweep.train(pair, out, digits, ON_CPU, progress=False)} == left
    assert contents(out) == {*NAMES[:2], cards.RECIPE, LEASES}
    assert not list((out / LEASES).iterdir())


# --- claims that the weights do not keep -----------------------------------------------------------------------------


class Added(torch.nn.Module):
    """x + g(x), without the half that a 1-Lipschitz block has."""

    def __init__(self, branch):
        super().__init__()
        self.branch = branch

    def forward(self, x):
        return x + self.branch(x)


def loud(layers, input_shape, num_classes):
    """A plugin's architecture that forgets to take the set's layers for one of its own."""
    first = torch.nn.Linear(64, 16)
    torch.nn.init.constant_(first.weight, 1.0)
    return [torch.nn.Flatten(), first, layers.activation(), layers.linear(16, num_classes)]


def added(layers, input_shape, num_classes):
    branch = torch.nn.Sequential(layers.linear(64, 64), layers.activation())
    return [torch.nn.Flatten(), Added(branch), layers.linear(64, num_classes)]


def reflected(layers, input_shape, num_classes):
    conv = layers.conv(1, 4, 3, padding=1, padding_mode="reflect")
    return [conv, layers.activation(), torch.nn.Flatten(), layers.linear(256, num_classes)]


PLUGINS = {"loud": loud, "added": added, "reflected": reflected}


@pytest.fixture
def plugins(monkeypatch):
    for name in PLUGINS:
        monkeypatch.setitem(registry.ARCHITECTURES.bundled, name, f"{__name__}:{name}")


@pytest.mark.parametrize("std", [None, 0.25])
@pytest.mark.parametrize("name", PLUGINS)
def test_a_card_claims_the_bound_where_the_layers_do_not_keep_theirs(
    plugins, pair, tmp_path, digits, caplog, name, std
):
    text = PAIR.replace("seeds = [0, 1]", "seeds = [0]").replace(
        'name = "mlp"\nargs = { widths = [16] }', f'name = "{name}"'
    )
    scale = 1.0 if std is None else 1 / std
    if std is not None:
        text = text.replace("[training]", f"[preprocessing]\nmean = [0.5]\nstd = [{std}]\n[training]")
    pair.write_text(text)
    (folder,) = sweep.train(pair, tmp_path / "zoo", digits, ON_CPU, progress=False)
    model, history = load_model(folder), pd.read_parquet(folder / HISTORY)
    bound = certificate(model.module, (1, 8, 8)).bound
    assert bound > 1.05 * scale
    assert model.card.claimed.constant == pytest.approx(bound, rel=1e-6)
    assert model.card.claimed.constant == history.iloc[-1]["bound"]
    assert model.card.claimed.by_construction == scale
    assert certificate(model.module, (1, 8, 8), model.card.claimed.constant).claim_confirmed
    said = [record.getMessage() for record in caplog.records if record.name.startswith("lipbench")]
    assert len(said) == 1
    assert folder.name in said[0]
    assert f"1-Lipschitz by construction, which makes {scale:g}" in said[0]
    assert f"claims the bound {bound:.6g}" in said[0]
    caplog.clear()
    assert sweep.train(pair, tmp_path / "zoo", digits, ON_CPU, progress=False) == []  # its card is known again
    assert not caplog.records


def test_train_says_on_stderr_that_a_claim_does_not_hold(plugins, pair, tmp_path, capsys):
    pair.write_text(PAIR.replace('name = "mlp"\nargs = { widths = [16] }', 'name = "loud"'))
    command = f"train {pair} -o {tmp_path}/zoo -q"
    script = f"import sys; sys.path[:0] = {sys.path!r}; import {__name__} as t\n"
    script += f"t.registry.ARCHITECTURES.bundled['loud'] = '{__name__}:loud'\n"
    script += f"sys.exit(t.cli.run({command.split()!r}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("2 models trained")
    lines = [line for line in done.stderr.splitlines() if "claims the bound" in line]
    assert len(lines) == 2


def test_a_claim_that_holds_is_the_layers(pair, tmp_path, digits, caplog):
    """Also within the roundings of weights that are orthogonal by construction; and its card has no new key."""
    (folder, _) = sweep.train(pair, tmp_path / "zoo", digits, ON_CPU, progress=False)
    card = cards.read(folder)
    assert card.claimed == cards.Lipschitz(constant=1.0)
    assert "by_construction" not in (folder / cards.CARD).read_text()
    assert 1 < pd.read_parquet(folder / HISTORY).iloc[-1]["bound"] < 1 + 3e-6
    assert not caplog.records


@pytest.mark.parametrize("claimed", [0.5, 2.0])
def test_a_claim_that_was_changed_by_hand_is_told(pair, tmp_path, digits, claimed):
    (folder, _) = sweep.train(pair, tmp_path / "zoo", digits, ON_CPU, progress=False)
    cards.write(folder, cards.read(folder).model_copy(update={"claimed": cards.Lipschitz(constant=claimed)}))
    with pytest.raises(LipbenchError, match="claimed"):
        sweep.train(pair, tmp_path / "zoo", digits, ON_CPU, progress=False)
