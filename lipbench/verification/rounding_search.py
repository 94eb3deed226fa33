"""The search by rounding: certificates at points next to the decision boundary, where the last bit decides."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lipbench._internal.arrays import Floats
from lipbench.attacks.batch import column
from lipbench.attacks.network import Network
from lipbench.certification.grades import GRADES
from lipbench.certification.uncertified import Proof
from lipbench.verification.measurements import distances, norms

BATCHES = (1, 2, 3, 8, 32)  # sizes in which a point is evaluated again: each orders sums in its own way
NEIGHBOURS = 24
BISECTIONS = 50  # of a segment: more than the bits of a float32

Hit = tuple[int, Tensor, int, float]  # the point's row, what changes class, in which batch, how far away


@dataclass(frozen=True)
class RoundingBreaks:
    """What the rounding search found at points next to the boundary, for one grade."""

    x: Tensor  # float32 (m, ...), points whose certificate is broken
    label: Tensor  # int64 (m,), the class there, alone in its batch
    x_adversarial: Tensor  # float32 (m, ...), a neighbour or the same point
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
    proof: Proof,
    x: Tensor,
    adversarial: Tensor,
    *,
    seed: int = 0,
) -> RoundingSearch:
    """Bisect between samples and adversarial inputs to the last float32 number, and break the certificates there.

    x, adversarial: float32 (n, ...), of different classes. At each of the two points that meet at the boundary, and
    at the last one before it that grade ``float`` certifies, the certificate of every grade is computed; then float32
    neighbours inside the radius, and the point itself in batches of several sizes and layouts, are classified (Jin,
    Ohrimenko, Rubinstein 2022, arXiv 2205.10159, search by rounding; here the order of sums varies as well).
    """
    own = network.predict(x).argmax(dim=1)
    low, high = _bisected(x, adversarial, lambda z: network.predict(z).argmax(dim=1) == own)
    points, across = torch.cat([low, high]), torch.cat([high, low])
    if proof.errors is not None:
        edge, _ = _bisected(x, low, lambda z: proof.radii_of(z, network.predict(z), own, ("float",))["float"] > 0)
        points, across = torch.cat([points, edge]), torch.cat([across, high])
    logits = torch.cat([network.predict(point[None]) for point in points])  # each alone
    classes = logits.argmax(dim=1)
    found_radii = proof.radii_of(points, logits, classes)
    radii = {grade: radius.nan_to_num(0).numpy() for grade, radius in found_radii.items()}
    widest = np.max(list(radii.values()), axis=0)
    found: dict[str, list[Hit]] = {grade: [] for grade in GRADES}
    done = {grade: np.zeros(len(points), dtype=bool) for grade in GRADES}
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
    """Classes (batch,) of copies of a point (...) that are evaluated together; batch 0: one, an image channels last."""
    copies = point[None].expand(max(1, batch), *point.shape)
    channels_last = batch == 0 and point.ndim == 3
    copies = copies.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    return network.predict(copies).argmax(dim=1)


def _bisected(x: Tensor, other: Tensor, holds: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """The last float32 points where something holds and where it does not, on the segments from x to other."""
    low, high = x, other
    for _ in range(BISECTIONS):
        middle = ((low.double() + high.double()) / 2).float()
        inside = column(holds(middle).to(x.device), x)
        low, high = torch.where(inside, middle, low), torch.where(inside, high, middle)
    return low, high


def _variations(points: Tensor, across: Tensor, radius: Floats, seed: int) -> Iterator[tuple[Tensor, int]]:
    """Points to classify instead, each with the size of its batch: the same, the one across, and neighbours."""
    for batch in (0, *BATCHES):
        yield points, batch
    yield across, 1
    generator = torch.Generator().manual_seed(seed)
    scale = column(torch.from_numpy(np.where(radius > 0, radius, 0.0)).to(points.device), points)
    towards = across.double() - points.double()
    towards = towards / column(norms(towards).clamp_min(1e-300), points)
    for number in range(NEIGHBOURS):
        noise = torch.randn(points.shape, generator=generator, dtype=torch.float64).to(points.device)
        noise = noise / column(norms(noise), points)
        mixed = towards + noise * (number % 4) / 2
        mixed = mixed / column(norms(mixed).clamp_min(1e-300), points)
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
