"""Leases: who works on what, on a file system that several processes and machines may share. No server, no lock.

A lease on NAME is the file ``NAME.GENERATION``, created exclusively. The process with the highest generation works.
A lease whose owner is gone is superseded by the next generation and never removed while its owner may live: only its
owner removes it, or, if the owner is dead, its successor at the end of its own work. An owner on this machine is gone
when its process is gone. An owner on another machine is gone when its file, which it touches every HEARTBEAT seconds,
has not changed for LEASE seconds of our own clock (clocks of two machines are never compared). Another regular file of
such a name is respected for the same time and never removed. Anything that is not a regular file is not a lease.
"""

import contextlib
import json
import logging
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lipbench._internal import files
from lipbench._internal.processes import Owner
from lipbench.errors import LipbenchError

LOG = logging.getLogger(__name__)
HEARTBEAT = 5.0
LEASE = 60.0
PATIENCE = 5.0  # seconds of waiting before the user sees a message
_NAME = re.compile(r"(.+)\.(0|[1-9][0-9]{0,8})", re.DOTALL)  # name and generation


@dataclass(frozen=True)
class Age:
    """How long the file of a lease has been observed without a change."""

    changed: int  # its mtime, in nanoseconds of its owner's clock
    seconds: float  # since the first observation of this mtime, by the observer's clock


@dataclass(frozen=True)
class Lease:
    """A lease that this process holds until it is released, or superseded because the process seemed to be gone."""

    path: Path
    name: str
    generation: int
    token: str  # generations start anew after a release: another process may own the file of this number by now
    superseded: tuple[Path, ...] = ()  # leases of dead processes, present when this one was made; ours to remove

    @property
    def held(self) -> bool:
        """False if another process superseded this lease."""
        return self._ours and max(generations(self.path.parent, self.name), default=-1) == self.generation

    @property
    def _ours(self) -> bool:
        return _content(self.path).get("token") == self.token

    def _is_left_over(self, path: Path) -> bool:
        """Whether a file is a lease; an empty one only if its writer was the next to acquire the name."""
        generation = int(path.name.rpartition(".")[2])
        next_one = generation == 0 or path.with_name(f"{self.name}.{generation - 1}") in self.superseded
        return _is_whole(path) or (next_one and is_lease(path))

    def touch(self) -> None:
        """The heartbeat."""
        with contextlib.suppress(OSError):
            os.utime(self.path, follow_symlinks=False)

    def release(self) -> None:
        """Remove the superseded leases, then this one: until then no other process can acquire the name."""
        if self._ours:
            for path in (*filter(self._is_left_over, self.superseded), self.path):
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)


class Leases:
    """The leases in one folder, as this process observes them."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._observed: dict[Path, tuple[int, float]] = {}  # mtime of others' leases, and when we first saw it

    def acquire(self, name: str) -> Lease | None:
        """A lease on ``name``, or None while another process holds it.

        Raises LipbenchError if the folder cannot be written.
        """
        files.make_own_folder(self.folder)
        found = generations(self.folder, name)
        if any(self.live(self._path(name, generation)) for generation in found):
            return None
        generation = max(found, default=-1) + 1
        while os.path.lexists(path := self._path(name, generation)) and not files.is_own_file(path):
            generation += 1  # a folder or a link of that name is not ours
        if _NAME.fullmatch(path.name) is None:
            raise LipbenchError(f"no lease can follow {self._path(name, max(found))}: move it away")
        lease = Lease(path, name, generation, secrets.token_hex(8))
        if not _create(lease):
            return None
        others = tuple(self._path(name, other) for other in generations(self.folder, name) if other != generation)
        if any(self.live(path) for path in others):  # made since we looked
            lease.path.unlink(missing_ok=True)
            return None
        return replace(lease, superseded=others)

    @contextlib.contextmanager
    def holding(self, name: str) -> Iterator[Lease | None]:
        """``acquire``, with a heartbeat inside and a release at the end."""
        lease = self.acquire(name)
        if lease is None:
            yield None
            return
        over = threading.Event()

        def beat() -> None:
            while not over.wait(HEARTBEAT):
                lease.touch()

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield lease
        finally:
            over.set()
            lease.release()

    @contextlib.contextmanager
    def waiting(self, name: str, pause: float = 0.05) -> Iterator[Lease]:
        """As ``holding``, after other holders have released the name; a long wait is logged."""
        begin, logged = time.monotonic(), False
        while True:
            with self.holding(name) as lease:
                if lease is not None:
                    yield lease
                    return
            if not logged and time.monotonic() - begin > PATIENCE and name in (held := self.running()):
                LOG.warning("waiting for %s held by %s", held[name], _holder(held[name]))
                logged = True
            time.sleep(pause)

    def tidy(self) -> None:
        """Remove the leases of dead processes, of names that no process works on."""
        names = {path.stem for path in self._files() if _is_whole(path)}
        for name in names - self.running().keys():
            with self.holding(name):
                pass

    def ages(self) -> dict[str, Age]:
        """The ages of others' leases, by file name."""
        now = time.monotonic()
        return {path.name: Age(changed, now - since) for path, (changed, since) in self._observed.items()}

    def observe(self, ages: Mapping[str, Age]) -> None:
        """Take over the ages that another process observed, which may have watched for longer."""
        now = time.monotonic()
        self._observed |= {self.folder / name: (age.changed, now - age.seconds) for name, age in ages.items()}

    def live(self, path: Path) -> bool:
        """Whether the owner of a lease may still be at work."""
        try:
            changed = path.lstat().st_mtime_ns
        except OSError:
            return False
        owner = owner_of(path)
        if owner is not None and owner.here:
            return not owner.gone
        before, since = self._observed.get(path, (changed, time.monotonic()))
        self._observed[path] = (changed, since if before == changed else time.monotonic())
        return time.monotonic() - self._observed[path][1] < LEASE

    def running(self) -> dict[str, Path]:
        """The names that some process works on, each with the file of its lease."""
        return {path.stem: path for path in sorted(self._files()) if self.live(path)}

    def left_by(self, pids: Collection[int]) -> list[str]:
        """The names whose leases processes of this machine left behind when they died."""
        owners = {path: owner_of(path) for path in self._files()}
        return sorted({path.stem for path, who in owners.items() if who and who.pid in pids and who.here and who.gone})

    def _files(self) -> list[Path]:
        return [path for path in _own_files(self.folder) if _NAME.fullmatch(path.name)]

    def _path(self, name: str, generation: int) -> Path:
        return self.folder / f"{name}.{generation}"


def _create(lease: Lease) -> bool:
    """Write the file of a lease; False if another process was first."""
    about = {"token": lease.token, "since": time.time(), "hostname": socket.gethostname()}
    try:
        with lease.path.open("xb", buffering=0) as file:
            try:
                file.write(json.dumps(asdict(Owner.me()) | about).encode())
            except OSError:  # an empty lease file would block all workers
                lease.path.unlink(missing_ok=True)
                raise
    except FileExistsError:
        return False
    except OSError as error:
        raise files.cannot_write(lease.path, error) from error
    return True


def owner_of(path: Path) -> Owner | None:
    """The process that made a lease; None while the file is being written, and for a file that is not a lease."""
    content = _content(path)
    place, pid, started = (content.get(key) for key in ("machine", "pid", "started"))
    if isinstance(place, str) and type(pid) is int and isinstance(started, str):
        return Owner(place, pid, started) if 0 < pid < 2**31 else None
    return None


def _holder(path: Path) -> str:
    """The holder of a lease, for a message."""
    owner, host = owner_of(path), _content(path).get("hostname")
    if owner is None:
        return "an unknown process"
    return f"{host if isinstance(host, str) else owner.machine}, process {owner.pid}"


def is_lease(path: Path) -> bool:
    """Whether a file is a lease, or one that is being written: both its name and its content must be those of one."""
    if _NAME.fullmatch(path.name) is None:
        return False
    with contextlib.suppress(OSError):
        return _is_whole(path) or (files.is_own_file(path) and path.stat().st_size == 0)
    return False


def _own_files(folder: Path) -> list[Path]:
    """The regular files in a folder: only they can be leases."""
    return list(filter(files.is_own_file, files.entries(folder)))


def generations(folder: Path, name: str) -> list[int]:
    """The generations of a name for which there is a file."""
    found = [_NAME.fullmatch(path.name) for path in _own_files(folder)]
    return [int(parts[2]) for parts in found if parts is not None and parts[1] == name]


def _is_whole(path: Path) -> bool:
    return owner_of(path) is not None and isinstance(_content(path).get("token"), str)


def _content(path: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        content = json.loads(path.read_text()) if files.is_own_file(path) else {}
        return content if isinstance(content, dict) else {}
    return {}
