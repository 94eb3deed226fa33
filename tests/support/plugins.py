"""Small packages with entry points, as pip leaves them, on the import path of a test."""

import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path


def installed(
    place: Path, name: str, source: str, points: Mapping[str, Mapping[str, str]], version: str = "1.0"
) -> None:
    """A package of one module: ``name`` with dots for spaces is the module, with dashes the distribution.

    points: by the group of entry points, what follows the colon of each, by its name. ``place`` goes on sys.path.
    """
    module = name.replace("-", "_")
    place.mkdir(exist_ok=True)
    (place / f"{module}.py").write_text(source)
    info = place / f"{module}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = [
        f"[lipbench.{group}]\n" + "".join(f"{key} = {module}:{value}\n" for key, value in named.items())
        for group, named in points.items()
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))


def exposed(place: Path, *packages: Path) -> None:
    """Packages with a pyproject.toml, as an editable install leaves them, without pip; ``place`` goes on sys.path."""
    place.mkdir(exist_ok=True)
    for package in packages:
        project = tomllib.loads((package / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        info = place / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
        )
        lines = [
            f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
            for group, points in project["entry-points"].items()
        ]
        (info / "entry_points.txt").write_text("\n".join(lines))
        for module in package.glob("*/__init__.py"):
            shutil.copytree(module.parent, place / module.parent.name, ignore=shutil.ignore_patterns("__pycache__"))
