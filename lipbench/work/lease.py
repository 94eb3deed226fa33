"""Who works on what, on a file system that several processes and machines may share: no server, no lock.

A claim on NAME is the file ``NAME.GENERATION``, created exclusively. Whoever holds the highest generation works. A
claim whose owner is gone is superseded by the next generation, never removed from under anyone: the file of a process
that lives is removed by that process only, that of a dead one by its successor when it is done. An owner on this
machine is gone when its process is, one elsewhere when its file, which it touches every HEARTBEAT seconds, has not
changed for LEASE seconds of our own clock (no two machines' clocks are compared). Another regular file of such a name
is respected for as long, and never removed; what is no regular file is no claim.
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
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lipbench._internal import files
from lipbench._internal.processes import Owner
from lipbench.errors import LipbenchError

LOG = logging.getLogger(__name__)
HEARTBEAT = 5.0
LEASE = 60.0
PATIENCE = 5.0  # seconds that a wait takes without a word
_NAME = re.compile(r"(.+)\.(0|[1-9][0-9]{0,8})", re.DOTALL)  # name and generation


@dataclass(frozen=True)
class Lease:
    """A claim that this process holds, until it is released or, after a long silence, superseded."""

    path: Path
    name: str
    generation: int
    token: str  # generations start anew after a release: the file of this number may be somebody else's by now
    superseded: tuple[Path, ...] = ()  # of the dead; there when the claim was made, and not to be removed by others

    @property
    def held(self) -> bool:
        """False if another process took this one for gone."""
        return self._ours and max(_generations(self.path.parent, self.name), default=-1) == self.generation

    @property
    def _ours(self) -> bool:
        return _content(self.path).get("token") == self.token

    def _is_left_over(self, path: Path) -> bool:
        """Whether it is a claim; an empty file only where whoever began to write it had this number to take."""
        generation = int(path.name.rpartition(".")[2])
        next_one = generation == 0 or path.with_name(f"{self.name}.{generation - 1}") in self.superseded
        return _is_whole(path) or (next_one and is_lease(path))

    def touch(self) -> None:
        """The heartbeat."""
        with contextlib.suppress(OSError):
            os.utime(self.path, follow_symlinks=False)

    def release(self) -> None:
        """Remove what the claim superseded, then the claim itself: until then nobody else can hold the name."""
        if self._ours:
            for path in (*filter(self._is_left_over, self.superseded), self.path):
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)


class Leases:
    """The claims in one folder, as this process sees them."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._seen: dict[Path, tuple[int, float]] = {}  # mtime of others' claims, and since when we know it

    def take(self, name: str) -> Lease | None:
        """A claim on ``name``, or None while another process holds it.

        Raises LipbenchError where the folder cannot be written.
        """
        files.make_own_folder(self.folder)
        generations = _generations(self.folder, name)
        if any(self.live(self._path(name, generation)) for generation in generations):
            return None
        generation = max(generations, default=-1) + 1
        while os.path.lexists(path := self._path(name, generation)) and not files.is_own_file(path):
            generation += 1  # a folder or a link of that name is not ours
        if _NAME.fullmatch(path.name) is None:
            raise LipbenchError(f"no claim can follow {self._path(name, max(generations))}: move it away")
        claim = Lease(self._path(name, generation), name, generation, secrets.token_hex(8))
        about = {"token": claim.token, "since": time.time(), "hostname": socket.gethostname()}
        try:
            with claim.path.open("xb", buffering=0) as file:
                try:
                    file.write(json.dumps(asdict(Owner.me()) | about).encode())
                except OSError:  # a claim of nobody would hold everybody up
                    claim.path.unlink(missing_ok=True)
                    raise
        except FileExistsError:
            return None
        except OSError as error:
            raise files.cannot_write(claim.path, error) from error
        others = tuple(self._path(name, other) for other in _generations(self.folder, name) if other != generation)
        if any(self.live(path) for path in others):  # made since we looked
            claim.path.unlink(missing_ok=True)
            return None
        return replace(claim, superseded=others)

    @contextlib.contextmanager
    def holding(self, name: str) -> Iterator[Lease | None]:
        """``take``, with a heartbeat inside and a release at the end."""
        claim = self.take(name)
        if claim is None:
            yield None
            return
        over = threading.Event()

        def beat() -> None:
            while not over.wait(HEARTBEAT):
                claim.touch()

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield claim
        finally:
            over.set()
            claim.release()

    @contextlib.contextmanager
    def waiting(self, name: str, pause: float = 0.05) -> Iterator[Lease]:
        """As ``holding``, once whoever holds it is done; a wait that is not short is logged."""
        begin, told = time.monotonic(), False
        while True:
            with self.holding(name) as claim:
                if claim is not None:
                    yield claim
                    return
            if not told and time.monotonic() - begin > PATIENCE and name in (held := self.running()):
                LOG.warning("waiting for %s held by %s", held[name], _holder(held[name]))
                told = True
            time.sleep(pause)

    def tidy(self) -> None:
        """Remove what the dead left behind, of names that nobody works on."""
        claims = {path.stem for path in self._files() if _is_whole(path)}
        for name in claims - self.running().keys():
            with self.holding(name):
                pass

    def silence(self) -> dict[str, tuple[int, float]]:
        """For each file of others, its mtime and for how many seconds we have seen no other one."""
        return {path.name: (mtime, time.monotonic() - since) for path, (mtime, since) in self._seen.items()}

    def told(self, silence: Mapping[str, tuple[int, float]]) -> None:
        """Take over what another process has seen, which may have watched for longer."""
        for name, (mtime, seconds) in silence.items():
            self._seen[self.folder / name] = (mtime, time.monotonic() - seconds)

    def live(self, path: Path) -> bool:
        """Whether the owner of a claim may still be at work."""
        try:
            changed = path.lstat().st_mtime_ns
        except OSError:
            return False
        owner = owner_of(path)
        if owner is not None and owner.here:
            return not owner.gone
        mtime, since = self._seen.get(path, (changed, time.monotonic()))
        self._seen[path] = (changed, since if mtime == changed else time.monotonic())
        return time.monotonic() - self._seen[path][1] < LEASE

    def running(self) -> dict[str, Path]:
        """The names that somebody works on, each with the file of its claim."""
        return {path.stem: path for path in sorted(self._files()) if self.live(path)}

    def _files(self) -> list[Path]:
        return [path for path in files.entries(self.folder) if _NAME.fullmatch(path.name) and files.is_own_file(path)]

    def _path(self, name: str, generation: int) -> Path:
        return self.folder / f"{name}.{generation}"


def owner_of(path: Path) -> Owner | None:
    """Who made a claim; None while it is being written, and for a file that is no claim."""
    content = _content(path)
    place, pid, started = (content.get(key) for key in ("machine", "pid", "started"))
    if isinstance(place, str) and type(pid) is int and isinstance(started, str):
        return Owner(place, pid, started) if 0 < pid < 2**31 else None
    return None


def _holder(path: Path) -> str:
    """Who holds a claim, as its file says."""
    owner, host = owner_of(path), _content(path).get("hostname")
    if owner is None:
        return "nobody known"
    return f"{host if isinstance(host, str) else owner.machine}, process {owner.pid}"


def is_lease(path: Path) -> bool:
    """Whether a file is a claim, or one that is being written: name and content must both be those of a claim."""
    if _NAME.fullmatch(path.name) is None:
        return False
    with contextlib.suppress(OSError):
        return _is_whole(path) or (files.is_own_file(path) and path.stat().st_size == 0)
    return False


def _is_whole(path: Path) -> bool:
    return owner_of(path) is not None and isinstance(_content(path).get("token"), str)


def _content(path: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        content = json.loads(path.read_text()) if files.is_own_file(path) else {}
        return content if isinstance(content, dict) else {}
    return {}


def _generations(folder: Path, name: str) -> list[int]:
    found = [_NAME.fullmatch(path.name) for path in files.entries(folder) if files.is_own_file(path)]
    return [int(parts[2]) for parts in found if parts is not None and parts[1] == name]
