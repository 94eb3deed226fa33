"""The random numbers of Square."""

from typing import Protocol

import torch
from torch import Tensor

from lipbench.attacks.batch import AttackBatch


class Draws(Protocol):
    """Where the random numbers come from. Signs are -1 or 1."""

    def signs(self, active: Tensor, shape: tuple[int, ...]) -> Tensor:
        """One sign for each active row, int64 (a,), and entry: float32 (a, *shape)."""
        ...

    def sign(self, shape: tuple[int, ...]) -> Tensor:
        """Signs that all rows share: float32 (*shape,)."""
        ...

    def below(self, high: int) -> int:
        """A whole number in 0 .. high - 1; 0 for high = 0."""
        ...

    def coin(self) -> bool:
        """True or False."""
        ...


class ShardDraws:
    """Drawn for all samples of the shard and read off for the active ones; the same whatever else is open."""

    def __init__(self, batch: AttackBatch, device: torch.device):
        self.batch, self.device = batch, device
        self.each, self.shared = batch.generator("square", "signs"), batch.generator("square", "shared")

    def signs(self, active: Tensor, shape: tuple[int, ...]) -> Tensor:
        """See ``Draws``; so below."""
        bits = torch.randint(0, 2, (self.batch.population, *shape), generator=self.each, dtype=torch.int8)
        return (2 * bits[self.batch.index[active]] - 1).float().to(self.device)

    def sign(self, shape: tuple[int, ...]) -> Tensor:  # noqa: D102
        return (2 * torch.randint(0, 2, shape, generator=self.shared) - 1).float().to(self.device)

    def below(self, high: int) -> int:  # noqa: D102
        return int(torch.randint(0, max(1, high), (1,), generator=self.shared))

    def coin(self) -> bool:  # noqa: D102
        return bool(torch.randint(0, 2, (1,), generator=self.shared))
