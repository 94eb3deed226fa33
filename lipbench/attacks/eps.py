"""Radii as users write them: 0.1, "0.1" or "8/255", and the check that they are in units of the input range [0, 1]."""

import logging
import math
from collections.abc import Iterable
from fractions import Fraction
from numbers import Real
from typing import Annotated, Any

import numpy as np
from pydantic import PlainSerializer, PlainValidator

from lipbench.attacks.norm import Norm
from lipbench.errors import LipbenchError, quoted

LOG = logging.getLogger(__name__)
PIXELS = 255  # the largest value of a pixel
SAME = 1e-6  # relative
LARGE = {Norm.L2: 5.0, Norm.Linf: 0.5}  # larger than the radii of any published table
EXPECTED = "a number, or text such as '36/255'"


class Eps(float):
    """A radius in units of the input range [0, 1]: a number that knows how it was given, such as "36/255".

    It takes a number of any real type (no bool), or text: a decimal number or a fraction of whole numbers. Raises
    LipbenchError for anything else, and for NaN and infinity.
    """

    fraction: str | None  # None: given as a decimal number

    def __new__(cls, value: Any) -> "Eps":  # noqa: D102  see the class
        if isinstance(value, Eps):
            return value
        number = math.nan
        try:
            if isinstance(value, str):
                number = float(Fraction(value))
            elif isinstance(value, Real) and not isinstance(value, bool | np.bool_):
                number = float(value)
        except (ValueError, ZeroDivisionError, OverflowError):
            pass
        if not math.isfinite(number):
            raise LipbenchError(f"eps must be {EXPECTED}, got {quoted(value)}")
        radius = super().__new__(cls, number)
        radius.fraction = "".join(value.split()) if isinstance(value, str) and "/" in value else None
        return radius

    def __reduce__(self) -> "tuple[type[Eps], tuple[str]]":
        return Eps, (self.given,)

    @property
    def shown(self) -> str:
        """As tables print it: a fraction as it was given, other numbers in four digits."""
        return self.fraction or f"{self:.4g}"

    @property
    def given(self) -> str:
        """As text that is read back as the same number."""
        return self.fraction or f"{float(self)!r}"

    @property
    def plain(self) -> str | float:
        """As files keep it."""
        return self.fraction or float(self)


def of_a_file(value: Any) -> Eps:
    """The value of a key of a file; raises ValueError, as pydantic expects, for anything but a radius."""
    try:
        return Eps(value)
    except LipbenchError as error:
        raise ValueError(f"input should be {EXPECTED}") from error


# a field of a file that holds a radius
EpsField = Annotated[Eps, PlainValidator(of_a_file), PlainSerializer(lambda eps: eps.plain, return_type=str | float)]


def parse_grid(eps: Any) -> list[Eps]:
    """Radii given as a number, a text, or several of them; a text may hold commas. Raises LipbenchError for others."""
    if isinstance(eps, str):
        given: Iterable[Any] = [part for part in eps.split(",") if part.strip()]
    else:
        given = eps if isinstance(eps, Iterable) else [eps]
    values = [Eps(value) for value in given]
    if not values:
        raise LipbenchError(f"eps must be {EXPECTED}, or several of them, such as [0.1, 0.2], got {quoted(eps)}")
    return values


def same(eps: Eps, grid: Iterable[float]) -> list[float]:
    """Those of ``grid`` that are ``eps``; 36/255 may be given as a decimal number."""
    return [other for other in grid if math.isclose(eps, other, rel_tol=SAME)]


def refuse_absent(eps: Eps, grid: Iterable[Eps]) -> None:
    """Raise LipbenchError for an eps that is not in ``grid``, that of a run."""
    if not same(eps, grid):
        held = ", ".join(each.shown for each in sorted(set(grid)))
        raise LipbenchError(
            f"the run has no eps {eps.given}; it has {held}: choose one of these, or evaluate at {eps.given}"
        )


def refuse_unreachable(eps: Iterable[Eps], norm: Norm, dimension: int) -> None:
    """Raise LipbenchError for a radius that no two inputs of so many entries in [0, 1] are apart.

    Log a warning for one that only pixels of 0..255 would make sense of.
    """
    for radius in eps:
        pixels = f"{radius:g}/{PIXELS}"
        if radius > norm.diameter(dimension):
            raise LipbenchError(
                f"eps {radius.shown} is larger than the {norm} distance of any two inputs, "
                f"{norm.diameter(dimension):.4g}: eps is in units of the input range [0, 1]; divide by {PIXELS}: "
                f"{pixels}"
            )
        if radius > LARGE[norm]:
            LOG.warning(
                "eps %s is large in %s for inputs in [0, 1]; if it is meant for pixels 0..%d, write %s",
                *(radius.shown, norm, PIXELS, pixels),
            )
