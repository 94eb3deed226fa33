"""Breaking certificates: attacks inside the radius, pairs of inputs against the constant, and the rounding search.

Every number that refutes something is measured again with a proven margin: differences of float32 inputs of [0, 1] are
exact in float64 up to one rounding, and sums of n squares are good to (n + 4) u (Higham 2002, section 3.1).
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from lipbench._internal.arrays import Bools, Floats
from lipbench.attacks import guard
from lipbench.attacks.network import Network
from lipbench.attacks.norm import Norm
from lipbench.attacks.suites import AttackSpec
from lipbench.certification.certificate import Certificate
from lipbench.certification.grades import CLAIM_TOLERANCE, GRADES
from lipbench.errors import LipbenchError

MINIMAL_NORM = (  # from the cheapest to the dearest
    AttackSpec(name="gradient/bisection"),
    AttackSpec(name="autoattack/fab-t"),
)
INSIDE = (  # at each sample's own radius
    AttackSpec(name="gradient/pgd", args={"restarts": 1}),
    AttackSpec(name="autoattack/apgd-ce"),
    AttackSpec(name="autoattack/apgd-t"),
)
SANDWICH = AttackSpec(name="gradient/pgd")
SANDWICH_ROUNDS = 2
BATCHES = (1, 2, 3, 8, 32)  # in which a point is evaluated again: sums are ordered otherwise
NEIGHBOURS = 24
BISECTIONS = 50  # of a segment: more than the bits of a float32


def distances(x: Tensor, z: Tensor) -> tuple[Floats, Floats]:
    """Proven lower and upper bounds of |x - z|_2: float64 (n,) each, for float32 (n, ...)."""
    difference = (x.detach().cpu().double() - z.detach().cpu().double()).flatten(1)
    measured = difference.norm(dim=1).numpy()
    margin = (difference.shape[1] + 4) * 2.0**-53
    return measured * (1 - margin), measured * (1 + margin)


def won(network: Network, x: Tensor, classes: Tensor) -> Tensor:
    """Where the class has the largest logit alone: bool (n,). x: float32 (n, c, h, w); classes: int64 (n,)."""
    return margins(network, x, classes) > 0


def margins(network: Network, x: Tensor, classes: Tensor) -> Tensor:
    """The class's logit minus the largest of the others: float64 (n,). x: float32 (n, c, h, w); classes: int64 (n,)."""
    logits, classes = network.predict(x), classes.cpu()
    own = logits.gather(1, classes[:, None])[:, 0]
    return own - logits.scatter(1, classes[:, None], -torch.inf).amax(dim=1)


# --- attacks on samples ----------------------------------------------------------------------------------------------


class Search:
    """The smallest adversarial perturbation found so far for each of some samples, and the attacks that looked for it.

    x: float32 (n, c, h, w) in [0, 1]; classes: int64 (n,), those that the certificates are for. A sample that is not
    of that class, or tied with another, is its own adversarial input, at distance 0.
    """

    def __init__(self, network: Network, x: Tensor, classes: Tensor, seed: int):
        self.network, self.x, self.classes, self.seed = network, x, classes, seed
        self.right = won(network, x, classes).numpy()
        self.distance = np.where(self.right, np.inf, 0.0)  # proven upper bounds
        self.best = x.clone()
        self.sample_attacks = np.zeros(len(x), dtype=np.int64)

    def attack(self, spec: AttackSpec, radius: Floats | None = None) -> None:
        """Run an attack on all samples, or inside the given radii (n,) on those where the radius is above 0."""
        wanted = self.right if radius is None else self.right & (radius > 0)
        rows = np.flatnonzero(wanted)
        if len(rows) == 0:
            return
        index = torch.from_numpy(rows).to(self.x.device)
        x, labels = self.x[index], self.classes[index]
        # no input lies further than the diameter of [0, 1]^d, though a (false) radius may
        eps = None if radius is None else torch.from_numpy(radius[rows].clip(max=x[0].numel() ** 0.5)).to(x.device)
        candidates = guard.search(spec, self.network, x, labels, norm=Norm.L2, eps=eps, seed=self.seed)
        adversarial, _, _ = guard.check_candidates(self.network, x, labels, candidates, Norm.L2)
        distance = np.where(adversarial, distances(x, candidates)[1], np.inf)
        self.sample_attacks[rows] += 1
        better = distance < self.distance[rows]
        self.distance[rows[better]] = distance[better]
        self.best[index[torch.from_numpy(better)]] = candidates[torch.from_numpy(better).to(x.device)]

    def narrow(self, radius: Floats) -> None:
        """Between the certified radius and the distance found, look once more at the middle."""
        found = np.isfinite(self.distance) & (self.distance > radius)
        self.attack(SANDWICH, np.where(found, (radius + np.where(found, self.distance, 0)) / 2, 0.0))

    def broken(self, radius: Floats) -> Bools:
        """Where an adversarial input lies inside the radius: bool (n,)."""
        return (radius > 0) & (self.distance < radius)


# --- what rounding explains ------------------------------------------------------------------------------------------

COARSER = 2.0**-10  # of float32's error is allowed for float64: 2^19 times what the unit roundoffs let expect
RESOLVED = 1 / 16  # of a difference: where float32 errs by more, its error says nothing about float64's
LEAST = 2.0**-40  # of the outputs, should both types agree by chance: 2^13 roundings of float64


@dataclass(frozen=True)
class Outputs:
    """A network's own outputs, (n, K), or (n, 1) for a single logit, and how much of a difference errors can explain.

    With an error analysis, all outputs together err by at most ``error`` (L2) everywhere in [0, 1]^d: that is proven.

    Without one nothing is proven, and errors are measured: ``network`` is in float64, ``single`` is the same network in
    float32, and float32's error is the difference of both, up to a share of 2^-29. To first order the errors of both
    are one quantity times the unit roundoff (Higham 2002, section 3.1), 2^-24 and 2^-53, whatever the layers magnify or
    cancel: 2^-10 of float32's error leaves room for a factor of 2^19. That fails where float32 has lost the difference
    itself, as (h + 1e17) - 1e17 loses h. There the whole of float32's error is taken off, which leaves, by the triangle
    inequality, only what both types agree on.
    """

    network: Network
    error: float | None
    single: Network | None

    @classmethod
    def of(cls, network: Network, proof: Certificate) -> "Outputs":
        """The outputs of a network whose certificate is ``proof``; of its float64 copy if it has no error analysis."""
        if proof.output_error is not None:
            return cls(network, proof.output_error, None)
        double = network if network.dtype is torch.float64 else _copy(network, "float64")
        try:
            single = network if network.dtype is torch.float32 else _copy(network, "float32")
        except LipbenchError:  # its forward asks for float64
            single = None
        return cls(double, None, single)

    def __call__(self, x: Tensor) -> Tensor:
        """The outputs for x: float (n, c, h, w)."""
        return _outputs(self.network, x)

    @torch.no_grad()
    def explained(self, points: tuple[Tensor, ...], apart: Tensor) -> Tensor:
        """How much of the differences ``apart``, float64 (n,), the errors at all points (n, c, h, w) can explain."""
        if self.error is not None:
            return torch.full_like(apart, len(points) * self.error)
        if self.single is None:
            return apart
        fine = [self(point) for point in points]
        coarse = [_outputs(self.single, point) for point in points]
        size = torch.stack([_norm(one) for one in fine]).sum(dim=0).to(apart)
        lost = torch.stack([_norm(one - other) for one, other in zip(fine, coarse, strict=True)]).sum(dim=0).to(apart)
        return torch.where(lost < RESOLVED * apart, COARSER * lost, lost) + LEAST * size


def _copy(network: Network, dtype: str) -> Network:
    return Network(network.module, network.input_shape, network.device, dtype)


def _outputs(network: Network, x: Tensor) -> Tensor:
    logits = network.logits(x)
    return logits[:, 1:] - logits[:, :1] if network.single_logit else logits


def _norm(values: Tensor) -> Tensor:
    return values.flatten(1).norm(dim=1)


# --- pairs of inputs against the constant ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Pair:
    """Two inputs whose outputs lie ``ratio`` times further apart than they do, after what errors explain."""

    x: Tensor  # float32 (1, c, h, w) in [0, 1]
    z: Tensor
    ratio: float
    proven: bool  # True: no Lipschitz constant is smaller; False: measured, see ``Outputs``


def steepest_pair(network: Network, proof: Certificate, x: Tensor, *, steps: int = 60, seed: int = 0) -> Pair:
    """Gradient ascent on log |f(x) - f(z)| - log |x - z|, both moving, from samples and nearby points.

    x: float32 (n, c, h, w) on the network's device. Logits of a single-logit head are counted as one number. What
    rounding explains is taken off the ratio. Where a pair's outputs tie, there is no slope to climb: it goes on from
    two other points of [0, 1]^d.
    """
    outputs = Outputs.of(network, proof)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x.device)
    a = x.double()
    b = (a + 0.05 * noise / _norm(noise)[:, None, None, None]).clamp(0, 1)
    best = Pair(x[:1].cpu(), x[:1].cpu(), 0.0, outputs.error is not None)
    for step in range(steps + 1):
        a, b = a.float().double(), b.float().double()  # what is kept are float32 inputs
        a.requires_grad_(), b.requires_grad_()
        with torch.enable_grad():
            difference, gap = outputs(a) - outputs(b), _norm(a - b)
            ratio = _norm(difference) / gap.clamp_min(1e-30)
            gradients = torch.autograd.grad(ratio.clamp_min(1e-300).log().sum(), (a, b))
        a, b, apart, gap = a.detach(), b.detach(), _norm(difference.detach()), gap.detach()
        best = _better(best, _ratios(outputs, apart, a, b), a, b)
        if step == steps:
            break
        both = torch.stack(gradients).nan_to_num(0, 0, 0)  # of a square root at 0
        length = both.flatten(2).norm(dim=(0, 2))
        size = (0.3 * gap * 0.97**step / length.clamp_min(1e-30))[:, None, None, None]
        tied = (apart == 0) | (length == 0)
        a, b = a + size * both[0], b + size * both[1]
        if tied.any():
            a, b = (torch.where(tied[:, None, None, None], _anywhere(one, generator), one) for one in (a, b))
        a, b = a.clamp(0, 1), b.clamp(0, 1)
    return best


def _anywhere(x: Tensor, generator: torch.Generator) -> Tensor:
    """Points like x, of any brightness and contrast; outside of [0, 1] where they are to be clipped."""
    level, contrast = torch.rand(2, len(x), generator=generator, dtype=torch.float64)[:, :, None, None, None]
    noise = torch.rand(x.shape, generator=generator, dtype=torch.float64) - 0.5
    return (2 * level - 0.5 + 3 * contrast * noise).to(x.device)


def _better(best: Pair, ratio: Tensor, a: Tensor, b: Tensor) -> Pair:
    place = int(ratio.argmax())
    if float(ratio[place]) <= best.ratio:
        return best
    x, z = (points[place : place + 1].float().cpu() for points in (a, b))
    return replace(best, x=x, z=z, ratio=float(ratio[place]))


def constants(proof: Certificate) -> dict[str, float]:
    """What no pair of inputs may exceed, by the grade of the radii that follow from it."""
    claimed = {} if proof.claimed is None else {"nominal": proof.claimed * (1 + CLAIM_TOLERANCE)}
    return {"real": proof.bound, **claimed}


def pair_ratios(network: Network, proof: Certificate, x: Tensor, z: Tensor) -> Tensor:
    """|f(x) - f(z)| / |x - z| after what errors explain: float64 (n,), for float32 (n, c, h, w); 0 if that is all."""
    outputs = Outputs.of(network, proof)
    with torch.no_grad():
        return _ratios(outputs, _norm(outputs(x) - outputs(z)), x, z)


def _ratios(outputs: Outputs, apart: Tensor, x: Tensor, z: Tensor) -> Tensor:
    upper = torch.from_numpy(distances(x.float(), z.float())[1])
    left = apart * (1 - 2.0**-40) - outputs.explained((x, z), apart)
    ratio = left.cpu() / upper.clamp_min(1e-30)
    return torch.where(ratio.isfinite(), ratio, 0.0).clamp_min(0)


# --- rounding --------------------------------------------------------------------------------------------------------

Hit = tuple[int, Tensor, int, float]  # the point's row, what changes class, in which batch, how far away


@dataclass(frozen=True)
class RoundingBreaks:
    """What the rounding search found at points next to the boundary, for one grade."""

    x: Tensor  # float32 (m, c, h, w), points whose certificate is broken
    label: Tensor  # int64 (m,), the class there, alone in its batch
    x_adversarial: Tensor  # float32 (m, c, h, w), a neighbour or the same point
    batch: Tensor  # int64 (m,), copies of x_adversarial that are evaluated together
    radius: Tensor  # float64 (m,)
    distance: Tensor  # float64 (m,), below the radius


@dataclass(frozen=True)
class RoundingSearch:
    """Points next to the boundary, and the certificates that do not hold there, by grade."""

    points: int
    evaluated: int  # neighbours, batches and layouts looked at
    certified: dict[str, int]  # points with a certified radius above 0, by grade
    breaks: dict[str, RoundingBreaks]


def rounding_search(
    network: Network,
    proof: Certificate,
    x: Tensor,
    adversarial: Tensor,
    *,
    grades: tuple[str, ...] = GRADES,
    seed: int = 0,
) -> RoundingSearch:
    """Bisect between samples and adversarial inputs to the last float32 number, and break the certificates there.

    x, adversarial: float32 (n, c, h, w), of different classes. At each of the two points that meet at the boundary, and
    at the last one before it that grade ``float`` certifies, the certificate of every grade is computed; then float32
    neighbours inside the radius, and the point itself in batches of several sizes and layouts, are classified (Jin,
    Ohrimenko, Rubinstein 2022, arXiv 2205.10159, search by rounding; here the order of sums varies as well).
    """
    own = network.predict(x).argmax(dim=1)
    low, high = _bisected(x, adversarial, lambda z: network.predict(z).argmax(dim=1) == own)
    points, across = torch.cat([low, high]), torch.cat([high, low])
    if "float" in grades and proof.errors is not None:
        edge, _ = _bisected(x, low, lambda z: proof.radii_of(z, network.predict(z), own, ("float",))["float"] > 0)
        points, across = torch.cat([points, edge]), torch.cat([across, high])
    logits = torch.cat([network.predict(point[None]) for point in points])  # each alone
    classes = logits.argmax(dim=1)
    found_radii = proof.radii_of(points, logits, classes, grades)
    radii = {grade: radius.nan_to_num(0).numpy() for grade, radius in found_radii.items()}
    widest = np.max(list(radii.values()), axis=0)
    found: dict[str, list[Hit]] = {grade: [] for grade in grades}
    done = {grade: np.zeros(len(points), dtype=bool) for grade in grades}
    evaluated = 0
    for candidates, batch in _variations(points, across, widest, seed):
        distance = distances(points, candidates)[1]
        wanted = distance < widest
        for place in np.flatnonzero(wanted):
            evaluated += 1
            if not _changes(network, candidates[place], int(batch), int(classes[place])):
                continue
            for grade, radius in radii.items():
                if distance[place] < radius[place] and not done[grade][place]:
                    done[grade][place] = True
                    found[grade].append((int(place), candidates[place].cpu(), batch, float(distance[place])))
    breaks = {grade: _breaks(points, classes, radii[grade], hits) for grade, hits in found.items() if hits}
    certified = {grade: int((radius > 0).sum()) for grade, radius in radii.items()}
    return RoundingSearch(len(points), evaluated, certified, breaks)


def _changes(network: Network, point: Tensor, batch: int, label: int) -> bool:
    """True if any of ``batch`` copies of a point, evaluated together, is not of the class; batch 0: channels last."""
    return bool((copies_predicted(network, point, batch) != label).any())


def copies_predicted(network: Network, point: Tensor, batch: int) -> Tensor:
    """Classes (batch,) of copies of a point (c, h, w) that are evaluated together; batch 0: one, channels last."""
    copies = point[None].expand(max(1, batch), *point.shape)
    copies = copies.contiguous(memory_format=torch.channels_last) if batch == 0 else copies.contiguous()
    return network.predict(copies).argmax(dim=1)


def _bisected(x: Tensor, other: Tensor, holds: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """The last float32 points where something holds and where it does not, on the segments from x to other."""
    low, high = x, other
    for _ in range(BISECTIONS):
        middle = ((low.double() + high.double()) / 2).float()
        inside = holds(middle).to(x.device)[:, None, None, None]
        low, high = torch.where(inside, middle, low), torch.where(inside, high, middle)
    return low, high


def _variations(points: Tensor, across: Tensor, radius: Floats, seed: int) -> Iterator[tuple[Tensor, int]]:
    """Points to classify instead, each with the size of its batch: the same, the one across, and neighbours."""
    for batch in (0, *BATCHES):
        yield points, batch
    yield across, 1
    generator = torch.Generator().manual_seed(seed)
    scale = torch.from_numpy(np.where(radius > 0, radius, 0.0)).to(points.device)[:, None, None, None]
    towards = across.double() - points.double()
    towards = towards / _norm(towards).clamp_min(1e-300)[:, None, None, None]
    for number in range(NEIGHBOURS):
        noise = torch.randn(points.shape, generator=generator, dtype=torch.float64).to(points.device)
        noise = noise / _norm(noise)[:, None, None, None]
        mixed = towards + noise * (number % 4) / 2
        mixed = mixed / _norm(mixed).clamp_min(1e-300)[:, None, None, None]
        moved = points.double() + 0.95 * scale * mixed * math.sqrt(1 + number // 4)
        yield moved.float().clamp(0, 1), 1


def _breaks(points: Tensor, classes: Tensor, radii: Floats, hits: list[Hit]) -> RoundingBreaks:
    rows = torch.tensor([place for place, _, _, _ in hits])
    return RoundingBreaks(
        points.cpu()[rows],
        classes[rows],
        torch.stack([candidate for _, candidate, _, _ in hits]),
        torch.tensor([batch for _, _, batch, _ in hits]),
        torch.from_numpy(radii)[rows],
        torch.tensor([distance for _, _, _, distance in hits], dtype=torch.float64),
    )
