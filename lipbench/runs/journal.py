"""What was computed when, and how long it took: one file per process, a line per unit. Reports do not read it."""

import contextlib
import errno
import json
import os
import stat
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from lipbench._internal import files
from lipbench._internal.processes import Owner

# neither through a link, nor waiting for the reader of a pipe
FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK


@dataclass(frozen=True)
class Entry:
    """A unit that was computed."""

    unit: str
    kind: str  # see ``plans.Unit.kind``
    model: str
    samples: int  # of its shard
    seconds: float
    at: float  # seconds since 1970, by the clock of the machine


class Journal:
    """The journal of a run folder."""

    def __init__(self, folder: Path):
        self.folder = folder

    def add(self, unit: str, kind: str, model: str, samples: int, seconds: float) -> None:
        """Append an entry to this process's file; raises LipbenchError where that cannot be written."""
        me = Owner.me()
        path = files.make_own_folder(self.folder) / f"{me.machine}-{me.pid}-{me.started}.jsonl"
        line = json.dumps(asdict(Entry(unit, kind, model, samples, round(seconds, 3), time.time()))) + "\n"
        try:
            descriptor = os.open(path, FLAGS, 0o644)
            try:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise OSError(errno.EEXIST, "something that is no file has that name")
                if os.write(descriptor, line.encode()) < len(line):  # what a nearly full disk does
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            finally:
                os.close(descriptor)
        except OSError as error:
            raise files.cannot_write(path, error) from error

    def entries(self) -> list[Entry]:
        """All entries of all processes, by time; a line that was cut off by a crash is left out."""
        found = []
        for path in filter(Path.is_file, self.folder.glob("*.jsonl")):
            for line in path.read_text(errors="replace").splitlines():
                with contextlib.suppress(ValueError, TypeError):
                    found.append(Entry(**json.loads(line)))
        return sorted(found, key=lambda entry: entry.at)
