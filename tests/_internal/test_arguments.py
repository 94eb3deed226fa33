"""Arguments that commands and Python functions share, at the values that users get wrong."""

import os
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from bundled import TAU4

import lipbench
from lipbench import cli
from lipbench._internal import arguments
from lipbench.data import Split
from lipbench.errors import LipbenchError
from lipbench.evaluation.options import EvaluateOptions
from lipbench.work import executors
from lipbench.work.execution import resolve_device
from lipbench.work.executors.base import prepare
from lipbench.work.executors.local import LocalExecutor
from lipbench.work.executors.ray import RayExecutor

NO_NUMBERS = [True, 1.5, float("nan"), float("inf"), "3", None, [], [3], np.float64(3), np.array([1, 2]), np.True_]


@pytest.mark.parametrize("value", [*NO_NUMBERS, 0, -495, pytest.param(-(10**5000), id="huge")])
def test_a_whole_number_is_nothing_else(value):
    with pytest.raises(LipbenchError, match=r"^samples must be a whole number of at least 1, got .*$") as caught:
        arguments.whole_number("samples", value, 1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [7, np.int64(7), np.uint8(7)])
def test_a_whole_number_of_any_integer_type_is_an_int(value):
    number = arguments.whole_number("samples", value, 1, 7)
    assert type(number) is int
    assert number == 7
    with pytest.raises(LipbenchError, match=r"in 1 \.\. 6, got"):
        arguments.whole_number("samples", value, 1, 6)


@pytest.mark.parametrize("value", [True, float("nan"), float("inf"), -0.1, 1.1, "0.5", None, [0.5], 10**400, 1j])
def test_a_share_is_a_finite_number_between_0_and_1(value):
    with pytest.raises(LipbenchError, match=r"audit must be a finite number in \[0, 1\], got "):
        arguments.real_number("audit", value, 0, 1)


@pytest.mark.parametrize("value", [0, 1, 0.25, np.float32(0.25), Fraction(1, 4)])
def test_a_share_of_any_real_type_is_a_float(value):
    assert arguments.real_number("audit", value, 0, 1) == value
    assert type(arguments.real_number("audit", value, 0, 1)) is float


# --- what the functions take ------------------------------------------------------------------------------------------


def each(wrong):
    return [(name, value) for name, values in wrong.items() for value in values]


WRONG_OPTIONS = {
    "samples": [0, -495, True, 2.0, float("nan"), "5", []],
    "shard": [0, -1, None, True, 1.5, "5"],
    "seeds": [[], [0, 0], [-1], [2**32], [True], [0.5], "01", 3, None, ["0"]],
    "audit": [-0.1, 1.5, float("nan"), True, "0.5", None],
    "prune": [0, 1, "no", None],
    "reference_attack": [0, 1, "no", True, []],
    "dtype": ["float16", 64, None, [], ["float32"]],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG_OPTIONS.items() for value in values]
)
def test_wrong_options_of_an_evaluation(name, value, zoo_of, tmp_path):
    with pytest.raises(LipbenchError, match=name.removesuffix("s")):
        EvaluateOptions(**{name: value})
    with pytest.raises(LipbenchError, match=name.removesuffix("s")):
        lipbench.evaluate(zoo_of(TAU4), out=tmp_path / "run", **{name: value})
    assert not (tmp_path / "run").exists()


def test_options_hold_plain_numbers():
    """They are written as JSON."""
    options = EvaluateOptions(samples=np.int64(5), seeds=np.arange(2), audit=np.float32(0.5), shard=np.int32(3))
    assert options == EvaluateOptions(samples=5, seeds=(0, 1), audit=0.5, shard=3)
    assert [type(value) for value in (options.samples, *options.seeds, options.audit, options.shard)] == [
        int, int, int, float, int,
    ]  # fmt: skip


WRONG_CALLS = {
    "suite": ([], [3], 3, None, ["quick", 3], "standrd"),
    "eps": ([], [0], [-1.0], [float("nan")], ["a"], "a", "1/0", [True], "9"),
    "data": (3, "digts", ["digits"]),
    "data_dir": (3,),
    "out": (3, "a\0b"),
    "title": (3,),
    "device": ("gpu", 3, None, []),
    "threads": (0, -1, True, 1.5, "2", None, 50_000, 10**9),
    "jobs": (0, -1, True, 1.5, "2", None, 100_000),
    "executor": ("rya", 3, None, []),
    "gpus_per_task": (-1, float("nan"), float("inf"), "1", True, 0.5),
    "address": ("auto",),
}


@pytest.mark.parametrize(("name", "value"), each(WRONG_CALLS))
def test_wrong_calls_of_evaluate(name, value, zoo_of, tmp_path):
    zoo, out = zoo_of(TAU4), tmp_path / "run"
    with pytest.raises(LipbenchError) as caught:
        lipbench.evaluate(zoo, **{"samples": 3, "out": out, **{name: value}})
    assert "\n" not in str(caught.value)
    assert not out.exists()


WRONG_VERIFICATIONS = {
    "samples": (0, -495, True, 2.0, float("nan"), "5", []),
    "seed": (-1, 2**32, True, 0.5, "0", None),
    "dtype": ("float16", 64, None, []),
    "radii": (3, "none.csv", [1.0], [-1.0] * 3, [float("nan")] * 3, ["a"] * 3, [[1.0]] * 3),
    "out": (3, "a\0b"),
    "device": ("gpu", None),
    "threads": (0, -1, True, 50_000),
    "data": (3, "digts"),
}


@pytest.mark.parametrize(("name", "value"), each(WRONG_VERIFICATIONS))
def test_wrong_calls_of_verify(name, value, zoo_of, tmp_path, monkeypatch):
    """Refused before a sample is attacked."""
    from lipbench.verification import falsification

    monkeypatch.setattr(falsification.AttackedSamples, "attack", lambda *args: pytest.fail("attacked"))
    zoo, out = zoo_of(TAU4), tmp_path / "v"
    with pytest.raises(LipbenchError) as caught:
        lipbench.verify(zoo / TAU4, **{"samples": 3, "out": out, **{name: value}})
    assert "\n" not in str(caught.value)
    assert not out.exists()


@pytest.mark.parametrize("zoo", [3, None, [["digits"]], "digit"])
def test_wrong_zoos(zoo):
    for function in (lipbench.evaluate, lipbench.verify):
        with pytest.raises(LipbenchError, match="zoo or model"):
            function(zoo)


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_file_in_place_of_the_folder_for_witnesses(place, zoo_of, tmp_path, capsys):
    """It is found before the attacks, not when the first certificate is broken."""
    (tmp_path / "file").write_text("mine")
    folder = zoo_of(TAU4) / TAU4
    with pytest.raises(LipbenchError, match="is not a folder; choose another"):
        lipbench.verify(folder, samples=3, out=tmp_path / place)
    assert cli.run(["verify", str(folder), "--samples", "3", "-o", str(tmp_path / place)]) == 2
    assert "is not a folder" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"


def test_the_first_samples_of_a_split():
    split = Split(np.zeros((5, 1, 2, 2), np.uint8), np.arange(5))
    assert [len(split.first(samples).labels) for samples in (None, 0, 3, 5, 7, np.int64(2), 10**30)] == [
        5, 0, 3, 5, 5, 2, 5,
    ]  # fmt: skip
    for wrong in (-1, -495, 2.0, "3", True):
        with pytest.raises(LipbenchError, match="samples must be a whole number of at least 0"):
            split.first(wrong)


# --- threads and processes -------------------------------------------------------------------------------------------


def test_threads_are_bounded_by_the_machine(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert arguments.threads(32) == 32
    said = r"threads must be at most 32 on this machine, 8 for each of its 4 CPUs, got 33"
    with pytest.raises(LipbenchError, match=said):
        arguments.threads(33)
    for start in (
        lambda: resolve_device("cpu", 33),
        lambda: executors.build("local", threads=33),
        lambda: executors.build("ray", threads=33),
        lambda: LocalExecutor(1, 33),
        lambda: prepare(33),
    ):
        with pytest.raises(LipbenchError, match=said):
            start()
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert arguments.threads(8) == 8


def test_processes_are_bounded_by_the_machine(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert LocalExecutor(8, 4).jobs == 8
    for start in (
        lambda: LocalExecutor(9, 4),
        lambda: LocalExecutor(100_000, 1),
        lambda: RayExecutor(33, 1, None, None),
    ):
        with pytest.raises(LipbenchError, match="jobs times threads must be at most 32 on this machine"):
            start()
    assert RayExecutor(64, 16, "10.0.0.1:6379", None).jobs == 64  # of other machines
    assert RayExecutor(0, 1, None, None).jobs == 0  # as many as the cluster takes
    with pytest.raises(LipbenchError, match="jobs must be a whole number of at least 1"):
        LocalExecutor(0, 1)


@pytest.mark.parametrize(
    "words",
    [
        "evaluate ZOO --threads 50000 --samples 3",
        "evaluate ZOO --jobs 100000 --samples 3",
        "verify ZOO --threads 50000 --samples 3",
        "verify ZOO --threads 1000000000 --samples 3",
        "train RECIPE --jobs 100000",
    ],
)
def test_commands_refuse_more_threads_than_the_machine_takes(words, zoo_of, tmp_path, capsys):
    (tmp_path / "r.toml").write_text(
        'data = "digits"\nseeds = [0]\n[training]\nepochs = 1\n[[architecture]]\nname = "mlp"\n'
        '[[loss]]\nname = "kr_multiclass"\n'
    )
    words = words.replace("ZOO", str(zoo_of(TAU4))).replace("RECIPE", str(tmp_path / "r.toml"))
    assert cli.run([*words.split(), "-q", "-o", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "on this machine" in said
    assert not (tmp_path / "out").exists()


# --- python -O -------------------------------------------------------------------------------------------------------

OPTIMISED = """
import sys
from pathlib import Path
from lipbench import data
from lipbench.training import sweep
from lipbench.work.execution import Execution
from lipbench.errors import LipbenchError
from lipbench.training import sweep
recipe, out = map(Path, sys.argv[1:])
try:
    sweep.train(recipe, out, data.load("digits"), Execution("cpu"), progress=False)
except LipbenchError as error:
    print(error)
"""


def test_a_recipe_is_checked_without_assertions(tmp_path):
    """What a loss changes in [training] is wrong: python -O must see that before any model is trained."""
    (tmp_path / "r.toml").write_text(
        'data = "digits"\nseeds = [0]\n[training]\nepochs = 1\nbatch_size = 1000\n[[architecture]]\nname = "mlp"\n'
        'args = { widths = [4] }\n[[loss]]\nname = "kr_multiclass"\n[[loss]]\nname = "cross_entropy"\n'
        "training = { epochs = -1 }\n"
    )
    command = [sys.executable, "-O", "-c", OPTIMISED, str(tmp_path / "r.toml"), str(tmp_path / "out")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "epochs" in said
    assert not (tmp_path / "out").exists()
