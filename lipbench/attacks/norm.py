"""The norms in which perturbations are measured."""

import math
from enum import StrEnum

from lipbench.errors import unknown_name

ROUND_UP = 1 + 2.0**-50  # more than the roundings of 1 / sqrt(d) and of a radius times it, in float64


class Norm(StrEnum):
    """The norm in which a perturbation is measured, on inputs in [0, 1]."""

    L2 = "L2"
    Linf = "Linf"

    @classmethod
    def parse(cls, text: str) -> "Norm":
        """``"l2"``, ``"L2"``, ``"linf"`` or ``"Linf"``; raises LipbenchError for anything else."""
        for norm in cls:
            if norm.value.lower() == str(text).lower():
                return norm
        raise unknown_name("norm", str(text), [norm.value for norm in cls])

    def radius_from_l2(self, radius: float, dimension: int) -> float:
        """Factor-wise: the radius of the largest ball of this norm inside an L2 ball of ``radius``.

        |x|_2 <= sqrt(d) |x|_inf, so an L2 certificate r holds for L_inf at r / sqrt(d), rounded down. Works on arrays
        too.
        """
        return radius if self is Norm.L2 else radius / (math.sqrt(dimension) * ROUND_UP)
