"""Phrases and numbers that several sentences need."""

import math
from collections.abc import Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal


def count(number: int, noun: str) -> str:
    """The number and the noun, as in "1 layer" and "2 layers"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def shown(names: Sequence[str], most: int = 3) -> str:
    """The first few names, and the number of the others."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def listed(parts: Sequence[str]) -> str:
    """All of them, with "and" before the last: "a, b and c"."""
    return ", ".join(parts[:-1]) + f" and {parts[-1]}" if len(parts) > 1 else "".join(parts)


def at_most(bound: float, digits: int = 9) -> str:
    """An upper bound in so many significant digits, at most 15: what is printed is not below it."""
    return _rounded(bound, digits, up=True)


def at_least(bound: float, digits: int = 9) -> str:
    """A lower bound in so many significant digits, at most 15: what is printed is not above it."""
    return _rounded(bound, digits, up=False)


def _rounded(value: float, digits: int, up: bool) -> str:
    near = f"{value:.{digits}g}"
    if not math.isfinite(value) or (float(near) >= value if up else float(near) <= value):
        return near
    exact = Decimal(value)
    last = Decimal(1).scaleb(exact.adjusted() - digits + 1)
    return f"{float(exact.quantize(last, rounding=ROUND_CEILING if up else ROUND_FLOOR)):.{digits}g}"
