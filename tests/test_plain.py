"""The modules that import neither torch nor an attack library."""

import json
import math
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lipbench
from lipbench import cli
from lipbench._internal import resources
from lipbench.attacks import suites
from lipbench.attacks.norm import Norm
from lipbench.errors import LipbenchError
from lipbench.models.cards import digest_of
from lipbench.runs.bounds import Bounds
from lipbench.runs.folder import RunFolder
from lipbench.runs.plans import ModelEntry, Run
from lipbench.runs.suite_plans import SuitePlan

radii = st.lists(st.floats(0, 2), min_size=1, max_size=30)


@given(radii, st.floats(0.01, 2))
def test_every_sample_is_broken_certified_or_open(values, eps):
    n = len(values)
    correct = np.arange(n) % 3 != 0
    bounds = Bounds.start(correct, np.array(values))
    bounds.attacked(np.arange(0, n, 2), bounds.certified_radius[::2] + 0.5)
    parts = [bounds.broken(eps), bounds.certified(eps) & ~bounds.broken(eps), bounds.open(eps)]
    assert (np.sum(parts, axis=0) == 1).all()
    assert bounds.broken(eps)[~correct].all()
    assert (bounds.certified_radius[~correct] == 0).all()
    assert not bounds.violations().any()
    assert (bounds.tightness() <= 1).all()


def test_a_copy_of_a_ledger_goes_its_own_way():
    bounds = Bounds.start([True, True], [0.1, 0.2])
    bounds.attacked(np.array([0]), np.array([0.5]))
    copy = bounds.copy()
    copy.attacked(np.array([0, 1, 1]), np.array([0.3, 0.4, 0.6]))
    assert copy.adversarial_distance.tolist() == [0.3, 0.4]
    assert copy.certified_radius.tolist() == [0.1, 0.2]
    assert bounds.adversarial_distance.tolist() == [0.5, np.inf]


def test_attacks_only_lower_the_upper_bound():
    bounds = Bounds.start([True, True, False], [0.1, 0.2, 0.3])
    bounds.attacked(np.array([0, 1]), np.array([0.5, np.inf]))
    bounds.attacked(np.array([0]), np.array([0.9]))
    assert bounds.adversarial_distance.tolist() == [0.5, np.inf, 0.0]
    assert bounds.tightness().tolist() == [0.2]
    bounds.attacked(np.array([1]), np.array([0.19]))
    assert bounds.violations().tolist() == [False, True, False]
    assert bounds.broken(0.19)[1]
    assert bounds.certified(0.19)[1]
    assert not bounds.certified(0.2)[1]


def test_a_distance_of_nan_is_refused():
    bounds = Bounds.start([True, True], [0.1, 0.2])
    with pytest.raises(LipbenchError, match="an adversarial distance is NaN, at sample 1"):
        bounds.attacked(np.array([0, 1]), np.array([0.5, np.nan]))
    assert bounds.adversarial_distance.tolist() == [np.inf, np.inf]


def test_norms():
    assert Norm.parse("linf") is Norm.Linf
    assert Norm.Linf.radius_from_l2(1.0, 64) == pytest.approx(0.125, rel=1e-14)
    for dimension in range(1, 1000):  # a cube inside the ball: rounded down, never up
        assert Fraction(Norm.Linf.radius_from_l2(1.0, dimension)) ** 2 * dimension <= 1
    assert Norm.L2.radius_from_l2(1.0, 64) == 1.0


@pytest.mark.parametrize("name", suites.names())
def test_bundled_suites_by_name_and_by_path(name):
    path = resources.folder("attacks") / f"{name}.toml"
    assert suites.load(name) == suites.load(str(path))
    assert suites.load(name).name == name


def test_a_grid_is_sorted_and_distinct():
    suite = suites.load("quick").with_grid([0.3, 0.1, 0.3])
    assert suite.eps == (0.1, 0.3)


ONE = {"name": "one", "norm": "L2", "eps": [0.1], "attack": [{"name": "gradient/pgd"}]}


@pytest.mark.parametrize(
    "grid",
    [[0], [-0.1], [math.nan], [0.1, math.inf], [1e-7], [1e300], [10**400], [True], ["a"], [None], [[0.1]], [1j], []],
)
def test_a_grid_that_is_none_is_refused(grid):
    with pytest.raises(LipbenchError, match=r"^here is not a suite: eps") as caught:
        suites.parse({**ONE, "eps": grid}, "here")
    assert "\n" not in str(caught.value)
    assert str(caught.value).count(", got ") == 1
    with pytest.raises(LipbenchError, match=r"^eps must be .*, got") as caught:
        suites.parse(ONE, "here").with_grid(grid)
    assert "\n" not in str(caught.value)
    assert str(caught.value).count("got ") == 1


@pytest.mark.parametrize("grid", [0.1, "0.1", "1/10", ["1/10"], ["0.1"]])
def test_a_grid_may_be_one_number_or_text(grid):
    assert suites.parse(ONE, "here").with_grid(grid).eps == (0.1,)


@pytest.mark.parametrize("grid", [None, True, "", ","])
def test_a_grid_is_nothing_else(grid):
    with pytest.raises(LipbenchError, match=r"^eps must be a number, or text such as '36/255'.*, got"):
        suites.parse(ONE, "here").with_grid(grid)


def test_numbers_of_numpy_are_numbers():
    suite = suites.parse({**ONE, "samples": np.int64(7)}, "here").with_grid(np.array([0.5, 0.25], dtype=np.float32))
    assert (suite.eps, suite.samples) == ((0.25, 0.5), 7)
    spec = suites.AttackSpec(name="gradient/pgd", args={"steps": np.int64(3), "x": np.True_})
    assert json.dumps(spec.args) == '{"steps": 3, "x": true}'


@pytest.mark.parametrize("samples", [0, -495, True, False, "3", 2.5, math.nan, math.inf, [3]])
def test_a_number_of_samples_that_is_none_is_refused(samples):
    with pytest.raises(LipbenchError, match=r"^here is not a suite: samples: .*, got"):
        suites.parse({**ONE, "samples": samples}, "here")


HEAVY = """
import sys
from fractions import Fraction
from lipbench import cli
cli.run(["--help"])
print(sorted(set(sys.modules) & {"torch", "art", "pandas"}))
"""


def test_help_imports_neither_torch_nor_art():
    out = subprocess.run([sys.executable, "-c", HEAVY], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "[]"


def test_status_imports_neither_torch_nor_art(tmp_path):
    """It is asked for often, and beside processes that compute."""
    entry = ModelEntry("a", {"name": "a"}, digest_of({"name": "a"}))
    suite = suites.load("quick")
    plan = SuitePlan(suite, (), suite.attacks, (suite.eps,), (0,))
    RunFolder(tmp_path).open(Run({"samples": 3, "shard": 2}, (entry,), (plan,)))
    script = HEAVY.replace('["--help"]', repr(["status", str(tmp_path)]))
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "0 of 12 units done" in out
    assert out.splitlines()[-1] == "[]"


@pytest.mark.parametrize("what", ["suites", "models", "recipes"])
def test_lists_import_neither_torch_nor_art(what):
    script = HEAVY.replace('["--help"]', repr(["list", what]))
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "'torch'" not in out.splitlines()[-1]
    assert "'art'" not in out.splitlines()[-1]


@pytest.mark.parametrize("name", ["evaluate", "verify", "train", "report", "status", "list"])
def test_each_help_has_an_example(name, capsys):
    assert cli.run([name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "Example: lipbench " + name in shown
    assert "\\b" not in shown


def test_version(capsys):
    assert cli.run(["--version"]) == 0
    assert lipbench.__version__ in capsys.readouterr().out


LISTS = {
    "models": "mlp-tau_cross_entropy-tau4-seed0",
    "recipes": "mnist",
    "suites": "standard-linf",
    "attacks": "autoattack/standard",
    "losses": "hkr_multiclass",
    "architectures": "cnn",
    "layers": "orthogonium",
    "datasets": "cifar10",
    "rules": "convolutions",
    "optimizers": "sgd",
    "executors": "ray",
}


@pytest.mark.parametrize("what", LISTS)
def test_lists(what, capsys):
    assert cli.run(["list", what]) == 0
    assert LISTS[what] in capsys.readouterr().out


def test_a_reader_that_has_enough_is_no_error():
    command = f"{sys.executable} -m lipbench list checks | true; echo ${{PIPESTATUS[0]}}"
    ran = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (ran.stdout, ran.stderr) == ("0\n", "")


def test_an_unexpected_fault_has_status_3_and_a_traceback(monkeypatch, capsys):
    monkeypatch.setattr(suites, "names", lambda: 1 / 0)
    assert cli.run(["list", "suites"]) == 3
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "unexpected ZeroDivisionError" in err
