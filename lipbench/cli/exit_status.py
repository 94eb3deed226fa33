"""The exit status of the process, decided by lipbench alone: a library cannot end it with 0, or with 1.

Status 1 means a broken certificate. But Python ends with 1 for an uncaught exception, such as a missing dependency, and
OpenMP's library calls ``exit(1)`` if it cannot start a thread. Other libraries do so if memory is short.

So ``guard`` registers an exit function that ends the process with EXIT_UNEXPECTED, and ``end`` registers one that ends
it with the wanted status. C runs exit functions from the last to the first (C11, 7.22.4.4), and each of ours calls
``_exit``: the one that was registered last decides, whatever status ``exit`` was given. They are registered through
``__cxa_atexit`` (Itanium C++ ABI, section 3.3.5.3), which passes an argument. Where it does not exist, as on Windows,
the status is the one that ``exit`` was given. Not covered: a library that calls ``_exit`` itself, and signals.
"""

import contextlib
import ctypes
import os
import sys
from typing import Any, NoReturn

from lipbench.errors import EXIT_UNEXPECTED


def guard() -> None:
    """From now on the process ends with EXIT_UNEXPECTED, unless it is ended by ``end``."""
    _decide(EXIT_UNEXPECTED)


def end(status: int) -> NoReturn:
    """End the process as Python does, exit functions and other threads included, with this status."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # lost, closed, or not there
            stream.flush()
    _decide(status)
    sys.exit(status)


def _decide(status: int) -> None:
    """Have the C library end the process with this status, once Python has done all it does at its end."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        library = ctypes.CDLL(None)
        library.fflush(None)  # _exit does not, and what others have printed so far is complete
        library.__cxa_atexit(
            ctypes.cast(library._exit, ctypes.c_void_p), ctypes.c_void_p(status), ctypes.c_void_p(None)
        )


def let_readers_leave() -> None:
    """A reader of our output that has enough, as ``head`` does, ends the printing and not the work.

    So does one that was never there: Python has None for a stream that is closed, which libraries write to.
    """
    for name in ("stdout", "stderr"):
        setattr(sys, name, _Output(getattr(sys, name) or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")))


class _Output:
    """A stream that prints nowhere once its reader has left."""

    def __init__(self, stream: Any):
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return int(self._stream.write(text))
        except BrokenPipeError:
            self._leave()
            return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._leave()

    def _leave(self) -> None:
        """What is still in the buffer goes the same way."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
