"""The errors that a user can cause, and the exit statuses of the command line."""

import difflib
import re
import reprlib
from collections.abc import Iterable

EXIT_HOLDS = 0
EXIT_BROKEN = 1  # kept for a certificate that was broken
EXIT_WRONG_USE = 2
EXIT_UNEXPECTED = 3
EXIT_INTERRUPTED = 130
MANY = 20  # names in one message
LONGEST = 200  # characters of what a message quotes
_LONG = re.compile(rf"\S{{{LONGEST + 1},}}")
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = LONGEST


class LipbenchError(Exception):
    """Wrong use: the message says what was expected, what came, and what to do, in one line.

    What it quotes is cut at ``LONGEST`` characters.
    """

    def __init__(self, message: str):
        super().__init__(shortened(message))


class UnsupportedError(LipbenchError):
    """A layer without a rule, or an attack asked for a case that it does not serve."""


def unknown_name(kind: str, name: object, known: Iterable[str]) -> LipbenchError:
    """The error for a name that is not registered: names the closest known one, and others."""
    known = sorted(known)
    shown = ", ".join(known[:MANY]) + (f" and {len(known) - MANY} more" if len(known) > MANY else "")
    close = closest(name, known)
    hint = f"did you mean {close!r}? " if close else ""
    return LipbenchError(f"unknown {kind} {quoted(name)}: {hint}known are {shown or 'none'}")


def closest(name: object, known: Iterable[str]) -> str | None:
    """The known name that is most like ``name``; None if none is like it."""
    return next(iter(difflib.get_close_matches(str(name)[:LONGEST], known, n=1, cutoff=0.5)), None)


def quoted(value: object) -> str:
    """A value as messages quote it: on one line, at most ``LONGEST`` characters."""
    try:
        text = " ".join(_REPR.repr(value).split())
    except ValueError:  # Python writes no integer of more than 4300 digits
        return f"a {type(value).__name__} too large to print"
    return text if len(text) <= LONGEST else _cut(text)


def shortened(message: str) -> str:
    """The message, with names and paths of more than ``LONGEST`` characters cut; other texts pass ``quoted``."""
    return _LONG.sub(lambda found: _cut(found[0]), message)


def _cut(text: str) -> str:
    """The beginning and the end."""
    return f"{text[: LONGEST - 23]}...{text[-20:]}"


def one_line(error: BaseException) -> str:
    """A message on one line, for errors that come from other libraries."""
    return " ".join(str(error).split()) or type(error).__name__
