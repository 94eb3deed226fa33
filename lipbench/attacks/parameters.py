"""A parameter of an attack: its meaning, default and limits, declared together."""

import math
from dataclasses import dataclass
from typing import Any

MOST_STEPS = 1_000_000  # of any loop: a search of more would not end
MOST_RESTARTS = 10_000

_KINDS = {bool: "true or false", int: "a whole number", float: "a finite number", str: "a text"}
_LIMITS = (("at_least", "at least"), ("above", "above"), ("at_most", "at most"), ("below", "below"))


@dataclass(frozen=True)
class Parameter:
    """A parameter of an attack. With every value within the limits the attack searches; any other is refused.

    The type is that of the default; a whole number also serves for a float.
    """

    default: bool | int | float | str
    meaning: str  # one line
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()  # of a text; (): any

    @property
    def expected(self) -> str:
        """The accepted values, in words."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        limits = [f"{words} {limit}" for name, words in _LIMITS if (limit := getattr(self, name)) is not None]
        return ", ".join([_KINDS[type(self.default)], *limits])

    def accepts(self, value: Any) -> bool:
        """Whether the attack may be run with it."""
        if isinstance(self.default, str):
            return isinstance(value, str) and (not self.choices or value in self.choices)
        if isinstance(self.default, bool) or isinstance(value, bool):
            return isinstance(self.default, bool) and isinstance(value, bool)
        if not isinstance(value, int if isinstance(self.default, int) else int | float):
            return False
        return (
            (isinstance(value, int) or math.isfinite(value))  # a huge int is no float, but compares with one
            and (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )
