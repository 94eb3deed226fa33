"""Whether rounding explains a broken certificate: grades that state facts of exact arithmetic are judged in float64."""

import torch
from torch import Tensor, nn

from lipbench._internal.arrays import Bools
from lipbench.attacks.as_given import NetworkAsGiven, attackable, proof_of
from lipbench.models.cards import Card
from lipbench.verification.falsification import AttackedSamples
from lipbench.verification.inexact_outputs import InexactOutputs
from lipbench.verification.measurements import margins


def beyond_rounding(module: nn.Module, card: Card, grade: str, samples: AttackedSamples, broken: Bools) -> Bools:
    """Which of the broken certificates of a grade are false in exact arithmetic too: bool (n,), as ``broken`` is.

    The radius and the class of the adversarial input are computed again in float64, or in the dtype of a network that
    runs as it was given, with room for errors.
    """
    found = broken.copy()
    if not broken.any():
        return found
    network = attackable(module, card.input_shape)
    claimed = None if card.claimed is None else card.claimed.constant
    proof = proof_of(network, claimed)
    rows = torch.from_numpy(broken)
    x, z, classes = samples.x.cpu()[rows], samples.best.cpu()[rows], samples.classes.cpu()[rows]
    radii = proof.radii(network.predict(x), classes, grade)
    inside = samples.distance[broken] < radii.numpy()
    if isinstance(network, NetworkAsGiven):  # its own dtype is coarse: the nearest inputs lie within its errors
        distance = torch.from_numpy(samples.distance[broken])
        z = _further(x, z, torch.where(distance > 0, 0.99 * radii / distance, 1.0))
    apart = margins(network, z, classes)
    # a margin is the difference of two logits, at the sample, where the radius comes from, and at the other point
    room = 2 * InexactOutputs.of(network, proof).explained((x, z), -apart)
    found[broken] = inside & (apart < -room).numpy()
    return found


def _further(x: Tensor, z: Tensor, factor: Tensor) -> Tensor:
    """Points as far beyond z, seen from x, as the factors say, none nearer than z: float32 (n, c, h, w) in [0, 1]."""
    moved = x.double() + (z.double() - x.double()) * factor.clamp_min(1)[:, None, None, None]
    return moved.clamp(0, 1).float()
