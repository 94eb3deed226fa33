"""Pairs of inputs against a Lipschitz constant: the steepest slope found refutes all smaller constants."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lipbench.attacks.batch import column
from lipbench.attacks.network import Network
from lipbench.certification.grades import CLAIM_TOLERANCE
from lipbench.certification.uncertified import Proof
from lipbench.verification.inexact_outputs import InexactOutputs
from lipbench.verification.measurements import distances, norms


@dataclass(frozen=True)
class Pair:
    """Two inputs whose outputs lie ``ratio`` times further apart than they do, after what errors explain."""

    x: Tensor  # float32 (1, ...) in [0, 1]
    z: Tensor
    ratio: float
    proven: bool  # True: no Lipschitz constant is smaller; False: measured, see ``InexactOutputs``


def steepest_pair(network: Network, proof: Proof, x: Tensor, *, steps: int = 60, seed: int = 0) -> Pair:
    """Gradient ascent on log |f(x) - f(z)| - log |x - z|, both moving, from samples and nearby points.

    x: float32 (n, ...) on the network's device. Logits of a single-logit head are counted as one number. What
    rounding explains is taken off the ratio. Where a pair's outputs tie, there is no slope to climb: the search
    continues from two other points of [0, 1]^d.
    """
    outputs = InexactOutputs.of(network, proof)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x.device)
    a = x.double()
    b = (a + 0.05 * noise / column(norms(noise), a)).clamp(0, 1)
    best = Pair(x[:1].cpu(), x[:1].cpu(), 0.0, outputs.error is not None)
    for step in range(steps + 1):
        a, b = a.float().double(), b.float().double()  # what is kept are float32 inputs
        a.requires_grad_(), b.requires_grad_()
        with torch.enable_grad():
            difference, gap = outputs(a) - outputs(b), norms(a - b)
            ratio = norms(difference) / gap.clamp_min(1e-30)
            gradients = torch.autograd.grad(ratio.clamp_min(1e-300).log().sum(), (a, b))
        a, b, apart, gap = a.detach(), b.detach(), norms(difference.detach()), gap.detach()
        best = _better(best, _ratios(outputs, apart, a, b), a, b)
        if step == steps:
            break
        both = torch.stack(gradients).nan_to_num(0, 0, 0)  # of a square root at 0
        length = both.flatten(2).norm(dim=(0, 2))
        size = column(0.3 * gap * 0.97**step / length.clamp_min(1e-30), a)
        tied = (apart == 0) | (length == 0)
        a, b = a + size * both[0], b + size * both[1]
        if tied.any():
            a, b = (torch.where(column(tied, a), _anywhere(one, generator), one) for one in (a, b))
        a, b = a.clamp(0, 1), b.clamp(0, 1)
    return best


def _anywhere(x: Tensor, generator: torch.Generator) -> Tensor:
    """Points like x, of any brightness and contrast; outside of [0, 1] where they are to be clipped."""
    level, contrast = (column(one, x) for one in torch.rand(2, len(x), generator=generator, dtype=torch.float64))
    noise = torch.rand(x.shape, generator=generator, dtype=torch.float64) - 0.5
    return (2 * level - 0.5 + 3 * contrast * noise).to(x.device)


def _better(best: Pair, ratio: Tensor, a: Tensor, b: Tensor) -> Pair:
    place = int(ratio.argmax())
    if float(ratio[place]) <= best.ratio:
        return best
    x, z = (points[place : place + 1].float().cpu() for points in (a, b))
    return replace(best, x=x, z=z, ratio=float(ratio[place]))


def constants(proof: Proof) -> dict[str, float]:
    """What no pair of inputs may exceed, by the grade of the radii that follow from it."""
    claimed = {} if proof.claimed is None else {"nominal": proof.claimed * (1 + CLAIM_TOLERANCE)}
    return claimed if proof.bound is None else {"real": proof.bound, **claimed}


def pair_ratios(network: Network, proof: Proof, x: Tensor, z: Tensor) -> Tensor:
    """|f(x) - f(z)| / |x - z| after what errors explain: float64 (n,), for float32 (n, ...); 0 if that is all."""
    outputs = InexactOutputs.of(network, proof)
    with torch.no_grad():
        return _ratios(outputs, norms(outputs(x) - outputs(z)), x, z)


def _ratios(outputs: InexactOutputs, apart: Tensor, x: Tensor, z: Tensor) -> Tensor:
    upper = torch.from_numpy(distances(x.float(), z.float())[1])
    left = apart * (1 - 2.0**-40) - outputs.explained((x, z), apart)
    ratio = left.cpu() / upper.clamp_min(1e-30)
    return torch.where(ratio.isfinite(), ratio, 0.0).clamp_min(0)
