"""Zoos: folders of models, and the bundled one. Nothing here imports a model's code, or torch."""

from pathlib import Path

from lipbench._internal import files, resources
from lipbench.errors import LipbenchError
from lipbench.models.cards import CARD


def model_folders(zoo: Path) -> list[Path]:
    """The models of a zoo, by name; a folder that is itself a model is a zoo of one.

    Raises LipbenchError if the folder does not exist or holds no model.
    """
    if not zoo.is_dir():
        raise LipbenchError(f"no zoo or model at {zoo}: the folder does not exist")
    if (zoo / CARD).is_file():
        return [zoo]
    found = sorted(path.parent for path in zoo.glob(f"*/{CARD}") if not path.parent.name.startswith(files.TEMPORARY))
    if not found:
        raise LipbenchError(f"no model in {zoo}: expected folders with a {CARD}; `lipbench train` makes a zoo")
    return found


def find_zoo(name_or_path: str) -> Path:
    """The folder of a zoo or model given by path, or by the name of a bundled zoo."""
    path = Path(name_or_path)
    if name_or_path in resources.ZOOS and not path.is_dir():
        return resources.folder(name_or_path)
    if path.is_file():
        raise LipbenchError(f"no zoo or model at {path}: it is a file; give the folder that holds it")
    if not path.exists() and len(path.parts) == 1:
        raise LipbenchError(
            f"no zoo or model at {path}: the folder does not exist, and the bundled zoos are "
            f"{', '.join(resources.ZOOS)}"
        )
    return path
