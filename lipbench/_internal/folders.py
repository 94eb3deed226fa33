"""Folders that are whole or absent: filled under a temporary name, then renamed."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from lipbench._internal import files


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder to fill; it becomes ``folder`` if the block succeeds, and is removed if it fails.

    A folder that exists by then is kept as it is, and the new one is dropped. Raises LipbenchError where the system
    refuses an operation.
    """
    temporary = files.temporary_name(folder)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        try:
            temporary.rename(folder)
        except OSError:
            if not os.path.lexists(folder):
                raise
    except OSError as error:
        raise files.cannot_write(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
