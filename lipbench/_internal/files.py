"""Files that are whole or absent: written under a temporary name, then renamed.

Files of others in a folder are never touched. Only regular files are replaced, only names that parse fully are removed,
and links inside a folder are not followed. The callers decide whether a folder is lipbench's own.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lipbench._internal.processes import exists, machine
from lipbench.errors import CannotWriteError, LipbenchError, one_line

TEMPORARY = ".lipbench-tmp-"  # every half-written file or folder carries this mark; see ``temporary_name``
WRITTEN = ".lipbench.json"  # in a folder that holds others' files, too: the digests of what lipbench wrote there
WRITTEN_FORMAT = "lipbench report 1"
_TEMPORARY_NAME = re.compile(rf"{re.escape(TEMPORARY)}.+-[0-9a-f]{{8}}-[1-9][0-9]{{0,8}}-[0-9a-f]+", re.DOTALL)


def sha256_bytes(data: bytes) -> str:
    """Hex digest."""
    return hashlib.sha256(data).hexdigest()


def sha256_json(value: Any) -> str:
    """Digest of the canonical JSON form of plain data: the same value gives the same digest on any machine."""
    return sha256_bytes(json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode())


def temporary_name(path: Path) -> Path:
    """A name beside ``path`` that no other process uses."""
    # a part of the name is enough for a reader, and the whole might become too long for the file system
    return path.with_name(f"{TEMPORARY}{path.name[:50]}-{machine()}-{os.getpid()}-{secrets.token_hex(4)}")


def is_temporary(path: Path) -> bool:
    """Whether a file or folder has a name that ``temporary_name`` gives."""
    return _TEMPORARY_NAME.fullmatch(path.name) is not None and (is_own_file(path) or is_own_folder(path))


def is_own_file(path: Path) -> bool:
    """Whether it is a regular file, as lipbench writes them: no link to one, no pipe."""
    return path.is_file() and not path.is_symlink()


def is_own_folder(path: Path) -> bool:
    """Whether it is a folder, and no link to one."""
    return path.is_dir() and not path.is_symlink()


def sweep(folder: Path) -> None:
    """Remove the temporary files and folders that no process will rename any more, from a folder of lipbench's own.

    Those of other machines count as abandoned after an hour without a change.
    """
    for leftover in filter(is_temporary, entries(folder)):
        with contextlib.suppress(OSError):
            place, pid = leftover.name.rsplit("-", 3)[1:3]
            silent = time.time() - leftover.stat().st_mtime > 3600
            if silent if place != machine() else not exists(int(pid)):
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()


def entries(folder: Path) -> list[Path]:
    """The entries of a folder, by name; none where the folder does not exist."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return sorted(folder.iterdir())
    return []


def is_harmless(path: Path) -> bool:
    """Whether it is a file that people keep in any folder, such as .git or README.md; lipbench never touches it."""
    return path.name.startswith("README") or (path.name.startswith(".") and not path.name.startswith(TEMPORARY))


def foreign(folder: Path, known: Callable[[Path], bool] = lambda path: False) -> Path | None:
    """Something in a folder that is neither ``known`` nor temporary; None if there is no such thing."""
    strange = (path for path in entries(folder) if not known(path) and not is_temporary(path))
    return next(filter(os.path.lexists, strange), None)  # others may work there: an entry that is gone is not strange


def refuse_other(path: Path) -> None:
    """Raise LipbenchError if the path exists and is no regular file: lipbench neither made it nor replaces it."""
    if os.path.lexists(path) and not is_own_file(path):
        kind = "a symbolic link" if path.is_symlink() else "a folder" if path.is_dir() else "a special file"
        raise LipbenchError(
            f"cannot write {path}: {kind} of that name is there, which is not replaced; move it away, or choose "
            "another folder"
        )


def remove(path: Path) -> None:
    """Remove a regular file, if it is there; raises LipbenchError for anything else of its name."""
    refuse_other(path)
    path.unlink(missing_ok=True)


@contextlib.contextmanager
def _half_written(path: Path) -> Iterator[Path]:
    """Yield a temporary path, and remove it in the end. Raises LipbenchError where the system refuses an operation."""
    temporary = temporary_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _store(path: Path) -> None:
    """Flush a file to the disk before it gets its name."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


@contextlib.contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Yield a temporary path; rename it to ``path`` if the block succeeds, remove it if it fails.

    A regular file called ``path`` is replaced. Raises LipbenchError for anything else of that name, and when the disk
    is full or the folder is not writable.
    """
    with _half_written(path) as temporary:
        refuse_other(path)
        yield temporary
        _store(temporary)
        refuse_other(path)
        temporary.replace(path)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file or nothing."""
    with writing(path) as temporary:
        temporary.write_bytes(data)


def write_new(path: Path, data: bytes) -> bool:
    """Write a whole file, but not over anything; returns whether it did. Of several processes, one does."""
    with _half_written(path) as temporary:
        temporary.write_bytes(data)
        _store(temporary)
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links
            if os.path.lexists(path):
                return False
            temporary.rename(path)
        return True


def refuse_changed(folder: Path, names: Iterable[str], hint: str, contents: Mapping[str, str] | None = None) -> None:
    """Raise LipbenchError for files, by name, that exist and are not as lipbench wrote them; ``hint``: what to do.

    contents: digests of the files that are about to be written; a file that exists in this form already is no loss.
    """
    before = _written(folder)
    for name in names:
        digest = _digest(folder / name)
        if digest in (None, (contents or {}).get(name), *(before or {}).get(name, ())):
            continue
        if before is None:
            raise LipbenchError(
                f"{folder / name} is there, and no {WRITTEN} beside it says that lipbench wrote it: {hint}"
            )
        raise LipbenchError(
            f"{folder / name} was changed since lipbench wrote it, or lipbench did not write it: {hint}"
        )


def write_among_others(folder: Path, contents: Mapping[str, bytes], hint: str) -> None:
    """Write files, by name, into a folder that may hold others' files, too: all of them, or none.

    An existing file is replaced only if lipbench wrote it and it has not changed since: ``WRITTEN`` holds the digests
    of the files that were written, and of those about to be, so that a process may be killed at any moment. Raises
    LipbenchError for any other existing file, with a ``hint`` of what to do.
    """
    before = _written(folder) or {}
    digests = {name: sha256_bytes(data) for name, data in contents.items()}
    refuse_changed(folder, contents, hint, digests)
    there = {name: _digest(folder / name) for name in contents}
    after = {**before, **{name: [digest] for name, digest in digests.items()}}
    changed = [name for name in contents if there[name] != digests[name]]
    if changed:
        both = {name: [*before.get(name, ()), digests[name]] for name in digests}
        _write_list(folder, {**after, **both})
    for name in changed:
        write_bytes(folder / name, contents[name])
    if changed or after != before:
        _write_list(folder, after)


def _write_list(folder: Path, digests: Mapping[str, list[str]]) -> None:
    write_json(folder / WRITTEN, {"format": WRITTEN_FORMAT, "files": digests})


def _written(folder: Path) -> dict[str, list[str]] | None:
    """The digests of the files that lipbench wrote into a folder, by name; None where there is no list of them."""
    path = folder / WRITTEN
    if not os.path.lexists(path):
        return None
    content = None
    with contextlib.suppress(ValueError):
        content = json.loads(read_bytes(path, "list of files")) if is_own_file(path) else None
    found = content.get("files") if isinstance(content, dict) and content.get("format") == WRITTEN_FORMAT else None
    if not isinstance(found, dict) or not all(isinstance(digests, list) for digests in found.values()):
        raise LipbenchError(f"{path} is not lipbench's list of the files that it wrote; move it away or delete it")
    return found


def _digest(path: Path) -> str | None:
    """The digest of a file's content; empty for anything but a regular file, None where nothing exists."""
    if not os.path.lexists(path):
        return None
    try:
        return sha256_bytes(path.read_bytes()) if is_own_file(path) else ""
    except OSError as error:
        raise cannot_write(path, error) from error


def write_text(path: Path, text: str) -> None:
    """Write a whole file or nothing, UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write a whole JSON file or nothing, keys in the order given."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def cannot_write(path: Path, error: OSError) -> CannotWriteError:
    """The error for a full disk, a read-only folder, and their like."""
    if error.errno in (errno.EEXIST, errno.ENOTDIR):
        file = next((place for place in (path, *path.parents) if place.is_file()), None)
        if file is not None:
            return CannotWriteError(f"cannot write {path}: {file} is a file: name a folder")
    todo = {
        errno.ENAMETOOLONG: "choose a shorter name",
        errno.EACCES: "choose a folder that you may write to",
        errno.EPERM: "choose a folder that you may write to",
        errno.EROFS: "choose a folder on another file system",
        errno.ENOSPC: "free some space or choose another folder",
        errno.EDQUOT: "free some space or choose another folder",
    }
    return CannotWriteError(
        f"cannot write {path}: {error.strerror or error}; {todo.get(error.errno or 0, 'choose another folder')}"
    )


def make_folder(path: Path) -> Path:
    """Create a folder that can be written to; raises LipbenchError where that fails."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error
    if not os.access(path, os.W_OK):
        raise CannotWriteError(f"cannot write {path}: the folder is not writable; choose another folder")
    return path


def refuse_link(path: Path) -> None:
    """Raise LipbenchError for a link in the place of a folder inside one of lipbench's own: it would lead out."""
    if path.is_symlink():
        raise LipbenchError(
            f"cannot write {path}: it is a symbolic link, which is not followed; put a folder in its place, or choose "
            "another folder with -o"
        )


def make_own_folder(path: Path) -> Path:
    """As ``make_folder``, of a folder inside one of lipbench's own."""
    refuse_link(path)
    return make_folder(path)


def read_bytes(path: Path, what: str) -> bytes:
    """The content of a file; ``what`` names it in the error (a missing or unreadable file)."""
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise LipbenchError(f"no {what} at {path}: the file does not exist") from error
    except OSError as error:
        raise LipbenchError(f"cannot read the {what} {path}: {error.strerror or error}") from error


def _parse(data: bytes, path: Path, what: str, parse: Callable[[bytes], Any]) -> Any:
    try:
        return parse(data)
    # TOMLDecodeError, JSONDecodeError and UnicodeDecodeError are ValueErrors; brackets may be nested too deeply
    except (ValueError, RecursionError) as error:
        raise LipbenchError(f"cannot read the {what} {path}: {one_line(error)}") from error


def parse_toml(data: bytes, path: Path, what: str) -> dict[str, Any]:
    """Parse the content of a TOML file; the others name it in the error (a malformed file)."""
    parsed: dict[str, Any] = _parse(data, path, what, lambda data: tomllib.loads(data.decode()))
    return parsed


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """Parse a TOML file; ``what`` names it in the error (a missing, unreadable or malformed file)."""
    return parse_toml(read_bytes(path, what), path, what)


def read_json(path: Path, what: str) -> Any:
    """Parse a JSON file; ``what`` names it in the error (a missing, unreadable or malformed file)."""
    return _parse(read_bytes(path, what), path, what, json.loads)
