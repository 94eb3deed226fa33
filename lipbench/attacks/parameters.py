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

    The type is that of the default, or ``kind`` where the default is None: the attack's own choice. A whole number also
    serves for a float.
    """

    default: bool | int | float | str | None
    meaning: str  # one line
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()  # of a text; (): any
    kind: type | None = None  # bool, int, float or str; needed where the default is None

    @property
    def type(self) -> type:
        """Of the values: bool, int, float or str."""
        return self.kind or type(self.default)

    @property
    def expected(self) -> str:
        """The accepted values, in words."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        limits = [f"{words} {limit}" for name, words in _LIMITS if (limit := getattr(self, name)) is not None]
        return ", ".join([_KINDS[self.type], *limits])

    def accepts(self, value: Any) -> bool:
        """Whether the attack may be run with it."""
        if value is None:
            return self.default is None
        if self.type is str:
            return isinstance(value, str) and (not self.choices or value in self.choices)
        if self.type is bool or isinstance(value, bool):
            return self.type is bool and isinstance(value, bool)
        if not isinstance(value, int if self.type is int else int | float):
            return False
        return (
            (isinstance(value, int) or math.isfinite(value))  # a huge int is no float, but compares with one
            and (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )
