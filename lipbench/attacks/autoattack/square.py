"""``autoattack/square``: Square (Andriushchenko et al. 2020, arXiv 1912.00049) with a radius for each row.

The proposals, the schedule and the arithmetic are the library's, operation for operation: with one eps and the
library's stream of random numbers (``LibraryDraws`` in the tests) the candidates are its own, bit for bit. Three things
differ. eps may differ by row, so that one run serves the samples open at any eps; the random numbers are drawn for the
whole shard; and a row is given up when its progress indicates that it will not arrive (``hopeless``). That costs one or
two in a hundred of the rows that Square would break. So where Square breaks more than MASKED of a shard's samples,
which AutoAttack takes for a sign of masked gradients, the rows given up are run again to their last query.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from lipbench.attacks.autoattack.canvas import canvas
from lipbench.attacks.autoattack.library import N_QUERIES, configured
from lipbench.attacks.base import Attack, AttackCall
from lipbench.attacks.batch import AttackBatch
from lipbench.attacks.network import Network
from lipbench.attacks.norm import Norm
from lipbench.attacks.parameters import Parameter

# Queries before which rows may be given up. Not shares of n_queries: the library's schedule of windows is none either,
# and a row makes little progress before the windows are small.
CHECKPOINTS = (312, 625, 1250, 2500)
MASKED = 0.002  # as in pyautoattack's check_square_sr
CAUTION = 3.0  # times its last progress that a row is trusted to make with each further doubling of the queries


class Draws(Protocol):
    """Where the random numbers of Square come from. Signs are -1 or 1."""

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


class Square(Attack):
    """See the module."""

    name = "autoattack/square"
    summary = "Square: random search without gradients; patience: never give up a sample before the last query"
    per_sample_eps = True
    n_queries = N_QUERIES
    patience = Parameter(False, "true: a sample is never given up before the last query")

    def run(self, call: AttackCall) -> Tensor:
        """Candidates within eps; x itself, or the best that was found, where none was: float32 (n, c, h, w)."""
        return search(call)


def search(call: AttackCall, draws: Draws | None = None) -> Tensor:
    """As ``Square.run``, with random numbers from ``draws``; by default, those of the shard."""
    network, x, labels, batch, eps = call.network, call.x, call.labels, call.batch, call.radii
    made = configured(network, call.arguments, norm=call.norm, eps=1.0, seed=batch.seed, attacks=("square",)).square
    library = getattr(made, "square", made)  # the library's own, also where it is shown a padded canvas
    library.init_hyperparam(x)
    shown = canvas(network.input_shape[1:], call.norm)
    crop = shown.crop if shown.padded else None
    found, given_up = x.clone(), torch.zeros(len(x), dtype=torch.bool)

    def run(which: Tensor, patience: bool) -> None:
        for active in which.split(network.batch_size):
            source = ShardDraws(batch, x.device) if draws is None else draws
            queries = call.arguments["n_queries"]
            loop = _Search(library, network, crop, call.norm, batch, source, queries, patience)
            radius = eps[active].float().view(-1, 1, 1, 1)
            points, left = loop.run(active, shown.pad(x[active]), labels[active], radius)
            found[active] = shown.crop(points)
            given_up[active] = left

    run(torch.arange(len(x)), call.arguments["patience"])
    broken = ~given_up & (_margins(network, found, labels) <= 0).cpu() if given_up.any() else given_up
    if len(batch.index[broken].unique()) > MASKED * batch.population:
        run(torch.nonzero(given_up)[:, 0], True)
    return found


@dataclass(frozen=True)
class State:
    """The rows still under attack, a of them."""

    active: Tensor  # int64 (a,), their places in the batch, on the CPU
    x: Tensor  # float32 (a, c, h, w)
    best: Tensor  # float32 (a, c, h, w), the perturbed input with the smallest margin so far
    margin: Tensor  # float32 (a,), f_y - max f_j there; adversarial at 0 and below
    labels: Tensor  # int64 (a,)
    eps: Tensor  # float32 (a, 1, 1, 1)

    def of(self, keep: Tensor) -> "State":
        """The rows where ``keep``: bool (a,)."""
        values = {name: value[keep.cpu() if name == "active" else keep] for name, value in vars(self).items()}
        return State(**values)


@dataclass
class _Search:
    library: Any  # pyautoattack's SquareAttack
    network: Network
    crop: Callable[[Tensor], Tensor] | None  # None: the images are shown as they are
    norm: Norm
    batch: AttackBatch
    draws: Draws
    queries: int
    patience: bool

    @torch.no_grad()
    def run(self, active: Tensor, x: Tensor, labels: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
        """The best points of all rows, float32 (a, c, h, w), and which rows were given up, bool (a,)."""
        start = self._stripes(active, x, eps) if self.norm is Norm.L2 else self._columns(active, x, eps)
        state = State(torch.arange(len(active)), x, start, self._margin(active, start, labels), labels, eps)
        result, given_up = start.clone(), torch.zeros(len(active), dtype=torch.bool)
        before: Tensor | None = None  # the margins at the last checkpoint
        propose = self._move_window if self.norm is Norm.L2 else self._paint_window
        checkpoints = () if self.patience else CHECKPOINTS
        for query in range(self.queries):
            keep = state.margin > 0
            if query in checkpoints:
                late = torch.zeros_like(keep)
                if before is not None:
                    late = keep & hopeless(before, state.margin, query, self.queries)
                given_up[state.active[late.cpu()]] = True
                keep, before = keep & ~late, state.margin
            if not bool(keep.all()):
                result[state.active.to(x.device)] = state.best
                state, before = state.of(keep), None if before is None else before[keep]
            if len(state.active) == 0:
                return result, given_up
            moved = propose(state, active[state.active], query)
            margin = self._margin(active[state.active], moved, state.labels)
            better = (margin < state.margin) | (margin <= 0)
            state = replace(
                state,
                best=torch.where(better.view(-1, 1, 1, 1), moved, state.best),
                margin=torch.where(better, margin, state.margin),
            )
        result[state.active.to(x.device)] = state.best
        return result, given_up

    def _margin(self, active: Tensor, points: Tensor, labels: Tensor) -> Tensor:
        self.batch.forward[active] += 1
        return _margins(self.network, points if self.crop is None else self.crop(points), labels)

    def _side(self, query: int, height: int, width: int) -> int:
        return max(round((self.library.p_selection(query) * height * width) ** 0.5), 1 if self.norm is Norm.Linf else 3)

    # --- L_inf ---------------------------------------------------------------------------------------------------

    def _columns(self, active: Tensor, x: Tensor, eps: Tensor) -> Tensor:
        _, c, _, w = x.shape
        return torch.clamp(x + eps * self.draws.signs(active, (c, 1, w)), 0.0, 1.0)

    def _paint_window(self, state: State, active: Tensor, query: int) -> Tensor:
        _, c, h, w = state.x.shape
        side = min(self._side(query, h, w), h, w)
        top, left = self.draws.below(h - side), self.draws.below(w - side)
        moved = state.best.clone()
        moved[:, :, top : top + side, left : left + side] += 2.0 * state.eps * self.draws.sign((c, 1, 1))
        return torch.clamp(torch.min(torch.max(moved, state.x - state.eps), state.x + state.eps), 0.0, 1.0)

    # --- L2 ------------------------------------------------------------------------------------------------------

    def _stripes(self, active: Tensor, x: Tensor, eps: Tensor) -> Tensor:
        _, c, h, w = x.shape
        delta, side = torch.zeros_like(x), h // 5
        first = (h - side * 5) // 2
        for top in range(first, first + h // side * side, side):
            for left in range(first, first + w // side * side, side):
                bump = self._bump(side)
                delta[:, :, top : top + side, left : left + side] += bump * self.draws.signs(active, (c, 1, 1))
        return torch.clamp(x + self.library.normalize(delta) * eps, 0.0, 1.0)

    def _bump(self, side: int) -> Tensor:
        """The library's ``eta``, with our coin."""
        half = side // 2
        bump = torch.zeros(side, side)
        bump[:half] = self.library.eta_rectangles(half, side).cpu()
        bump[half:] = -1.0 * self.library.eta_rectangles(side - half, side).cpu()
        bump /= (bump**2).sum(dim=(0, 1), keepdim=True).sqrt()
        return (bump.T if self.draws.coin() else bump).view(1, 1, side, side).to(self.network.device)

    def _move_window(self, state: State, active: Tensor, query: int) -> Tensor:
        count, c, h, w = state.x.shape
        side = self._side(query, h, w)
        side = min(side + (side % 2 == 0), h, w)
        delta = state.best - state.x
        corners = [self.draws.below(size - side) for size in (h, w, h, w)]
        (top, left), (top2, left2) = corners[:2], corners[2:]
        window = (..., slice(top, top + side), slice(left, left + side))
        other = (..., slice(top2, top2 + side), slice(left2, left2 + side))
        inside = (delta[window] ** 2).sum(dim=(-2, -1), keepdim=True).sqrt()
        union = torch.zeros(1, 1, h, w, device=delta.device)
        union[window], union[other] = 1.0, 1.0
        total = self.library.lp_norm(delta)
        both = ((delta * union) ** 2).sum(dim=(-2, -1), keepdim=True).sqrt()
        bump = self._bump(side)
        fresh = torch.ones(count, c, side, side, device=delta.device) * (bump * self.draws.signs(active, (c, 1, 1)))
        fresh = fresh + delta[window] / (1e-12 + inside)
        budget = torch.max(state.eps**2 - total**2, torch.zeros_like(total)) / c + both**2
        fresh = fresh / (1e-12 + (fresh**2).sum(dim=(-2, -1), keepdim=True).sqrt()) * budget.sqrt()
        delta[other] = 0.0
        delta[window] = fresh
        return torch.clamp(state.x + self.library.normalize(delta) * state.eps, 0.0, 1.0)


@torch.no_grad()
def _margins(network: Network, points: Tensor, labels: Tensor) -> Tensor:
    """f_y - max f_j: float32 (a,)."""
    logits = torch.cat([network(part) for part in points.split(network.batch_size)])
    others = logits.scatter(1, labels[:, None], -torch.inf).amax(dim=1)
    return logits.gather(1, labels[:, None])[:, 0] - others


def hopeless(before: Tensor, now: Tensor, query: int, queries: int) -> Tensor:
    """Rows that would end short of the boundary even if every further doubling of the queries brought CAUTION times
    what the last one did: bool (a,).

    before, now: margins (a,) at half the queries and now. The gain of a doubling falls as the windows shrink.
    """
    doublings = torch.log2(torch.tensor(queries / query))
    return now - CAUTION * doublings * (before - now) > 0


ATTACK = Square()
