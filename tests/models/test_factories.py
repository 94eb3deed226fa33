"""Networks from a function of the user's: its package is imported where it is trusted, and nowhere else."""

import sys

import pytest
import torch
from torch import nn

from lipbench import save
from lipbench.errors import LipbenchError
from lipbench.models import factories
from lipbench.models.sources import StoredSource

CODE = """
import pathlib
pathlib.Path(__file__).with_name("imported").touch()
from torch import nn
def net(width=3):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width))
value = 3
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package on Python's path that leaves a file when it is imported."""
    folder = tmp_path / "foreign" / "inner"
    folder.mkdir(parents=True)
    (tmp_path / "foreign" / "__init__.py").touch()
    (folder / "__init__.py").touch()
    (folder / "nets.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "foreign"]:
        del sys.modules[name]


@pytest.mark.parametrize("trust", [["foreign"], ["foreign.inner"], ["foreign.inner.nets"], ["other", "foreign"]])
def test_a_trusted_package_is_imported(package, trust):
    network = factories.build("foreign.inner.nets:net", {"width": 5}, trust, "model")
    assert isinstance(network, nn.Sequential)
    assert network[1].out_features == 5
    assert not network.training


@pytest.mark.parametrize(
    "trust",
    [[], [""], ["inner"], ["nets"], ["foreig"], ["foreign.inn"], ["foreign.inner.nets.more"], ["FOREIGN"], ["*"]],
)
def test_another_package_is_not(package, trust):
    with pytest.raises(LipbenchError, match=r'pass --trust foreign \(in Python trust=\["foreign"\]\)'):
        factories.build("foreign.inner.nets:net", {}, trust, "model")
    assert not (package / "imported").exists()
    assert "foreign" not in sys.modules


FAILURES = {
    "own_networks:failing": "failing failed: RuntimeError: no such luck with a second line",
    "own_networks:stopping": "stopping failed: SystemExit: 0",
    "own_networks:text": "gave a str, expected a torch.nn.Module",
    "own_networks:SHAPE": "own_networks has no function SHAPE",
    "own_networks:nothing": "own_networks has no function nothing",
    "own_networks.inner:net": "no module 'own_networks.inner' can be imported",
    "not_installed_anywhere.nets:net": "no module 'not_installed_anywhere' can be imported: install the package",
    "foreign.broken:net": "foreign.broken cannot be imported: SyntaxError",
    "foreign.needs:net": "foreign.needs cannot be imported: No module named 'not_there'",
    "foreign.leaves:net": "foreign.leaves cannot be imported: SystemExit: 7",
}


@pytest.mark.parametrize("factory", FAILURES)
def test_a_failure_is_one_line(factory, package):
    (package.parent / "broken.py").write_text("def net(:\n")
    (package.parent / "needs.py").write_text("import not_there\n")
    (package.parent / "leaves.py").write_text("raise SystemExit(7)\n")
    with pytest.raises(LipbenchError) as refused:
        factories.build(factory, {}, [factory.partition(":")[0]], "the model m")
    said = str(refused.value)
    assert said.startswith("the model m: ")
    assert FAILURES[factory] in said
    assert "\n" not in said


def test_unknown_arguments_are_one_line(package):
    with pytest.raises(LipbenchError, match=r"TypeError: .*unexpected keyword argument 'depth'"):
        factories.build("own_networks:dense", {"depth": 3}, ["own_networks"], "m")


def test_random_numbers_of_the_caller_stay():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    factories.build("own_networks:dense", {}, ["own_networks"], "m")
    assert torch.equal(torch.rand(1), expected)


def test_what_a_trusted_module_imports_is_not_trusted_with_it(package):
    (package / "nets.py").write_text("from os import system\n" + CODE)
    with pytest.raises(LipbenchError, match=r"nets:system is a function of \w+, which is not trusted"):
        factories.build("foreign.inner.nets:system", {"command": "true"}, ["foreign"], "model")


def test_one_package_may_be_named_alone(package):
    assert isinstance(factories.build("foreign.inner.nets:net", {}, "foreign", "model"), nn.Sequential)


def test_other_code_is_another_model(package, tmp_path):
    """The weights of a factory do not tell of its code: a run folder must notice that it changed."""
    nets = __import__("foreign.inner.nets", fromlist=["nets"])
    folder = tmp_path / "zoo" / "mine"
    save(nets.net(10), folder, data="digits", factory="foreign.inner.nets:net", args={"width": 10}, form="factory")
    before = StoredSource(folder, ("foreign",))
    assert before.card.module_sha256 == before.load().card.module_sha256
    digest = before.load().digest
    (package / "nets.py").write_text(
        CODE.replace(
            "def net(width=3):",
            "class Scaled(nn.Linear):\n    def forward(self, x):\n"
            "        return 2 * super().forward(x)\ndef net(width=3):",
        ).replace("nn.Linear(64, width))", "Scaled(64, width))")
    )
    for name in [name for name in sys.modules if name.partition(".")[0] == "foreign"]:
        del sys.modules[name]
    assert StoredSource(folder, ("foreign",)).load().digest != digest
