"""The rows of an attack's call: where they come from, which classes they can reach, what they cost."""

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lipbench.attacks.network import Network


def column(values: Tensor, like: Tensor) -> Tensor:
    """Values of samples, (n,), as a factor of their inputs ``like``, (n, ...): (n, 1, ...)."""
    return values.view(-1, *[1] * (like.ndim - 1))


@dataclass
class AttackBatch:
    """The m rows of one call of an attack. One sample may have several rows, at several eps.

    ``index``: int64 (m,), the sample's place in its shard of ``population`` samples. Randomness is drawn for the whole
    shard and read off at the index, so that the candidate of a sample depends neither on the other samples that are
    still open nor on the number of rows evaluated at once (except in Square's second run, see there).
    ``reachable``: bool (m, K), the classes that no certificate excludes at the row's eps; None where all are possible.
    ``forward``, ``backward``: int64 (m,), evaluations of the network spent on each row. An attack that knows them
    counts them with ``counting``; the rest is shared out evenly.
    """

    index: Tensor
    population: int
    seed: int = 0
    reachable: Tensor | None = None
    forward: Tensor = field(init=False)
    backward: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.forward = torch.zeros(len(self.index), dtype=torch.int64)
        self.backward = torch.zeros(len(self.index), dtype=torch.int64)

    @classmethod
    def alone(cls, count: int, seed: int = 0) -> "AttackBatch":
        """Rows that are their own shard."""
        return cls(torch.arange(count), count, seed)

    def of(self, keep: Tensor) -> "AttackBatch":
        """The rows where ``keep``: bool (m,), with counts of their own; ``add`` takes those over."""
        keep = keep.cpu()
        reachable = None if self.reachable is None else self.reachable[keep]
        return AttackBatch(self.index[keep], self.population, self.seed, reachable)

    def add(self, keep: Tensor, part: "AttackBatch") -> None:
        """Add the counts of ``of(keep)``."""
        self.forward[keep.cpu()] += part.forward
        self.backward[keep.cpu()] += part.backward

    @contextlib.contextmanager
    def counting(self, network: Network, which: Tensor) -> Iterator[None]:
        """Inside, every pass through the network takes all the rows ``which``: int64 (b,), a row may occur twice."""
        before = (network.evaluations.forward, network.evaluations.backward)
        yield
        after = (network.evaluations.forward, network.evaluations.backward)
        for counts, (old, new) in zip((self.forward, self.backward), zip(before, after, strict=True), strict=True):
            passes, rest = divmod(new - old, max(1, len(which)))
            if rest:  # a fault of the attack, which ``search`` turns into its error
                raise AssertionError("a pass left rows out")
            counts.index_add_(0, which.cpu(), torch.full((len(which),), passes))

    def share_out(self, forward: int, backward: int) -> None:
        """Share the part of the totals that is not counted yet evenly; the first rows take the remainder."""
        for counts, total in ((self.forward, forward), (self.backward, backward)):
            each, rest = divmod(total - int(counts.sum()), max(1, len(counts)))
            counts += each
            counts[:rest] += 1

    def generator(self, *purpose: object) -> torch.Generator:
        """A CPU generator for one purpose: the same for one seed on every machine, independent of earlier draws."""
        digest = hashlib.sha256(repr((self.seed, *purpose)).encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))

    def drawn(self, shape: tuple[int, ...], *purpose: object, normal: bool) -> Tensor:
        """Float32 (m, *shape): standard normal, or uniform in [-1, 1)."""
        generator = self.generator(*purpose)
        size = (self.population, *shape)
        drawn = torch.randn(size, generator=generator) if normal else 2 * torch.rand(size, generator=generator) - 1
        return drawn[self.index]

    def can_reach(self, classes: Tensor) -> Tensor:
        """Whether the class of each row, int64 (m,), is not excluded there: bool (m,) on the CPU."""
        if self.reachable is None:
            return torch.ones(len(self.index), dtype=torch.bool)
        return self.reachable.gather(1, classes.cpu()[:, None])[:, 0]
