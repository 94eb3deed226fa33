"""The errors that a user can cause, and the exit statuses of the command line."""

import difflib
import re
import reprlib
import unicodedata
from collections.abc import Iterable, Mapping

EXIT_HOLDS = 0
EXIT_BROKEN = 1  # kept for a certificate that was broken
EXIT_WRONG_USE = 2  # or something failed and was left out
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


class CannotWriteError(LipbenchError):
    """The disk or the folder refuses what is written: a fault of the machine, which no model is to blame for."""


class MissingDataError(LipbenchError):
    """The files of a data set are not where they are looked for."""


class ChangedDataError(LipbenchError):
    """The samples are not those any more that they were: no model is to blame for it."""


class AttackError(LipbenchError):
    """An attack failed on a network, which other attacks may still run on."""


class NetworkError(LipbenchError):
    """A network failed: its forward raised, its logits are no numbers, or it takes more memory than there is."""


class LeftOutWarning(UserWarning):
    """A model or an attack failed and was left out; the results hold the others."""


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


LONGEST_REASON = 500  # characters


def reason(error: BaseException) -> str:
    """Why something failed: printable, on one line, of limited length. The code of a user may raise anything.

    An error that is neither lipbench's nor the system's is named with its type.
    """
    try:
        said = one_line(error)
    except Exception:  # a ``__str__`` that raises
        said = ""
    text = said if isinstance(error, LipbenchError | OSError) else f"{type(error).__name__}: {said}"
    return printable(text.removesuffix(": "))


def printable(text: str) -> str:
    """The text without control characters, cut to LONGEST_REASON."""
    safe = "".join("?" if unicodedata.category(letter) in _UNSAFE else letter for letter in text)
    return safe if len(safe) <= LONGEST_REASON else safe[: LONGEST_REASON - 3] + "..."


_UNSAFE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def left_out(name: str, why: str) -> str:
    """The line about a model that failed, wherever one is printed."""
    return f"{name} left out: {why}"


def nothing_left(failures: Mapping[str, str], what: str = "evaluated") -> LipbenchError:
    """The error where every model failed, from the reasons by name; a reason that all share stands alone."""
    reasons = list(dict.fromkeys(failures.values()))
    if len(reasons) == 1:
        return LipbenchError(reasons[0])
    why = "; ".join(f"{name}: {said}" for name, said in failures.items())
    return LipbenchError(f"none of {len(failures)} models could be {what}: {why}")
