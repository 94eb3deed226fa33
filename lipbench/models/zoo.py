"""Zoos: folders of models, and the bundled one. Nothing here imports a model's code, or torch."""

import os
from collections.abc import Sequence
from pathlib import Path

from lipbench._internal import files, resources
from lipbench.errors import LipbenchError, closest, quoted
from lipbench.models.cards import CARD


def model_folders(zoo: Path) -> list[Path]:
    """The models of a zoo, by name; a folder that is itself a model is a zoo of one.

    Raises LipbenchError if the folder does not exist or holds no model.
    """
    if not zoo.is_dir():
        beside = {path.name: path for path in files.entries(zoo.parent) if path.is_dir() and _holds_cards(path)}
        near = closest(zoo.name, beside)
        hint = f"; did you mean {beside[near]}?" if near else ""
        raise LipbenchError(f"no zoo or model at {zoo}: the folder does not exist{hint}")
    if (zoo / CARD).is_file():
        return [zoo]
    found = sorted(path.parent for path in zoo.glob(f"*/{CARD}") if not path.parent.name.startswith(files.TEMPORARY))
    if not found:
        raise LipbenchError(f"no model in {zoo}: expected folders with a {CARD}; `lipbench train` makes a zoo")
    return found


def _holds_cards(path: Path) -> bool:
    return (path / CARD).is_file() or any(path.glob(f"*/{CARD}"))


def find_zoo(name_or_path: str) -> Path:
    """The folder of a zoo or model given by path, or by name.

    Names are those of the bundled zoo, ``digits``, and of its models, ``digits/MODEL`` or ``MODEL``; in a checkout also
    those of published zoos, ``mnist``, and of their models, ``mnist/MODEL``. A folder of that path comes first. Raises
    LipbenchError for a file, and for a name that is not known.
    """
    path = Path(name_or_path)
    if not os.path.lexists(path):
        bundled = _bundled(path)
        if bundled is not None:
            return bundled
    if path.is_file():
        raise LipbenchError(f"no zoo or model at {path}: it is a file; give the folder that holds it")
    if not path.exists() and len(path.parts) == 1:
        near = closest(name_or_path, [*resources.zoos(), *_models()])
        hint = f"; did you mean {near}?" if near else ""
        raise LipbenchError(
            f"no zoo or model at {path}: the folder does not exist, and the zoos that have a name are "
            f"{', '.join(resources.zoos())}{hint}"
        )
    return path


def _models(zoos: Sequence[str] = resources.ZOOS) -> dict[str, Path]:
    """The folders of the models of zoos that have a name, by default of the bundled one, by their own names."""
    return {folder.name: folder for zoo in zoos for folder in model_folders(resources.folder(zoo))}


def _bundled(path: Path) -> Path | None:
    """The folder of a bundled zoo or model of that name; None if none has it."""
    zoo, *model = path.parts or ("",)
    if zoo not in resources.zoos():
        return _models().get(zoo) if not model else None
    if len(model) != 1:
        return None if model else resources.folder(zoo)
    if model[0] not in (models := _models([zoo])):
        near = closest(model[0], models)
        hint = f"did you mean {zoo}/{near}? " if near else ""
        raise LipbenchError(f"no model {quoted(model[0])} in {zoo}: {hint}`lipbench list models {zoo}` lists them")
    return models[model[0]]
