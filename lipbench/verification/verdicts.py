"""From what attacks and searches found to verdicts per grade, with their witnesses."""

import numpy as np
import torch

from lipbench._internal.arrays import Bools, Floats
from lipbench.certification.grades import GRADES
from lipbench.certification.uncertified import Proof
from lipbench.verification import slopes
from lipbench.verification.falsification import AttackedSamples
from lipbench.verification.result import GIVEN, Constant, RoundingVerdict, Verdict
from lipbench.verification.rounding_search import RoundingSearch
from lipbench.verification.slopes import Pair
from lipbench.verification.witness import WitnessFolder


def verdict(
    grade: str,
    radius: Floats,
    inside: Bools,
    broken: Bools,
    samples: AttackedSamples,
    proof: Proof,
    witnesses: WitnessFolder,
) -> Verdict:
    """The verdict on one grade.

    radius: float64 (n,), certified; inside: bool (n,), where an adversarial input lies inside it; broken: bool (n,),
    those of them that rounding does not explain.
    """
    certified = radius > 0
    counted = certified & (broken | ~inside)  # not what rounding explains
    ratio = samples.distance[counted] / radius[counted]
    ratio = ratio[~np.isnan(ratio)]  # nothing was found inside an infinite radius, which an absurd claim gives
    witness = None
    if broken.any():
        rows = torch.from_numpy(broken)
        tensors = {
            "sample": torch.from_numpy(np.flatnonzero(broken)),
            "x": samples.x.cpu()[rows],
            "x_adversarial": samples.best.cpu()[rows],
            "label": samples.classes.cpu()[rows],
            "certified_radius": torch.from_numpy(radius[broken]),
            "adversarial_distance": torch.from_numpy(samples.distance[broken]),
        }
        witness = witnesses.save("radius", grade, tensors)
    return Verdict(
        grade=grade,
        lipschitz={"nominal": proof.claimed, GIVEN: None}.get(grade, proof.bound),
        samples=int(certified.sum()),
        attacked=int(samples.sample_attacks[certified].sum()),
        violations=int(broken.sum()),
        misclassified=int((broken & ~samples.right).sum()),
        closest_approach=float(ratio.min()) if len(ratio) else float("inf"),
        witness=witness,
    )


def constant(pair: Pair, proof: Proof, witnesses: WitnessFolder) -> Constant:
    """What the steepest pair of inputs says about the constant, computed and claimed."""
    refuted = {
        grade: witnesses.save("lipschitz", grade, {"x": pair.x, "z": pair.z})
        for grade, limit in slopes.constants(proof).items()
        if pair.ratio > limit
    }
    return Constant(
        steepest=pair.ratio,
        steepest_proven=pair.proven,
        bound=proof.bound,
        bound_witness=refuted.get("real"),
        claimed=proof.claimed,
        claim_confirmed=proof.claim_confirmed,
        claim_witness=refuted.get("nominal"),
    )


def rounding(found: RoundingSearch, proof: Proof, witnesses: WitnessFolder) -> tuple[RoundingVerdict, ...]:
    """The verdicts of the rounding search on the grades that the model has."""
    missing = {"float": proof.errors is None, "nominal": proof.claimed is None}
    return tuple(_rounding(grade, found, witnesses) for grade in GRADES if not missing.get(grade))


def _rounding(grade: str, found: RoundingSearch, witnesses: WitnessFolder) -> RoundingVerdict:
    breaks = found.breaks.get(grade)
    if breaks is None:
        return RoundingVerdict(grade, found.points, found.certified[grade], 0, None)
    tensors = {
        "x": breaks.x,
        "x_adversarial": breaks.x_adversarial,
        "label": breaks.label,
        "batch": breaks.batch,
        "certified_radius": breaks.radius,
        "adversarial_distance": breaks.distance,
    }
    witness = witnesses.save("rounding", grade, tensors)
    return RoundingVerdict(grade, found.points, found.certified[grade], len(breaks.radius), witness)
