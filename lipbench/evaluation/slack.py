"""The computation of the units that say why certificates are loose: what blocks keep of gradients, and the box."""

from dataclasses import replace

import numpy as np
import torch

from lipbench._internal.arrays import Bools, Floats
from lipbench.attacks.gradient import box
from lipbench.attacks.network import Network
from lipbench.certification import gradients
from lipbench.certification.uncertified import Proof, Uncertified
from lipbench.evaluation.attack_job import Samples
from lipbench.runs.factor_checks import boxed
from lipbench.runs.records import BoxFacts, BoxRecord, FactorFacts, FactorRecord
from lipbench.runs.units import BoxUnit, FactorUnit


def factor_record(unit: FactorUnit, network: Network, proof: Proof, samples: Samples, radius: Floats) -> FactorRecord:
    """The factors of the samples with a certified radius above 0.

    samples: with the pairwise radii of the headline grade; radius: float64 (n,), 0 where misclassified or tied, NaN
    without a certificate.
    """
    rows = np.flatnonzero(np.nan_to_num(radius) > 0)
    others = samples.pairwise_radii[rows].argmin(axis=1)
    if isinstance(proof, Uncertified):
        blocks, found = [], gradients.nothing(0)
    else:
        index = torch.from_numpy(rows).to(network.device)
        blocks, classes = gradients.blocks(proof.graph, proof.body), samples.labels[index]
        found = gradients.kept(
            proof, samples.x[index], classes, torch.from_numpy(others), min(1000, network.batch_size)
        )
    return FactorRecord(
        sample=rows + unit.shard.start,
        other=others,
        margin=found.margin.numpy(),
        pairwise_bound=found.bound.numpy(),
        kept=found.kept.numpy(),
        head=found.head.numpy(),
        gradient_l1=found.gradient_l1.numpy(),
        gradient_l2=found.gradient_l2.numpy(),
        gradient_linf=found.gradient_linf.numpy(),
        facts=FactorFacts(
            blocks=[block.name for block in blocks],
            constants=[block.constant for block in blocks],
            forward=len(rows),
            backward=len(rows),
        ),
    )


def box_record(unit: BoxUnit, network: Network, samples: Samples, correct: Bools, *, certified: bool) -> BoxRecord:
    """The distances of a random share of the correct samples within the input range and without it.

    certified: whether the network has a certificate; without one there is nothing to explain, and no row.
    """
    rows = boxed(correct, unit.shard, unit.most if certified else 0, unit.seed)
    index = torch.from_numpy(rows).to(network.device)
    before = replace(network.evaluations)
    within, without = box.distances(network, samples.x[index], samples.labels[index], unit.norm)
    after = network.evaluations
    return BoxRecord(
        sample=rows + unit.shard.start,
        distance_within=within,
        distance_without=without,
        facts=BoxFacts(after.forward - before.forward, after.backward - before.backward),
    )
