"""Files that are whole or absent: written under a temporary name, then renamed."""

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lipbench.errors import LipbenchError, one_line
from lipbench.processes import exists, machine

TEMPORARY = ".tmp-"  # every half-written file or folder carries this mark


def sha256_bytes(data: bytes) -> str:
    """Hex digest."""
    return hashlib.sha256(data).hexdigest()


def sha256_json(value: Any) -> str:
    """Digest of the canonical JSON form of plain data: the same value gives the same digest on any machine."""
    return sha256_bytes(json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode())


def temporary_name(path: Path) -> Path:
    """A name beside ``path`` that no other process uses."""
    return path.with_name(f"{TEMPORARY}{path.name}-{machine()}-{os.getpid()}-{secrets.token_hex(4)}")


def sweep(folder: Path) -> None:
    """Remove the temporary files and folders that no process will rename any more.

    Those of other machines are taken for abandoned after an hour without a change.
    """
    for leftover in folder.glob(f"{TEMPORARY}*"):
        with contextlib.suppress(OSError):
            place, pid = [*leftover.name.rsplit("-", 3)[1:3], "", ""][:2]
            if place == machine() and pid.isdigit():
                abandoned = not exists(int(pid))
            else:
                abandoned = time.time() - leftover.stat().st_mtime > 3600
            if abandoned:
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()


@contextlib.contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Yield a temporary path; rename it to ``path`` if the block succeeds, remove it if it fails.

    Raises LipbenchError when the disk is full or the folder is not writable.
    """
    temporary = temporary_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb") as file:  # on the disk before it gets its name
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file or nothing."""
    with writing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write a whole file or nothing, UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write a whole JSON file or nothing, keys in the order given."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def cannot_write(path: Path, error: OSError) -> LipbenchError:
    """The error for a full disk, a read-only folder, and their like."""
    return LipbenchError(f"cannot write {path}: {error.strerror or error}; free some space or choose another folder")


def make_folder(path: Path) -> Path:
    """Create a folder that can be written to; raises LipbenchError where that fails."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error
    if not os.access(path, os.W_OK):
        raise LipbenchError(f"cannot write {path}: the folder is not writable; choose another folder")
    return path


def _read(path: Path, what: str, parse: Callable[[bytes], Any]) -> Any:
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise LipbenchError(f"no {what} at {path}: the file does not exist") from error
    except OSError as error:
        raise LipbenchError(f"cannot read the {what} {path}: {error.strerror or error}") from error
    try:
        return parse(data)
    except ValueError as error:  # TOMLDecodeError, JSONDecodeError and UnicodeDecodeError are ValueErrors
        raise LipbenchError(f"cannot read the {what} {path}: {one_line(error)}") from error


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """Parse a TOML file; ``what`` names it in the error (a missing, unreadable or malformed file)."""
    return _read(path, what, lambda data: tomllib.loads(data.decode()))


def read_json(path: Path, what: str) -> Any:
    """Parse a JSON file; ``what`` names it in the error (a missing, unreadable or malformed file)."""
    return _read(path, what, json.loads)
