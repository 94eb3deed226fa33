"""Cells of frames as JSON holds them: numbers as they are, and null for what is n/a."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]


def number(value: Any) -> float | None:
    """A finite number as it is; None for NaN, NA, infinity and anything that is no number."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None


def interval(row: Row, name: str, ends: str) -> list[float | None] | None:
    """[value, lower, upper] of a metric, its value in the column ``ends`` with {} for the end; None if n/a.

    The ends are None where the frame has none.
    """
    value = number(row.get(name))
    if value is None:
        return None
    return [value, *(number(row.get(ends.format(end))) for end in ("lo", "hi"))]


def by_eps(rows: Sequence[Row], name: str, ends: str) -> list[list[float | None] | None]:
    """``interval`` of each row, which are those of one setting or model in ascending order of eps."""
    return [interval(row, name, ends) for row in rows]
