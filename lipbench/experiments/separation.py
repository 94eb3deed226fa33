"""How far apart samples of different labels lie, and how much of that distance their certificates take up.

A certified ball holds points of one class only. So the balls of two samples of different labels, both classified
correctly, do not overlap: their radii add up to at most the distance of the samples. One radius alone can be larger
than half of the distance, if the other is smaller. The smallest radius of a network without errors cannot: it is at
most half of the smallest distance between samples of different labels.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from lipbench._internal.arrays import Floats, Ints

ROWS = 500  # whose distances to all others are in memory at once


def half_distances(x: ArrayLike, labels: ArrayLike) -> Floats:
    """Half of each sample's L2 distance to the nearest sample of another label, float64 (n,); inf where there is none.

    x: (n, ...); labels: whole numbers (n,).
    """
    return torch.cat([distances.amin(1) / 2 for _, distances in _to_others(x, labels)]).numpy()


def shares_taken(x: ArrayLike, labels: ArrayLike, radii: ArrayLike) -> Floats:
    """The largest (r_i + r_j) / |x_i - x_j| over samples j of other labels, float64 (m, n): above 1, a radius is false.

    x: (n, ...); labels: whole numbers (n,); radii: certified L2 radii of m networks, (m, n), 0 where misclassified.
    Only pairs that are both classified correctly count; NaN for a sample that is in no such pair.
    """
    held = torch.as_tensor(np.asarray(radii, dtype=np.float64))
    parts = []
    for rows, distances in _to_others(x, labels):
        pairs = ((radius[rows, None], radius, distances) for radius in held)
        parts.append(torch.stack([_taken(*pair) for pair in pairs]))
    largest = torch.cat(parts, 1).numpy()
    return np.where(largest > 0, largest, np.nan)


def _taken(own: Tensor, other: Tensor, distances: Tensor) -> Tensor:
    return torch.where((own > 0) & (other > 0), (own + other) / distances, 0.0).amax(1)


def distinct(x: ArrayLike) -> Ints:
    """The places of the samples that equal none before them, in order: int64 (m,). x: (n, ...)."""
    rows = np.asarray(x)
    _, first = np.unique(rows.reshape(len(rows), -1), axis=0, return_index=True)
    return np.sort(first)


def _to_others(x: ArrayLike, labels: ArrayLike) -> Iterator[tuple[slice, Tensor]]:
    """Some rows, and their distances to all samples: float64 (rows, n), inf to those of the same label."""
    points = torch.as_tensor(np.asarray(x, dtype=np.float64)).flatten(1)
    classes = torch.as_tensor(np.asarray(labels))
    for start in range(0, len(points), ROWS):
        rows = slice(start, start + ROWS)
        distances = torch.cdist(points[rows], points)  # in float64: its errors are some 1e-11 at these sizes
        yield rows, distances.masked_fill(classes[rows, None] == classes, torch.inf)
