"""Whether rounding explains a broken certificate: grades that state facts of exact arithmetic are judged in float64."""

import torch
from torch import nn

from lipbench._internal.arrays import Bools
from lipbench.attacks.as_given import attackable, proof_of
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
    apart = margins(network, z, classes)
    # a margin is the difference of two logits, at the sample, where the radius comes from, and at the other point
    room = 2 * InexactOutputs.of(network, proof).explained((x, z), -apart)
    inside = samples.distance[broken] < proof.radii(network.predict(x), classes, grade).numpy()
    found[broken] = inside & (apart < -room).numpy()
    return found
