"""The rules of the house: few entries, short modules, imports one way, private names stay in their module."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "lipbench"
MODULES = sorted(PACKAGE.rglob("*.py"))
OTHERS = sorted(path for folder in ("tests", "benchmarks") for path in (ROOT / folder).rglob("*.py"))
LAYERS = [  # from the top: a module imports only from layers below its own; neighbours in a layer do not meet
    "__main__",
    "cli",
    "api | estimator | testing",
    "experiments",
    "report",
    "evaluation | verification",
    "runs | training",
    "attacks",
    "certification",
    "models",
    "data | work",
    "_internal",
    "errors",
]
pytestmark = pytest.mark.skipif(not (ROOT / "pyproject.toml").is_file(), reason="needs a checkout")


def test_the_package_has_few_entries():
    entries = [path.name for path in PACKAGE.iterdir() if path.name != "__pycache__"]
    assert len(entries) <= 20, sorted(entries)


def test_modules_are_short_and_init_files_only_hand_names_on():
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    most = {path: 40 if path.name == "__init__.py" else 320 for path in MODULES}
    assert {str(path.relative_to(ROOT)): lines[path] for path in MODULES if lines[path] > most[path]} == {}


def test_import_contracts():
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    layers, *forbidden = config["contracts"]
    assert [layer.replace("lipbench.", "") for layer in layers["layers"]] == LAYERS
    assert "ignore_imports" not in layers
    below = next(contract for contract in forbidden if contract["source_modules"] == ["lipbench.certification"])
    assert set(below["forbidden_modules"]) >= {"lipbench.runs", "lipbench.work", "lipbench.attacks"}
    named = {room for layer in LAYERS for room in layer.split(" | ")}
    assert {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()} == {
        *named,
        "__init__",
    }


def test_private_names_stay_in_their_module():
    """Also where a test patches one by its name. ``self._x`` and ``cls._x`` may be a base class's."""
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in (*MODULES, *OTHERS)}
    defined = {path: set(_defined(trees[path])) for path in MODULES}
    found = []
    for path, tree in trees.items():
        foreign = set().union(*(names for module, names in defined.items() if module != path))
        foreign -= {*_defined(tree), *TORCH}
        found += [f"{path.relative_to(ROOT)}:{line} {name}" for line, name in _used(tree) if name in foreign]
    assert found == []


TORCH = {"_parameters", "_buffers", "_modules"}  # of nn.Module: a network's own, read where it is frozen and compared


def _is_private(name: str) -> bool:
    return name.startswith("_") and name.strip("_") != "" and not name.startswith("__") and name != "_internal"


def _defined(tree: ast.AST) -> Iterator[str]:
    """Private functions, classes, variables and attributes that a module defines."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                pass
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                pass
            case _:
                continue
        if _is_private(name):
            yield name


def _used(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Private names that a module imports from lipbench, reads from something other than itself, or patches."""
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module=str(module), names=names) if module.startswith("lipbench"):
                found = [alias.name for alias in names]
            case ast.Attribute(attr=name, value=value) if not (isinstance(value, ast.Name) and value.id in OWN):
                found = [name]
            case ast.Call(func=ast.Attribute(attr="setattr" | "delattr"), args=arguments):
                texts = [one.value for one in arguments if isinstance(one, ast.Constant)]
                found = [text.rpartition(".")[2] for text in texts if isinstance(text, str)]
            case ast.Call(func=ast.Name(id="getattr"), args=[_, ast.Constant(value=str(name)), *_]):
                found = [name]
            case _:
                continue
        yield from ((node.lineno, name) for name in found if _is_private(name))


OWN = ("self", "cls")
