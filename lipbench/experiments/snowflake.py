"""The von Koch snowflake in the unit square: its polygon, exact distances to it, and which points are inside."""

import numpy as np
from matplotlib.path import Path

from lipbench._internal.arrays import Floats

HEIGHT = 0.8  # of the snowflake, in sides of the square; it is centred
ROWS = 500  # points whose distances to all segments are computed at once


def snowflake(iterations: int) -> Floats:
    """The corners of the polygon, float64 (3 * 4^iterations, 2), clockwise; all its segments have the same length.

    Each iteration replaces the middle third of a segment by the other two sides of an equilateral triangle outside
    (von Koch 1904).
    """
    corners = HEIGHT / 2 * np.exp(1j * (np.pi / 2 - 2 * np.pi * np.arange(4) / 3))  # the first one again at the end
    for _ in range(iterations):
        start, third = corners[:-1], np.diff(corners) / 3
        peak = start + third * (1 + np.exp(1j * np.pi / 3))
        new = np.stack([start, start + third, peak, start + 2 * third], axis=1).ravel()
        corners = np.append(new, new[0])
    return 0.5 + np.stack([corners.real, corners.imag], axis=1)[:-1]


def area(corners: Floats) -> float:
    """The area of the polygon, in squares."""
    x, y = corners.T
    return float(abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2)


def distances(points: Floats, corners: Floats) -> Floats:
    """The Euclidean distance of each point (n, 2) to the closed polygon with corners (m, 2): float64 (n,)."""
    x, y = corners.T
    along, up = np.roll(x, -1) - x, np.roll(y, -1) - y
    squared = along**2 + up**2
    found = np.empty(len(points))
    for start in range(0, len(points), ROWS):
        right, above = (part[:, None] for part in points[start : start + ROWS].T)
        right, above = right - x, above - y  # from the start of each segment
        share = ((right * along + above * up) / squared).clip(0, 1)  # where on the segment the nearest point lies
        found[start : start + ROWS] = ((right - share * along) ** 2 + (above - share * up) ** 2).min(axis=1)
    return np.sqrt(found)


def inside(points: Floats, corners: Floats) -> np.ndarray:
    """Whether each point (n, 2) lies inside the polygon: bool (n,)."""
    return Path(corners).contains_points(points)


def outline(corners: Floats, parts: int) -> Floats:
    """Points on the polygon: ``parts`` of each segment, evenly spaced."""
    shares = np.arange(parts)[None, :, None] / parts
    return (corners[:, None] + shares * (np.roll(corners, -1, axis=0) - corners)[:, None]).reshape(-1, 2)


def pixels(side: int) -> Floats:
    """The centres of side x side pixels of the unit square, row by row from the bottom: (side^2, 2)."""
    centres = (np.arange(side) + 0.5) / side
    return np.stack(np.meshgrid(centres, centres), axis=-1).reshape(-1, 2)
