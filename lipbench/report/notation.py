"""The short words of figures and TeX tables for losses and their hyperparameters. Each loss declares its own.

Asking for them imports the losses, and so torch: only when a report is made.
"""

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from lipbench._internal.registry import LOSSES
from lipbench.errors import LipbenchError
from lipbench.training.notation import Notation


@dataclass(frozen=True)
class Scale:
    """How a hyperparameter is drawn, and what counts as a step of it."""

    title: str  # of the axis: the symbol, or alpha/(1-alpha)
    step: str  # such as "doubling of tau"
    shown: Callable[[float], float]  # a value as the axis has it
    log: bool

    def places(self, values: Sequence[float]) -> list[float]:
        """Values in steps: logarithms to the base of 2, or the values themselves."""
        return [math.log2(self.shown(value)) if self.log else self.shown(value) for value in values]


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


def scale(family: str, hyperparameter: str, values: Sequence[float]) -> Scale:
    """The scale on which the effect of a hyperparameter is measured and drawn, for the values that it takes.

    A doubling is a step wherever all values are above 0: of alpha / (1 - alpha) where the loss says so. A value at the
    end of such a scale (0, or an alpha of 1) has no place on it, and the scale is then linear.
    """
    symbol = symbols([family]).get(hyperparameter, hyperparameter)
    if hyperparameter in _of(family).odds and all(0 < value < 1 for value in values):
        odds = f"{symbol}/(1-{symbol})"
        return Scale(odds, f"doubling of {odds}", lambda value: value / (1 - value), True)
    if all(value > 0 for value in values):
        return Scale(symbol, f"doubling of {symbol}", float, True)
    return Scale(symbol, f"unit of {symbol}", float, False)


@functools.cache
def _of(family: str) -> Notation:
    """What the loss of that name declares; nothing for one that is not installed here, or declares none."""
    try:
        declared = getattr(LOSSES.get(family), "notation", None)
    except LipbenchError:
        declared = None
    return declared if isinstance(declared, Notation) else Notation()
