"""Names to objects: bundled ones, and those of plugins."""

import pytest

from lipbench._internal.registry import LOSSES, Registry
from lipbench.errors import LipbenchError


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
