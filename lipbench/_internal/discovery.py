"""Modules that are found by the folder they lie in, so that no list of names has to be kept beside them."""

import importlib
import pkgutil
from pathlib import Path
from types import ModuleType

PACKAGE = Path(__file__).resolve().parents[1]


def module_names(folder: str) -> list[str]:
    """The modules in a folder of lipbench, such as "data/sets", sorted by name. Nothing is imported."""
    return sorted(module.name for module in pkgutil.iter_modules([str(PACKAGE / folder)]))


def import_modules(package: ModuleType) -> None:
    """Import every module of a package: each registers what it holds."""
    for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda module: module.name):
        importlib.import_module(f"{package.__name__}.{module.name}")
