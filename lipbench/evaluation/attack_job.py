"""The computation of one attack unit: call the attack, check what it returns, and count what it cost."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from lipbench._internal import files
from lipbench._internal.arrays import Floats, Ints
from lipbench.attacks import guard
from lipbench.attacks.base import Attack
from lipbench.attacks.batch import AttackBatch
from lipbench.attacks.network import Evaluations, Network
from lipbench.evaluation.selection import Pairs, Selection
from lipbench.runs.bounds import Bounds
from lipbench.runs.records import AttackFacts, AttackRecord
from lipbench.runs.units import AttackUnit, ReferenceUnit


@dataclass(frozen=True)
class Samples:
    """The samples of a shard, as attacks see them."""

    x: Tensor  # float32 (n, ...) in [0, 1], on the device
    labels: Tensor  # int64 (n,), on the device
    pairwise_radii: Floats  # how far each class is away, in L2, by the grade that prunes: float64 (n, K)


@dataclass(frozen=True)
class Found:
    """What one call of an attack found. All arrays have shape (m,) but for the last."""

    pairs: Pairs
    distance: Floats  # inf where no adversarial input was found
    label: Ints  # -1 likewise
    forward: Ints
    backward: Ints
    spent: Evaluations
    adversarial_x: Tensor  # float32 (hits, ...): the adversarial inputs


@dataclass(frozen=True)
class AttackJob:
    """One attack unit, or reference unit, of a model on a shard."""

    unit: AttackUnit | ReferenceUnit
    network: Network
    samples: Samples
    bounds: Bounds  # those of all that came before in the chain; the job lowers them
    settings: Mapping[str, Any]  # of the run

    def run(self) -> tuple[AttackRecord, bytes | None]:
        """The record and the witnesses of the unit; None where the attack found no adversarial input."""
        attack = guard.attack_of(self.unit.stage.attack)
        selection = Selection(self.unit, self.bounds, self.settings)
        found = [self._call(attack, pairs) for pairs in selection.calls(attack)]
        start = self.unit.shard.start
        columns = {
            "sample": np.concatenate([part.pairs.samples + start for part in found]),
            "eps": np.concatenate([part.pairs.eps for part in found]),
            "audit": np.concatenate([part.pairs.audit for part in found]),
            "adversarial_distance": np.concatenate([part.distance for part in found]),
            "adversarial_label": np.concatenate([part.label for part in found]),
            "forward": np.concatenate([part.forward for part in found]),
            "backward": np.concatenate([part.backward for part in found]),
        }
        facts = AttackFacts(
            forward=sum(part.spent.forward for part in found),
            backward=sum(part.spent.backward for part in found),
            attacked=len(columns["sample"]),
            audited=int(columns["audit"].sum()),
        )
        record = AttackRecord(**columns, facts=facts)
        return record, _witnesses(record, torch.cat([part.adversarial_x for part in found]))

    def _call(self, attack: Attack, pairs: Pairs) -> Found:
        """Attack the pairs, check the candidates, and lower the bounds to what was found."""
        unit, network = self.unit, self.network
        stage = unit.stage
        attacked = network if attack.exact else network.surrogate
        index = torch.tensor(pairs.samples).to(network.device)
        x, labels = self.samples.x[index], self.samples.labels[index]
        reachable = self.reachable(pairs)
        seed = int(files.sha256_json([stage.seed, unit.shard.start])[:8], 16)
        batch = AttackBatch(index.cpu(), unit.shard.size, seed, reachable)
        eps: float | Tensor | None = None
        if attack.per_sample_eps:
            eps = torch.tensor(pairs.eps).to(network.device)
        elif not attack.minimal_norm:
            eps = float(pairs.eps[0]) if len(pairs.eps) else 1.0
        before = replace(network.evaluations)
        candidates = guard.search(stage.attack, attacked, x, labels, norm=unit.norm, eps=eps, seed=seed, batch=batch)
        adversarial, distance, classes = guard.check_candidates(network, x, labels, candidates, unit.norm)
        after = network.evaluations
        spent = Evaluations(after.forward - before.forward, after.backward - before.backward)
        batch.share_out(spent.forward, spent.backward)
        self.bounds.attacked(pairs.samples + unit.shard.start, distance)
        return Found(
            pairs=pairs,
            distance=distance,
            label=classes,
            forward=batch.forward.numpy(),
            backward=batch.backward.numpy(),
            spent=spent,
            adversarial_x=candidates[torch.from_numpy(adversarial).to(network.device)].cpu(),
        )

    def reachable(self, pairs: Pairs) -> Tensor | None:
        """The classes that the certificate does not exclude within reach: bool (m, K); all of them in an audit.

        None where every class counts. A class at exactly ``reach`` is not excluded: see ``bounds``.
        """
        if self.unit.everyone:
            return None
        radii = self.samples.pairwise_radii * self.unit.norm.radius_from_l2(1.0, self.samples.x[0].numel())
        # only a radius above it excludes a class; NaN, which says nothing, does not
        return torch.from_numpy(~(radii[pairs.samples] > pairs.reach[:, None]) | pairs.audit[:, None])


def _witnesses(record: AttackRecord, adversarial_x: Tensor) -> bytes | None:
    hits = np.isfinite(record.adversarial_distance)
    if not hits.any():
        return None
    tensors = {
        "sample": torch.from_numpy(record.sample[hits]),
        "eps": torch.from_numpy(record.eps[hits]),
        "x": adversarial_x,
    }
    return safetensors.torch.save(tensors)
