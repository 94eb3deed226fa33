"""Names to objects: bundled ones, those of plugins, and those given in Python."""

import pytest
from plugins import installed

from lipbench._internal.registry import EXECUTORS, LOSSES, OPTIMIZERS, RULES, Registry
from lipbench.errors import LipbenchError

SOURCE = """
def loss(logits, labels):
    return logits.sum()

def fails():
    raise KeyError("of mine")

NUMBER = 3
"""
POINTS = {
    "losses": {"mine": "loss", "number": "NUMBER", "absent": "nothing", "kr_multiclass": "loss"},
    "executors": {"fails": "fails"},
}


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    installed(tmp_path / "one", "registry-plugin", SOURCE, POINTS, version="2.1")
    monkeypatch.syspath_prepend(tmp_path / "one")


@pytest.fixture
def given(monkeypatch):
    """The registry of optimizers, without what other tests gave it."""
    monkeypatch.setattr(OPTIMIZERS, "given", {})
    return OPTIMIZERS


def test_registry_names_import_nothing():
    broken = Registry("thing", "lipbench.nothing", {"a": "no_such_module:x"})
    assert broken.names() == ["a"]
    with pytest.raises(LipbenchError, match="did you mean 'a'"):
        Registry("thing", "lipbench.nothing", {"a": "os:path"}).get("aa")
    assert "tau_cross_entropy" in LOSSES.names()


def test_a_plugin_has_its_name_and_its_origin(plugin):
    assert {"mine", "number", "absent", "tau_cross_entropy"} <= set(LOSSES.names())
    assert LOSSES.get("mine").__module__ == "registry_plugin"
    assert [str(origin) for origin in LOSSES.origins("mine")] == ["registry-plugin 2.1"]
    assert [str(origin) for origin in LOSSES.origins("tau_cross_entropy")] == ["bundled"]
    assert LOSSES.origins("nobody's") == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("absent", "the loss 'absent' of registry-plugin 2.1 cannot be imported from registry_plugin:nothing: Attrib"),
        ("number", "the loss 'number' of registry-plugin 2.1 must be a class or a function .logits, labels., got 3"),
        (
            "kr_multiclass",
            "the loss 'kr_multiclass' has 2 sources: bundled and registry-plugin 2.1 .registry_plugin:loss.; uninstall",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_when_it_is_used(plugin, name, said):
    with pytest.raises(LipbenchError, match=f"^{said}"):
        LOSSES.get(name)
    assert LOSSES.get("kr_binary").name == "kr_binary"  # the others are not touched


def test_two_packages_with_one_name(plugin, tmp_path, monkeypatch):
    installed(tmp_path / "two", "another-plugin", SOURCE, {"losses": {"mine": "loss"}})
    monkeypatch.syspath_prepend(tmp_path / "two")
    with pytest.raises(LipbenchError, match=r"'mine' has 2 sources: another-plugin 1.0 .* and registry-plugin 2.1"):
        LOSSES.get("mine")


def test_an_exception_of_a_plugin_names_it_and_one_of_lipbench_stays_as_it_is(plugin):
    fails = EXECUTORS.get("fails")
    with (
        pytest.raises(
            LipbenchError, match=r"^the executor 'fails' of registry-plugin 2\.1 failed: KeyError: 'of mine'$"
        ),
        EXECUTORS.calling("fails"),
    ):
        fails()
    with pytest.raises(KeyError), EXECUTORS.calling("local"):
        fails()
    with pytest.raises(LipbenchError, match=r"^as it is$"), EXECUTORS.calling("fails"):
        raise LipbenchError("as it is")


def test_bundled_rules_are_modules():
    assert RULES.get("dense").__name__ == "lipbench.certification.lipschitz.rules.dense"


def mine(parameters, lr, weight_decay):
    """An optimizer."""


def test_an_object_in_place_of_a_name(given):
    assert given.name_of("adam") == "adam"
    assert given.name_of(3) == 3  # the schema says what is wrong with it
    assert given.name_of(mine) == "mine"
    assert given.name_of(mine) == "mine"
    assert given.get("mine") is mine
    assert [str(origin) for origin in given.origins("mine")] == ["given in Python"]


def test_objects_whose_name_means_something_else_are_refused(given):
    def sgd(parameters, lr, weight_decay):
        """Another one than the bundled one."""

    def other():
        """Another one than the first of its name."""

    with pytest.raises(ValueError, match="the optimizer 'sgd' is another object than the one given here: rename"):
        given.name_of(sgd)
    with pytest.raises(ValueError, match="needs a name of its own: define a function with def"):
        given.name_of(lambda parameters, lr, weight_decay: None)
    given.name_of(mine)
    other.__name__ = "mine"
    with pytest.raises(ValueError, match="'mine' is another object"):
        given.name_of(other)
    assert given.get("mine") is mine


def test_a_function_that_is_defined_again_replaces_the_first(given):
    """As a cell of a notebook that is run again."""
    first, second = (_defined() for _ in range(2))
    given.name_of(first)
    assert given.get(given.name_of(second)) is second


def _defined():
    space = {"__name__": "a_notebook"}
    exec("def cell(parameters, lr, weight_decay): pass", space)
    return space["cell"]


def test_the_object_of_an_entry_point_has_the_name_of_the_entry_point(plugin):
    import registry_plugin

    assert LOSSES.name_of(registry_plugin.loss) in ("mine", "kr_multiclass")  # both are this object
    assert "loss" not in LOSSES.given
