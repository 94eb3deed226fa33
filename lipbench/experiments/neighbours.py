"""The classifier of the nearest neighbour: its certificate, and its distance to its boundary from above.

d_k(x) is the distance from x to the nearest training sample of class k. Each d_k is 1-Lipschitz, since a minimum of
1-Lipschitz functions is. So (d_j - d_c) / 2 is 1-Lipschitz, 0 on the boundary between the classes c and j of the
nearest neighbour, and min over j of (d_j - d_c) / 2 = (d_other - d_same) / 2 is a certified radius.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from lipbench._internal.arrays import Floats

ROWS = 200  # of a matrix of distances, at once
HALVINGS = 40


@dataclass(frozen=True)
class Neighbours:
    """Distances to training samples."""

    to_class: Tensor  # float64 (n, K): to the nearest sample of each class
    others: Tensor  # int64 (n, k): the k nearest samples of other classes than the label, in ascending order
    distances: Tensor  # float64 (n, k): to these

    def radii(self, labels: Tensor) -> Tensor:
        """(d_other - d_same) / 2: float64 (n,), 0 where misclassified or tied."""
        same = self.to_class.gather(1, labels[:, None])[:, 0]
        return ((self.distances[:, 0] - same) / 2).clamp_min(0)


def neighbours(reference: Tensor, classes: Tensor, x: Tensor, labels: Tensor, k: int = 1) -> Neighbours:
    """The neighbours of x (n, d), with labels (n,), among ``reference`` (m, d) with ``classes`` (m,); all float64."""
    parts, kinds = [], torch.arange(int(classes.max()) + 1, device=classes.device)
    for rows, label in zip(x.split(ROWS), labels.split(ROWS), strict=True):
        # without the expanded square, which loses half of the digits
        distances = torch.cdist(rows, reference, compute_mode="donot_use_mm_for_euclid_dist")
        to_class = torch.stack([distances[:, classes == kind].amin(dim=1) for kind in kinds], dim=1)
        own = label[:, None] == classes
        nearest = distances.masked_fill(own, torch.inf).topk(k, dim=1, largest=False)
        parts.append((to_class, nearest.indices, nearest.values))
    return Neighbours(*(torch.cat(column).cpu() for column in zip(*parts, strict=True)))


def boundary_distances(reference: Tensor, classes: Tensor, x: Tensor, labels: Tensor) -> Floats:
    """An upper bound of the distance to 1-NN's boundary, float64 (n,), for samples that it classifies correctly.

    Bisection between x and the nearest sample of another class; the point that is measured has another class.
    """
    target = reference[neighbours(reference, classes, x, labels).others[:, 0].to(x.device)]
    inside, outside = torch.zeros(len(x), 1).to(x), torch.ones(len(x), 1).to(x)
    for _ in range(HALVINGS):
        middle = (inside + outside) / 2
        found = neighbours(reference, classes, x + middle * (target - x), labels)
        crossed = (found.to_class.argmin(dim=1).to(labels) != labels)[:, None]
        outside, inside = torch.where(crossed, middle, outside), torch.where(crossed, inside, middle)
    distances: Floats = (outside * (target - x)).norm(dim=1).cpu().numpy()
    return distances
