"""The errors that a user can cause, and the exit statuses of the command line."""

import difflib
from collections.abc import Iterable

EXIT_HOLDS = 0
EXIT_BROKEN = 1  # kept for a certificate that was broken
EXIT_WRONG_USE = 2
EXIT_UNEXPECTED = 3
EXIT_INTERRUPTED = 130


class LipbenchError(Exception):
    """Wrong use: the message says what was expected, what came, and what to do, in one line."""


class UnsupportedError(LipbenchError):
    """A layer without a rule, or an attack asked for a case that it does not serve."""


def unknown_name(kind: str, name: object, known: Iterable[str]) -> LipbenchError:
    """The error for a name that is not registered: names the closest known one and all the others."""
    known = sorted(known)
    close = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return LipbenchError(f"unknown {kind} {name!r}: {hint}known are {', '.join(known) or 'none'}")


def one_line(error: BaseException) -> str:
    """A message on one line, for errors that come from other libraries."""
    return " ".join(str(error).split()) or type(error).__name__
