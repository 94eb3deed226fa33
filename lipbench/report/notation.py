"""The short words of figures and TeX tables for losses and their hyperparameters. Each loss declares its own.

Asking for them imports the losses, and so torch: only when a report is made.
"""

import functools
from collections.abc import Iterable

from lipbench._internal.registry import LOSSES
from lipbench.errors import LipbenchError
from lipbench.training.notation import Notation


def word(family: str) -> str:
    """What figures call a family; its own name where no loss of that name declares a word."""
    return _of(family).word or family


def words(families: Iterable[str]) -> dict[str, str]:
    """The words of those of ``families`` that have one, in the order of the bundled losses, then of ``families``."""
    present = list(dict.fromkeys(families))
    names = [*(name for name in LOSSES.bundled if name in present), *present]
    return {name: _of(name).word for name in dict.fromkeys(names) if _of(name).word}


def symbols(families: Iterable[str] = ()) -> dict[str, str]:
    """The symbols of hyperparameters, those of the bundled losses first, then those of other ``families``."""
    found: dict[str, str] = {}
    for name in dict.fromkeys((*LOSSES.bundled, *families)):
        for hyperparameter, symbol in _of(name).symbols.items():
            found.setdefault(hyperparameter, symbol)
    return found


def ordered(hyperparameters: Iterable[str], families: Iterable[str] = ()) -> list[str]:
    """Hyperparameters in the order of columns: those with a symbol as the losses declare them, then by name."""
    left = set(hyperparameters)
    known = [name for name in symbols(families) if name in left]
    return known + sorted(left.difference(known))


@functools.cache
def _of(family: str) -> Notation:
    """What the loss of that name declares; nothing for one that is not installed here, or declares none."""
    try:
        declared = getattr(LOSSES.get(family), "notation", None)
    except LipbenchError:
        declared = None
    return declared if isinstance(declared, Notation) else Notation()
