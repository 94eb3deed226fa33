"""The norms in which perturbations are measured."""

import math
from enum import StrEnum
from numbers import Real
from typing import Any

from lipbench.errors import LipbenchError, unknown_name

ROUND_UP = 1 + 2.0**-50  # more than the roundings of 1 / sqrt(d) and of a radius times it, in float64


class Norm(StrEnum):
    """The norm in which a perturbation is measured, on inputs in [0, 1]."""

    L2 = "L2"
    Linf = "Linf"

    @classmethod
    def parse(cls, given: Any) -> "Norm":
        """A norm as users write it: "L2", "l2", 2 or "2"; "Linf", "linf", "L_inf", "inf" or ``numpy.inf``.

        Raises LipbenchError for anything else, such as 1: certificates and attacks know no other norm.
        """
        name = f"{given:g}" if isinstance(given, Real) and not isinstance(given, bool) else given
        for norm in cls:
            if isinstance(name, str) and name.lower().replace("_", "").removeprefix("l") == norm.value[1:]:
                return norm
        raise unknown_name("norm", given, [norm.value for norm in cls])

    @classmethod
    def of_a_file(cls, given: Any) -> "Norm":
        """As ``parse``, for a key of a file: raises ValueError, as pydantic expects."""
        try:
            return cls.parse(given)
        except LipbenchError as error:
            raise ValueError(str(error)) from error

    def diameter(self, dimension: int) -> float:
        """The largest distance of two inputs in [0, 1] with so many entries."""
        return math.sqrt(dimension) if self is Norm.L2 else 1.0

    def radius_from_l2(self, radius: float, dimension: int) -> float:
        """Factor-wise: the radius of the largest ball of this norm inside an L2 ball of ``radius``.

        |x|_2 <= sqrt(d) |x|_inf, so an L2 certificate r holds for L_inf at r / sqrt(d), rounded down. Works on arrays
        too.
        """
        return radius if self is Norm.L2 else radius / (math.sqrt(dimension) * ROUND_UP)
