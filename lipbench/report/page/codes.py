"""Bounds of samples as whole numbers of two bytes, which compare with the suite's eps as the bounds themselves do.

The browser counts ``bound > eps``. Between two neighbouring eps of the suite a bound becomes the place of the cell that
holds it, counted upwards; a cell is closed above. So ``code(bound) > code(eps)`` exactly where ``bound > eps`` for each
eps of the suite, and within a cell elsewhere: a ten-thousandth of the distance of two eps in a usual grid.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lipbench._internal.arrays import Floats

Codes = NDArray[np.uint16]
INFINITE = 65535


@dataclass(frozen=True)
class Scale:
    """From bounds to codes. ``knots``: 0, the eps of the suite, and a bound above which there is no finite one."""

    knots: tuple[float, ...]  # ascending, two or more

    @classmethod
    def of(cls, eps: Sequence[float], *bounds: Floats) -> "Scale":
        """The scale of bounds, of any shape, under a suite with these eps."""
        known = [values[np.isfinite(values)] for values in bounds]
        largest = max((float(values.max()) for values in known if values.size), default=0.0)
        grid = sorted({float(each) for each in eps if each > 0})
        return cls((0.0, *grid, max(largest, 2 * grid[-1] if grid else 1.0)))

    @property
    def cells(self) -> int:
        """Between two neighbouring knots."""
        return (INFINITE - 1) // (len(self.knots) - 1)

    def encode(self, bounds: Floats) -> Codes:
        """uint16, as ``bounds``, which are at least 0 and not NaN; infinite ones are ``INFINITE``, 0 is 0."""
        knots, finite = np.array(self.knots), np.isfinite(bounds)
        held = np.where(finite, bounds, 0.0)
        above = np.searchsorted(knots, held, side="left").clip(1, len(knots) - 1)
        low, high = knots[above - 1], knots[above]
        cell = np.ceil((held - low) / (high - low) * self.cells).clip(1, self.cells)
        codes = np.where(held > 0, (above - 1) * self.cells + cell, 0)
        return np.where(finite, codes, INFINITE).astype(np.uint16)

    def decode(self, codes: Codes) -> Floats:
        """The upper end of the cell of each code: never below the bound, and within a cell of it."""
        place = codes.astype(np.float64) / self.cells
        known = np.interp(place, np.arange(len(self.knots)), self.knots)
        return np.where(codes == INFINITE, np.inf, known)
