"""Phrases that several sentences need."""

from collections.abc import Sequence


def count(number: int, noun: str) -> str:
    """The number and the noun, as in "1 layer" and "2 layers"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def shown(names: Sequence[str], most: int = 3) -> str:
    """The first few names, and the number of the others."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
