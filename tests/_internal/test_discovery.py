"""Modules are found by the folder they lie in: a new file needs no entry in a list."""

import importlib
import sys

from lipbench._internal import discovery
from lipbench._internal.discovery import import_modules, objects_in


def test_objects_are_found_by_their_file_and_not_imported(tmp_path, monkeypatch):
    monkeypatch.setattr(discovery, "PACKAGE", tmp_path)
    (tmp_path / "rooms" / "sets").mkdir(parents=True)
    for name in ("b.py", "a.py", "__init__.py", "notes.txt"):
        (tmp_path / "rooms" / "sets" / name).write_text("1 / 0")
    assert objects_in("rooms/sets", "load") == {"a": "lipbench.rooms.sets.a:load", "b": "lipbench.rooms.sets.b:load"}
    assert objects_in("rooms/sets") == {"a": "lipbench.rooms.sets.a:a", "b": "lipbench.rooms.sets.b:b"}


def test_every_module_of_a_package_is_imported(tmp_path, monkeypatch):
    package = tmp_path / "registering"
    package.mkdir()
    (package / "__init__.py").write_text("seen = []")
    for name in ("second", "first"):
        (package / f"{name}.py").write_text(f"from registering import seen\nseen.append({name!r})")
    monkeypatch.syspath_prepend(tmp_path)
    found = importlib.import_module("registering")
    try:
        import_modules(found)
        assert found.seen == ["first", "second"]
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "registering"]:
            del sys.modules[name]
