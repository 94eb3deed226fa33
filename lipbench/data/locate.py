"""Finding the files of a data set. Nothing is ever downloaded."""

import os
from collections.abc import Sequence
from pathlib import Path

from lipbench.errors import LipbenchError, MissingDataError, quoted

ENVIRONMENT_VARIABLE = "LIPBENCH_DATA"
KERAS_DATASETS = "~/.keras/datasets"


def search_folders(data_dir: Path | None) -> list[Path]:
    """The folders searched, in this order: ``data_dir`` if given, else the folder named by the environment
    variable ``LIPBENCH_DATA`` if set, else ``./data``; then, as the last place, ``~/.keras/datasets``.
    """
    first = data_dir or os.environ.get(ENVIRONMENT_VARIABLE) or "data"
    # os.path.expanduser and not Path.expanduser: the latter raises in a container whose user has no home
    return [Path(os.path.expanduser(folder)).absolute() for folder in (first, KERAS_DATASETS)]


def find(name: str, layouts: Sequence[str], data_dir: Path | None, how_to_get: str) -> Path:
    """The first path that exists among ``layouts`` (relative, preferred ones first) in the search folders.

    Raises MissingDataError that gives each path looked at and ``how_to_get``: what to fetch from which address.
    """
    paths = [folder / layout for folder in search_folders(data_dir) for layout in layouts]
    for path in paths:
        if os.path.exists(path):  # Path.exists raises where a folder may not be entered
            return path
    raise MissingDataError(
        f"no files of the data set {name!r}: looked at {', '.join(map(str, paths))}; "
        f"nothing is downloaded by lipbench: {how_to_get}, "
        f"and name the folder that holds it in {ENVIRONMENT_VARIABLE}"
    )


def refuse_argument(name: str, argument: str | None) -> None:
    """Raises LipbenchError for ``NAME:ARG`` where only ``NAME`` exists."""
    if argument is not None:
        raise LipbenchError(f"the data set {name!r} takes no argument, got {quoted(argument)}; write {name!r} alone")


def path_argument(name: str, argument: str | None) -> Path:
    """The path of ``NAME:PATH``, relative to the current folder; raises LipbenchError where it is missing."""
    if not argument:
        raise LipbenchError(f"the data set {name!r} needs a path; write '{name}:PATH'")
    return Path(os.path.expanduser(argument))
