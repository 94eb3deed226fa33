"""Runs of targeted attacks, in batches: each row with each class that it may be moved to."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lipbench.attacks.batch import AttackBatch
from lipbench.attacks.network import Network


@dataclass(frozen=True)
class Runs:
    """A batch of b independent runs. All int64 (b,), on the CPU."""

    rows: Tensor  # of the attack's inputs; one row may have runs towards several classes
    classes: Tensor  # the targets
    places: Tensor  # of the target among the logits at x: 2 is the second largest

    def of(self, keep: Tensor) -> "Runs":
        """The runs where ``keep``: bool (b,)."""
        return Runs(self.rows[keep], self.classes[keep], self.places[keep])


def untargeted(network: Network, x: Tensor) -> Iterator[Runs]:
    """One run for each row, without a target."""
    for rows in torch.arange(len(x)).split(network.batch_size):
        nothing = torch.zeros_like(rows)
        yield Runs(rows, nothing, nothing)


def targeted(network: Network, x: Tensor, batch: AttackBatch, count: int) -> Iterator[Runs]:
    """Each row with its ``count`` largest wrong logits at x, largest first, but for classes that it cannot reach."""
    ranked = _ranked(network, x, batch)
    runs = []
    for place in range(2, min(count, network.num_classes - 1) + 2):
        classes = ranked[:, -place]
        keep = torch.nonzero(batch.can_reach(classes))[:, 0]
        runs.append((keep, classes[keep], torch.full_like(keep, place)))
    every = Runs(*(torch.cat(parts) for parts in zip(*runs, strict=True)))
    for which in torch.arange(len(every.rows)).split(network.batch_size):
        if len(which) > 0:  # split makes one empty part of nothing
            yield every.of(which)


@torch.no_grad()
def _ranked(network: Network, x: Tensor, batch: AttackBatch) -> Tensor:
    """Classes by their logits, ascending, as the library ranks them: int64 (m, K) on the CPU."""
    parts = []
    for which in torch.arange(len(x)).split(network.batch_size):
        with batch.counting(network, which):
            parts.append(network(x[which]).sort(dim=1)[1].cpu())
    return torch.cat(parts)
