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
from lipbench._internal import files, resources
from lipbench._internal.registry import LOSSES, Registry
from lipbench.attacks import suites
from lipbench.attacks.norm import Norm, ThreatModel
from lipbench.errors import LipbenchError
from lipbench.models import cards
from lipbench.models.cards import digest_of
from lipbench.models.zoo import find_zoo, model_folders
from lipbench.runs.bounds import Bounds
from lipbench.runs.folder import RunFolder
from lipbench.runs.plans import ModelEntry, Run, SuitePlan

radii = st.lists(st.floats(0, 2), min_size=1, max_size=30)


@given(radii, st.floats(0.01, 2))
def test_every_sample_is_broken_certified_or_open(values, eps):
    n = len(values)
    correct = np.arange(n) % 3 != 0
    ledger = Bounds.start(correct, np.array(values))
    ledger.attacked(np.arange(0, n, 2), ledger.certified_radius[::2] + 0.5)
    parts = [ledger.broken(eps), ledger.certified(eps) & ~ledger.broken(eps), ledger.open(eps)]
    assert (np.sum(parts, axis=0) == 1).all()
    assert ledger.broken(eps)[~correct].all()
    assert (ledger.certified_radius[~correct] == 0).all()
    assert not ledger.violations().any()
    assert (ledger.tightness() <= 1).all()


def test_a_copy_of_a_ledger_goes_its_own_way():
    ledger = Bounds.start([True, True], [0.1, 0.2])
    ledger.attacked(np.array([0]), np.array([0.5]))
    copy = ledger.copy()
    copy.attacked(np.array([0, 1, 1]), np.array([0.3, 0.4, 0.6]))
    assert copy.adversarial_distance.tolist() == [0.3, 0.4]
    assert copy.certified_radius.tolist() == [0.1, 0.2]
    assert ledger.adversarial_distance.tolist() == [0.5, np.inf]


def test_attacks_only_lower_the_upper_bound():
    ledger = Bounds.start([True, True, False], [0.1, 0.2, 0.3])
    ledger.attacked(np.array([0, 1]), np.array([0.5, np.inf]))
    ledger.attacked(np.array([0]), np.array([0.9]))
    assert ledger.adversarial_distance.tolist() == [0.5, np.inf, 0.0]
    assert ledger.tightness().tolist() == [0.2]
    ledger.attacked(np.array([1]), np.array([0.19]))
    assert ledger.violations().tolist() == [False, True, False]
    assert ledger.broken(0.19)[1]
    assert ledger.certified(0.19)[1]
    assert not ledger.certified(0.2)[1]


def test_a_distance_of_nan_is_refused():
    ledger = Bounds.start([True, True], [0.1, 0.2])
    with pytest.raises(LipbenchError, match="an adversarial distance is NaN, at sample 1"):
        ledger.attacked(np.array([0, 1]), np.array([0.5, np.nan]))
    assert ledger.adversarial_distance.tolist() == [np.inf, np.inf]


def test_norms():
    assert Norm.parse("linf") is Norm.Linf
    assert Norm.Linf.radius_from_l2(1.0, 64) == pytest.approx(0.125, rel=1e-14)
    for dimension in range(1, 1000):  # a cube inside the ball: rounded down, never up
        assert Fraction(Norm.Linf.radius_from_l2(1.0, dimension)) ** 2 * dimension <= 1
    assert Norm.L2.radius_from_l2(1.0, 64) == 1.0
    for eps in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(LipbenchError, match="above 0"):
            ThreatModel(Norm.L2, eps)


@pytest.mark.parametrize("name", suites.names())
def test_bundled_suites_by_name_and_by_path(name):
    path = resources.folder("attacks") / f"{name}.toml"
    assert suites.load(name) == suites.load(str(path))
    assert suites.load(name).name == name


def test_a_grid_is_sorted_and_distinct():
    suite = suites.load("quick").with_grid([0.3, 0.1, 0.3])
    assert suite.eps == (0.1, 0.3)


ONE = {"name": "one", "norm": "L2", "eps": [0.1], "attack": [{"backend": "gradient", "name": "pgd"}]}


@pytest.mark.parametrize(
    "grid",
    [[0], [-0.1], [math.nan], [0.1, math.inf], [1e-7], [1e300], [10**400], [True], ["0.1"], [None], [[0.1]], [1j], []],
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


@pytest.mark.parametrize("grid", [0.1, "0.1", None, True])
def test_a_grid_is_a_list(grid):
    with pytest.raises(LipbenchError, match=r"^eps must be a list of numbers, .*, got"):
        suites.parse(ONE, "here").with_grid(grid)


def test_numbers_of_numpy_are_numbers():
    suite = suites.parse({**ONE, "samples": np.int64(7)}, "here").with_grid(np.array([0.5, 0.25], dtype=np.float32))
    assert (suite.eps, suite.samples) == ((0.25, 0.5), 7)
    spec = suites.AttackSpec(backend="gradient", name="pgd", args={"steps": np.int64(3), "x": np.True_})
    assert json.dumps(spec.args) == '{"steps": 3, "x": true}'


@pytest.mark.parametrize("samples", [0, -495, True, False, "3", 2.5, math.nan, math.inf, [3]])
def test_a_number_of_samples_that_is_none_is_refused(samples):
    with pytest.raises(LipbenchError, match=r"^here is not a suite: samples: .*, got"):
        suites.parse({**ONE, "samples": samples}, "here")


def test_registry_names_import_nothing():
    broken = Registry("thing", "lipbench.nothing", {"a": "no_such_module:x"})
    assert broken.names() == ["a"]
    with pytest.raises(LipbenchError, match="did you mean 'a'"):
        Registry("thing", "lipbench.nothing", {"a": "os:path"}).get("aa")
    assert "tau_cross_entropy" in LOSSES.names()


def test_a_plugin_that_does_not_import_is_named(monkeypatch):
    from importlib.metadata import EntryPoint

    point = EntryPoint("mine", "no_such_module:loss", "lipbench.losses")
    monkeypatch.setattr("lipbench._internal.registry.entry_points", lambda group: [point])
    assert "mine" in LOSSES.names()
    with pytest.raises(LipbenchError, match="no_such_module"):
        LOSSES.get("mine")


def test_writing_is_all_or_nothing(tmp_path):
    path = tmp_path / "file"
    files.write_text(path, "old")

    def fail():
        with files.writing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_the_bundled_zoo(digits_zoo):
    """Every model has a card and weights; at least 12 settings over 4 families, the twins, 3 seeds each."""
    found = [cards.read(folder) for folder in model_folders(digits_zoo)]
    seeds: dict[str, set[int]] = {}
    for card in found:
        assert (digits_zoo / card.name / cards.WEIGHTS).is_file()
        seeds.setdefault(card.name.rsplit("-", 1)[0], set()).add(card.seed)
    assert all(len(values) == 3 for values in seeds.values())
    constrained = [name for name in seeds if "unconstrained" not in name]
    assert len(constrained) >= 12
    families = {card.family for card in found}
    assert families >= {"tau_cross_entropy", "hkr_multiclass", "hinge_multiclass", "kr_multiclass"}
    assert families >= {"unconstrained", "adversarial training"}
    assert sum(path.stat().st_size for path in digits_zoo.rglob("*") if path.is_file()) < 8e6


def test_cards_survive_writing_and_reading(tmp_path, digits_zoo):
    card = cards.read(model_folders(digits_zoo)[0])
    cards.write(tmp_path, card)
    assert cards.read(tmp_path) == card


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
    assert "0 of 8 units done" in out
    assert out.splitlines()[-1] == "[]"


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
    "datasets": "cifar10",
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


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("file", "file is a file: name a folder"),
        ("file/run", "file is a file: name a folder"),
        ("x" * 300, "File name too long; choose a shorter name"),
    ],
)
def test_a_folder_that_cannot_be_made_says_what_is_so(path, reason, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LipbenchError, match=f"^cannot write .*{reason}$"):
        files.make_folder(tmp_path / path)


def test_a_file_is_no_zoo(tmp_path):
    (tmp_path / "recipe.toml").write_text("")
    with pytest.raises(LipbenchError, match="it is a file; give the folder that holds it"):
        find_zoo(str(tmp_path / "recipe.toml"))


def test_what_people_keep_beside_anything_is_harmless(tmp_path):
    for name in (".gitignore", "README", "README.md"):
        (tmp_path / name).write_text("")
    (tmp_path / ".git").mkdir()
    assert files.foreign(tmp_path, files.is_harmless) is None
    (tmp_path / "notes.txt").write_text("")
    assert files.foreign(tmp_path, files.is_harmless) == tmp_path / "notes.txt"
