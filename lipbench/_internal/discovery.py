"""Modules that are found by the folder they lie in, so that no list of names has to be kept beside them."""

import importlib
import pkgutil
from pathlib import Path
from types import ModuleType

PACKAGE = Path(__file__).resolve().parents[1]


def objects_in(folder: str, attribute: str | None = None) -> dict[str, str]:
    """One object of each module in a folder of lipbench, such as "data/sets": name to "module:attribute".

    attribute: its name in the module, by default that of the module. Nothing is imported.
    """
    names = sorted(module.name for module in pkgutil.iter_modules([str(PACKAGE / folder)]))
    package = f"lipbench.{folder.replace('/', '.')}"
    return {name: f"{package}.{name}:{attribute or name}" for name in names}


def import_modules(package: ModuleType) -> list[ModuleType]:
    """Import every module of a package and of the packages in it, in the order of their names; returns them."""
    found = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    return [importlib.import_module(name) for name in sorted(module.name for module in found)]
