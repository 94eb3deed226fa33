"""Folders that are whole or absent: filled under a temporary name, then renamed."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from lipbench._internal import files
from lipbench.errors import LipbenchError


@contextlib.contextmanager
def new_folder(folder: Path, *, keep_existing: bool = False) -> Iterator[Path]:
    """Yield a temporary folder to fill; it becomes ``folder`` if the block succeeds, and is removed if it fails.

    keep_existing: a folder that another process made meanwhile is kept, and the new one dropped; otherwise that is an
    error. Raises LipbenchError also where the system refuses an operation.
    """
    temporary = files.temporary_name(folder)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        try:
            temporary.rename(folder)
        except OSError as error:
            if not os.path.lexists(folder):
                raise
            if not keep_existing:
                raise exists_already(folder) from error
    except OSError as error:
        raise files.cannot_write(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def refuse_existing(folder: Path) -> None:
    """Raise LipbenchError if something of that name exists, whatever it is."""
    if os.path.lexists(folder):
        raise exists_already(folder)


def exists_already(folder: Path) -> LipbenchError:
    """The error for a folder that would be overwritten."""
    return LipbenchError(f"{folder} exists already, and is not overwritten: choose another name, or delete it")
