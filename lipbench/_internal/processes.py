"""Processes, identified across machines, restarts and namespaces."""

import contextlib
import functools
import hashlib
import os
import socket
from dataclasses import dataclass
from pathlib import Path


@functools.cache
def machine() -> str:
    """The machine since it was started, as seen from the process's namespace: 8 hex digits."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text())
    with contextlib.suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:8]


def _stat(pid: int) -> list[str]:
    """The fields of ``/proc/PID/stat`` from the state on; none where there is no such file."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return []


def exists(pid: int) -> bool:
    """Whether a process of this machine exists. A zombie does not: it has ended, and only waits for its parent."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it belongs to another user
        pass
    return _stat(pid)[:1] not in (["Z"], ["X"])


@dataclass(frozen=True)
class Owner:
    """A process, distinguished from others that had its number before."""

    machine: str
    pid: int
    started: str  # in ticks since the boot; empty where that is unknown

    @property
    def here(self) -> bool:
        """Whether it is, or was, a process of this machine."""
        return self.machine == machine()

    @property
    def gone(self) -> bool:
        """Whether it is known to have ended; False for a process elsewhere."""
        return self.here and (not exists(self.pid) or "".join(_stat(self.pid)[19:20]) != self.started)

    @classmethod
    def of(cls, pid: int) -> "Owner":
        """The process of this machine that has a number now."""
        return cls(machine(), pid, "".join(_stat(pid)[19:20]))

    @classmethod
    def me(cls) -> "Owner":
        """The current process."""
        return cls.of(os.getpid())
