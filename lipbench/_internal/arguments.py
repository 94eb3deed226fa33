"""Checks of arguments that commands and Python functions share. Each returns the value, or raises LipbenchError."""

import contextlib
import logging
import math
import numbers
import operator
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lipbench.errors import LipbenchError, quoted

LOG = logging.getLogger(__name__)
SEEDS = 2**32  # NumPy's generators take no larger ones
LONGEST_PATH, LONGEST_NAME = 4096, 255  # bytes of a path, and of a name in it, that file systems take
PER_CPU = 8  # threads and processes for each CPU: more are slower, and a failed start may end the process


def whole_number(name: str, value: Any, least: int, most: int | None = None) -> int:
    """A whole number of any integer type (NumPy's as well; no bool) in ``least`` .. ``most``, as int."""
    limits = f"of at least {least}" if most is None else f"in {least} .. {most}"
    wrong = LipbenchError(f"{name} must be a whole number {limits}, got {quoted(value)}")
    try:
        number = operator.index(value)
    except TypeError:
        raise wrong from None
    if isinstance(value, bool) or number < least or (most is not None and number > most):
        raise wrong
    return number


def warn_of_fewer(samples: int | None, dataset: str, held: int) -> None:
    """Log a warning where more samples are asked for than the data set holds: all of them are used then."""
    if samples is not None and samples > held:
        LOG.warning("%d samples were asked for; the test set of %s has %d, and all are used", samples, dataset, held)


def seed(name: str, value: Any) -> int:
    """A seed of random numbers: a whole number below 2^32."""
    return whole_number(name, value, 0, SEEDS - 1)


def real_number(name: str, value: Any, least: float, most: float = math.inf) -> float:
    """A finite number in ``least`` .. ``most``, no bool, as float."""
    number = math.nan
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):
            number = float(value)
    if not (math.isfinite(number) and least <= number <= most):
        limits = f"of at least {least:g}" if most == math.inf else f"in [{least:g}, {most:g}]"
        raise LipbenchError(f"{name} must be a finite number {limits}, got {quoted(value)}")
    return number


def truth(name: str, value: Any) -> bool:
    """True or False, and no other value that merely counts as one of them."""
    if not isinstance(value, bool):
        raise LipbenchError(f"{name} must be True or False, got {quoted(value)}")
    return value


def text(name: str, value: Any) -> str:
    """A string."""
    if not isinstance(value, str):
        raise LipbenchError(f"{name} must be a string, got {quoted(value)}")
    return value


def path(name: str, value: Any) -> Path:
    """A path, given as a string or as a path."""
    try:
        found = Path(value)
    except TypeError:
        raise LipbenchError(f"{name} must be a path, got {quoted(value)}") from None
    if "\0" in str(found):
        raise LipbenchError(f"{name} must be a path, without null characters, got {quoted(value)}")
    if len(os.fsencode(found)) >= LONGEST_PATH or any(len(os.fsencode(part)) > LONGEST_NAME for part in found.parts):
        raise LipbenchError(f"{name} must be a path, no longer than file systems take, got {quoted(str(value))}")
    return found


def threads(value: Any, name: str = "threads") -> int:
    """A number of threads that this machine can be expected to start.

    OpenMP ends the whole process, with status 1 or a crash, where a thread cannot be started.
    """
    number = whole_number(name, value, 1)
    cpus = os.cpu_count() or 1
    if number > PER_CPU * cpus:
        raise LipbenchError(
            f"{name} must be at most {PER_CPU * cpus} on this machine, {PER_CPU} for each of its {cpus} CPUs, "
            f"got {number}"
        )
    return number


def distinct(kind: str, names: Iterable[str]) -> None:
    """Raise LipbenchError if a name occurs twice."""
    twice = repeated(names)
    if twice is not None:
        raise LipbenchError(f"the {kind} name {quoted(twice)} is there twice; names must differ within a run")


def repeated(names: Iterable[str]) -> str | None:
    """The first name that occurs twice, None if they differ."""
    return next((name for name, count in Counter(names).items() if count > 1), None)
