"""The evaluation of one model on one shard: certify, then attacks from the cheapest to the dearest on what is open."""

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import safetensors.torch
import torch
from torch import Tensor

from lipbench._internal import files, precision
from lipbench._internal.arrays import Bools, Floats, Ints
from lipbench.attacks import guard
from lipbench.attacks.batch import AttackBatch
from lipbench.attacks.indicators import failure_indicators
from lipbench.attacks.network import Evaluations, Network
from lipbench.attacks.norm import Norm
from lipbench.certification.certificate import Certificate, certificate
from lipbench.certification.grades import GRADES
from lipbench.certification.rounding import StepErrors
from lipbench.data import Split
from lipbench.errors import LipbenchError
from lipbench.models.stored import load_model
from lipbench.runs import folder as records
from lipbench.runs.bounds import Bounds
from lipbench.runs.folder import Chains, DamagedError, MissingError, RunFolder
from lipbench.runs.plans import ModelEntry, Run, Shard, SuitePlan, Unit
from lipbench.runs.records import Known
from lipbench.work.lease import Lease


@dataclass(frozen=True)
class Subject:
    """A model made ready: its network, and the certificate of that."""

    network: Network
    proof: Certificate
    claimed: float | None

    @classmethod
    def load(cls, folder: Path, digest: str, device: torch.device, dtype: str) -> "Subject":
        """Raises LipbenchError if the model in ``folder`` is not the one with the digest any more."""
        model = load_model(folder)
        if model.digest != digest:
            raise LipbenchError(f"{folder} was changed while it was evaluated; run the same command again")
        claimed = None if model.card.claimed is None else model.card.claimed.constant
        network = Network(model.module, model.card.input_shape, device, dtype)
        return cls(network, certificate(network.module, model.card.input_shape, claimed, network.dtype), claimed)


@dataclass(frozen=True)
class Pairs:
    """The rows that an attack sees: a sample of the shard with an eps. All arrays have shape (m,)."""

    samples: Ints  # places in the shard
    eps: Floats  # NaN for a minimal-norm attack
    reach: Floats  # the largest eps that the row answers for
    audit: Bools  # closed by the certificate, and attacked all the same


@dataclass
class Cascade:
    """The units of one model on one shard, in the order of work."""

    run_folder: RunFolder
    run: Run
    entry: ModelEntry
    shard: Shard
    split: Split  # of the shard
    subject: Subject

    @cached_property
    def x(self) -> Tensor:
        """float32 (n, c, h, w) in [0, 1], on the device."""
        return torch.from_numpy(np.ascontiguousarray(self.split.x)).to(self.subject.network.device)

    @cached_property
    def labels(self) -> Tensor:
        """int64 (n,), on the device."""
        return torch.from_numpy(np.array(self.split.labels)).to(self.subject.network.device)

    @cached_property
    def logits(self) -> Tensor:
        """float64 (n, K), on the CPU. Computed once more where a run goes on; that pass is not in the records."""
        return self.subject.network.predict(self.x)

    @cached_property
    def errors(self) -> StepErrors | None:
        """The rounding errors around each sample, where they depend on it: in float32."""
        network, proof = self.subject.network, self.subject.proof
        return proof.sample_errors(self.x) if network.dtype is torch.float32 else None

    @cached_property
    def pairwise_radii(self) -> dict[str, Floats]:
        """How far each class is away, by grade: float64 (n, K), in L2."""
        labels = self.labels.cpu()
        found = {grade: self.subject.proof.pairwise_radii(self.logits, labels, grade, self.errors) for grade in GRADES}
        return {grade: radii.numpy() for grade, radii in found.items()}

    def work(self, claim: Lease) -> int:
        """Compute every unit that is not there yet; returns how many. Stops early if the claim is lost."""
        done = 0
        unit = self.run.certify_unit(self.entry, self.shard)
        self._believed(unit, claim, Known(self.split.labels))
        certify, fresh = self._unit(unit, claim, self._certify)
        done += fresh
        grade = records.grade(certify)
        for plan in self.run.suites:
            chains = Chains(self.run, self.entry, self.shard, plan, certify)
            for unit in chains.units:
                known = chains.known(unit)
                assert known is not None  # every unit before it is there
                assert known.ledger is not None
                search = _Search(self, plan, unit, known.ledger.copy(), grade)
                compute = self._indicators if unit.role == "indicators" else search.attack
                self._believed(unit, claim, known)
                found, fresh = self._unit(unit, claim, compute)
                chains.add(unit, found)
                done += fresh
        return done

    def _believed(self, unit: Unit, claim: Lease, known: Known) -> None:
        """Remove records that are damaged, or contradict what is known before them."""
        try:
            self.run_folder.load(unit, known)
        except MissingError:
            pass
        except DamagedError as damage:
            self._check(claim)
            self.run_folder.discard(unit, damage)

    def _unit(self, unit: Unit, claim: Lease, compute: Any) -> tuple[pd.DataFrame, bool]:
        """The records of a unit, computed if they are missing; and whether they were."""
        with contextlib.suppress(MissingError):
            return self.run_folder.load(unit)[0], False
        start = time.perf_counter()
        found = compute(unit)
        self._check(claim)
        self.run_folder.write(unit, *found)
        self.run_folder.journal.add(unit.name, unit.kind, self.entry.name, self.shard.size, time.perf_counter() - start)
        return self.run_folder.load(unit)[0], True

    def _check(self, claim: Lease) -> None:
        if not claim.held:
            raise Superseded(f"another process took over {self.entry.name}")

    def _certify(self, unit: Unit) -> tuple[dict[str, Any], dict[str, Any]]:
        network, proof = self.subject.network, self.subject.proof
        labels = self.labels.cpu()
        network.check_batch(proof.graph, self.x, self.logits)
        # nothing lies further away: the radius of a constant network is infinite, and says no more
        farthest = math.sqrt(math.prod(network.input_shape))
        passes = 1 + (self.errors is not None)  # the analysis runs it once more
        prediction = self.logits.argmax(dim=1)
        # biases decide identical rows, and a rounded prediction may contradict them: then nothing is certified
        right = (prediction == labels).numpy()
        margin = proof.signed_margins(self.logits, labels).numpy()
        columns = {
            "sample": np.arange(self.shard.start, self.shard.stop),
            "label": self.split.labels,
            "prediction": prediction.numpy(),
            "signed_margin": np.where(right, np.maximum(margin, 0), np.minimum(margin, 0)),
            **{
                f"certified_radius_{grade}": np.minimum(radii.min(axis=1), np.where(right, farthest, 0.0))
                for grade, radii in self.pairwise_radii.items()
            },
        }
        info = {
            "lipschitz_bound": proof.bound,
            "claimed": self.subject.claimed,
            "claim_confirmed": proof.claim_confirmed,
            "not_analysed": proof.not_analysed,
            "dtype": precision.name_of(network.dtype),
            "dimension": int(np.prod(network.input_shape)),
            "forward": passes * self.shard.size,
        }
        return columns, info

    def _indicators(self, unit: Unit) -> tuple[dict[str, Any], dict[str, Any]]:
        assert unit.stage is not None
        assert unit.norm is not None
        correct = torch.nonzero(self.logits.argmax(dim=1) == self.labels.cpu())[:, 0]
        x, labels = self.x[correct.to(self.x.device)], self.labels[correct.to(self.x.device)]
        eps = unit.stage.eps[0]
        found = failure_indicators(self.subject.network.surrogate, x, labels, norm=unit.norm, eps=eps)
        columns = {
            "sample": correct.numpy() + self.shard.start,
            "zero_gradient": found.zero_gradient,
            "loss_stuck": found.loss_stuck,
        }
        return columns, {"eps": eps}


class Superseded(Exception):  # noqa: N818  (no error: nothing went wrong here)
    """Another process took this one for gone, and does its work."""


@dataclass
class _Search:
    """One attack unit: which rows the attack sees, and what it found there."""

    cascade: Cascade
    plan: SuitePlan
    unit: Unit
    ledger: Bounds  # of all that came before in the chain
    grade: str

    def attack(self, unit: Unit) -> tuple[dict[str, Any], dict[str, Any], bytes | None]:
        """The columns, the info and the witnesses of the unit; None where the attack found none."""
        parts = [self._run(pairs) for pairs in self._calls()]
        names = ("sample", "eps", "audit", "adversarial_distance", "adversarial_label", "forward", "backward")
        columns = {name: np.concatenate([part[name] for part in parts]) for name in names}
        info = {
            "forward": sum(part["evaluations"].forward for part in parts),
            "backward": sum(part["evaluations"].backward for part in parts),
            "attacked": len(columns["sample"]),
            "audited": int(columns["audit"].sum()),
        }
        hits = np.isfinite(columns["adversarial_distance"])
        if not hits.any():
            return columns, info, None
        witnesses = {
            "sample": torch.from_numpy(columns["sample"][hits]),
            "eps": torch.from_numpy(columns["eps"][hits]),
            "x": torch.cat([part["adversarial_x"] for part in parts]),
        }
        return columns, info, safetensors.torch.save(witnesses)

    def _calls(self) -> Iterator[Pairs]:
        """What the attack is called with, once or once for each eps; later calls see what earlier ones broke."""
        stage = self.unit.stage
        assert stage is not None
        declared = guard.attack_of(stage.attack)
        if self.unit.role == "alone":
            yield self._everyone(stage.eps[0])
            return
        if not stage.eps:
            samples = np.flatnonzero(self.ledger.correct)
            nowhere = np.full(len(samples), np.nan)
            yield Pairs(samples, nowhere, nowhere, np.zeros(len(samples), dtype=bool))
            return
        audited = self._audit()
        if declared.minimal_norm or declared.per_sample_eps:
            pairs = _joined([self._at(eps, audited) for eps in stage.eps])
            yield _once(pairs) if declared.minimal_norm else pairs
            return
        for eps in stage.eps:
            yield self._at(eps, audited)

    def _everyone(self, eps: float) -> Pairs:
        samples = np.flatnonzero(self.ledger.correct)
        at = np.full(len(samples), eps)
        return Pairs(samples, at, at, np.zeros(len(samples), dtype=bool))

    def _at(self, eps: float, audited: Floats) -> Pairs:
        """The rows at one eps: the open samples, and those that are audited there."""
        if not self.cascade.run.settings["prune"]:
            return self._everyone(eps)
        audit = (audited == eps) & ~self.ledger.broken(eps)
        samples = np.flatnonzero(self.ledger.open(eps) | audit)
        return Pairs(samples, np.full(len(samples), eps), np.full(len(samples), eps), audit[samples])

    def _audit(self) -> Floats:
        """For each sample the eps at which it is audited: the largest of the group that its certificate covers; NaN for
        most. float64 (n,). A random share of the samples with such an eps, the same for all attacks of the chain.
        """
        stage, settings = self.unit.stage, self.cascade.run.settings
        assert stage is not None
        covered = np.full(len(self.ledger.correct), np.nan)
        if not settings["prune"]:  # everything is attacked anyway
            return covered
        for eps in stage.eps:
            covered[self.ledger.certified(eps)] = eps
        certified = np.flatnonzero(np.isfinite(covered))
        size = int(np.ceil(settings["audit"] * len(certified)))
        certify = self.cascade.run.certify_unit(self.cascade.entry, self.cascade.shard).name
        key = files.sha256_json([certify, self.plan.suite.norm.value, stage.eps, stage.seed])
        kept = np.random.default_rng(int(key[:16], 16)).choice(certified, size, replace=False)
        audited = np.full_like(covered, np.nan)
        audited[kept] = covered[kept]
        return audited

    def _run(self, pairs: Pairs) -> dict[str, Any]:
        """Attack the rows, judge the candidates, and note what was found in the ledger."""
        cascade, stage, norm = self.cascade, self.unit.stage, self.unit.norm
        assert stage is not None
        assert norm is not None
        declared = guard.attack_of(stage.attack)
        network = cascade.subject.network
        attacked = network if declared.exact else network.surrogate
        index = torch.tensor(pairs.samples).to(network.device)
        x, labels = cascade.x[index], cascade.labels[index]
        seed = int(files.sha256_json([stage.seed, cascade.shard.start])[:8], 16)
        batch = AttackBatch(index.cpu(), cascade.shard.size, seed, self._reachable(pairs, norm))
        eps: float | Tensor | None = None
        if declared.per_sample_eps:
            eps = torch.tensor(pairs.eps).to(network.device)
        elif not declared.minimal_norm:
            eps = float(pairs.eps[0]) if len(pairs.eps) else 1.0
        before = replace(network.evaluations)
        candidates = guard.search(stage.attack, attacked, x, labels, norm=norm, eps=eps, seed=seed, batch=batch)
        adversarial, distance, classes = guard.check_candidates(network, x, labels, candidates, norm)
        after = network.evaluations
        spent = Evaluations(after.forward - before.forward, after.backward - before.backward)
        batch.share_out(spent.forward, spent.backward)
        self.ledger.attacked(pairs.samples, distance)
        return {
            "sample": pairs.samples + cascade.shard.start,
            "eps": pairs.eps,
            "audit": pairs.audit,
            "adversarial_distance": distance,
            "adversarial_label": classes,
            "forward": batch.forward.numpy(),
            "backward": batch.backward.numpy(),
            "evaluations": spent,
            "adversarial_x": candidates[torch.from_numpy(adversarial).to(network.device)].cpu(),
        }

    def _reachable(self, pairs: Pairs, norm: Norm) -> Tensor | None:
        """The classes that the certificate does not exclude within reach: bool (m, K); all of them in an audit.

        A class at exactly ``reach`` is not excluded: see ``ledger``.
        """
        stage, cascade = self.unit.stage, self.cascade
        assert stage is not None
        if not cascade.run.settings["prune"] or not stage.eps or self.unit.role == "alone":
            return None
        radii = cascade.pairwise_radii[self.grade] * norm.radius_from_l2(1.0, cascade.x[0].numel())
        # only a radius above it excludes a class; NaN, which says nothing, does not
        return torch.from_numpy(~(radii[pairs.samples] > pairs.reach[:, None]) | pairs.audit[:, None])


def _joined(parts: list[Pairs]) -> Pairs:
    return Pairs(*(np.concatenate([vars(part)[name] for part in parts]) for name in vars(parts[0])))


def _once(pairs: Pairs) -> Pairs:
    """Each sample once, without an eps; it counts as audited only if it is open nowhere."""
    frame = pd.DataFrame(vars(pairs)).groupby("samples").agg(reach=("reach", "max"), audit=("audit", "all"))
    samples, nowhere = frame.index.to_numpy(np.int64), np.full(len(frame), np.nan)
    return Pairs(samples, nowhere, frame["reach"].to_numpy(float), frame["audit"].to_numpy(bool))
