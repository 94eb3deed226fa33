"""On which axis a hyperparameter is drawn: in logarithms where it can be, alpha of HKR as its odds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lipbench.report import notation

ODDS = ("alpha",)  # a weight against its rest: HKR is alpha * hinge - (1 - alpha) * KR
WIDE = 3.0  # from this ratio of the largest to the smallest on, an axis is logarithmic


@dataclass(frozen=True)
class Axis:
    """The axis of one hyperparameter."""

    name: str  # as on the card
    title: str  # with its symbol
    log: bool
    odds: bool  # a value v is drawn at v / (1 - v)

    def place(self, value: float) -> float:
        """Where the value stands on the axis, before any scaling to pixels."""
        shown = value / (1 - value) if self.odds else value
        return math.log(shown) if self.log else shown

    @classmethod
    def of(cls, name: str, values: Sequence[float]) -> "Axis":
        """The axis on which these values of the hyperparameter ``name`` are drawn."""
        symbol = notation.symbols().get(name, name)
        odds = name in ODDS and all(0 < value < 1 for value in values)
        shown = [value / (1 - value) if odds else value for value in values]
        log = bool(shown) and min(shown) > 0 and max(shown) >= WIDE * min(shown)
        return cls(name, f"{symbol}/(1−{symbol})" if odds else symbol, log, odds)
