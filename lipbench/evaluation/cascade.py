"""The evaluation of one model on one shard: certify, then run the attacks in the suite's order on what is open."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from lipbench._internal import precision
from lipbench._internal.arrays import Floats
from lipbench._internal.randomness import seeded
from lipbench.attacks import guard
from lipbench.attacks.as_given import cautions, proof_at
from lipbench.attacks.indicators import failure_indicators
from lipbench.certification.grades import GRADES, NONE, REAL
from lipbench.certification.rounding import StepErrors
from lipbench.certification.uncertified import Proof
from lipbench.data import Split
from lipbench.errors import AttackError, LipbenchError, UnsupportedError, one_line, printable, reason
from lipbench.evaluation.attack_job import AttackJob, Samples
from lipbench.evaluation.prepared import PreparedModel
from lipbench.evaluation.slack import box_record, factor_record
from lipbench.runs import checks
from lipbench.runs.bounds import Bounds
from lipbench.runs.chains import Chains, known_of_factors
from lipbench.runs.checks import Known
from lipbench.runs.folder import RunFolder
from lipbench.runs.plans import ModelEntry, Run
from lipbench.runs.records import (
    AnyRecord,
    AttackRecord,
    BoxRecord,
    CertifyFacts,
    CertifyRecord,
    FactorRecord,
    IndicatorFacts,
    IndicatorRecord,
    Record,
)
from lipbench.runs.store import DamagedError, MissingError
from lipbench.runs.units import (
    AttackUnit,
    BoxUnit,
    FactorUnit,
    IndicatorUnit,
    ReferenceUnit,
    Shard,
    SuiteUnit,
    Unit,
)
from lipbench.work.lease import Lease


@dataclass
class SuiteProgress:
    """The attacks of a suite on the shard so far: does one run? Records of those that do not wait for that.

    A model that no attack runs on is a failure, and nothing is stored that would keep another call from trying again.
    """

    name: str
    runs: bool = False
    waiting: list[Callable[[], object]] = field(default_factory=list)  # each stores a record
    reasons: list[str] = field(default_factory=list)

    def add(self, attack: str, record: AttackRecord, store: Callable[[], object]) -> None:
        """Store the record of an attack, and those that waited for it, or let it wait."""
        self.runs |= record.facts.failed is None
        if record.facts.failed is not None:
            self.reasons.append(f"{attack}: {record.facts.failed}")
        self.waiting.append(store)
        if self.runs:
            for each in self.waiting:
                each()
            self.waiting.clear()

    def refuse_without_attacks(self) -> None:
        """Raise UnsupportedError if no attack has run."""
        if not self.runs and self.reasons:
            raise without_attacks(self.name, self.reasons)


def without_attacks(suite: str, reasons: Iterable[str]) -> UnsupportedError:
    """The error for a model that no attack of a suite can run on; a reason that is the only one stands alone."""
    found = list(dict.fromkeys(reasons))
    several = f"no attack of the suite {suite} runs on it: {'; '.join(found)}"
    return UnsupportedError(found[0] if len(found) == 1 else several)


@dataclass
class Cascade:
    """The units of one model on one shard, in the order of work."""

    run_folder: RunFolder
    run: Run
    entry: ModelEntry
    shard: Shard
    split: Split  # of the shard
    model: PreparedModel
    computed: int = 0  # units, by this object

    @cached_property
    def x(self) -> Tensor:
        """float32 (n, ...) in [0, 1], on the device."""
        return torch.from_numpy(np.ascontiguousarray(self.split.x)).to(self.model.network.device)

    @cached_property
    def labels(self) -> Tensor:
        """int64 (n,), on the device."""
        return torch.from_numpy(np.array(self.split.labels)).to(self.model.network.device)

    @cached_property
    def logits(self) -> Tensor:
        """float64 (n, K), on the CPU. Computed once more where a run is resumed; that pass is not in the records.

        A network that draws random numbers draws the same ones then.
        """
        with seeded(0, self.x.device):
            return self.model.network.predict(self.x)

    @cached_property
    def proof(self) -> Proof:
        """The certificate of the model, which agrees with it at these samples too; or why there is none."""
        proof = proof_at(self.model.network, self.model.proof, self.x, self.logits)
        if proof is not self.model.proof and len(self.run.shards) > 1:  # on other samples it closed some
            raise UnsupportedError(
                f"{proof.no_certificate}; --shard {self.run.settings['samples']} evaluates it uncertified"
            )
        return proof

    @cached_property
    def errors(self) -> StepErrors | None:
        """The rounding errors around each sample, where they depend on it: in float32."""
        network, proof = self.model.network, self.proof
        return proof.sample_errors(self.x) if network.dtype is torch.float32 else None

    @cached_property
    def pairwise_radii(self) -> dict[str, Floats]:
        """How far each class is away, by grade: float64 (n, K), in L2."""
        labels = self.labels.cpu()
        found = {grade: self.proof.pairwise_radii(self.logits, labels, grade, self.errors) for grade in GRADES}
        return {grade: radii.numpy() for grade, radii in found.items()}

    def work(self, lease: Lease) -> int:
        """Compute every unit that is not there yet; returns how many. Stops early if the lease is lost."""
        before, load = self.computed, self.run_folder.load
        certify_unit, known = self.run.certify_unit(self.entry, self.shard), Known(self.split.labels)
        certify = self.unit(certify_unit, lease, known, lambda: load(certify_unit, known), self._certify)
        for plan in self.run.suites:
            chains, suite = Chains.of(self.run, self.entry, self.shard, plan, certify), SuiteProgress(plan.suite.name)
            for unit in chains.units:
                if not isinstance(unit, AttackUnit):  # they come after all attacks
                    suite.refuse_without_attacks()
                chains.add(unit, self._of_suite(unit, lease, chains, certify.grade, suite))
            suite.refuse_without_attacks()
        self._factors_of(self.run.factor_unit(self.entry, self.shard), lease, certify)
        return self.computed - before

    def _of_suite(self, unit: SuiteUnit, lease: Lease, chains: Chains, grade: str, suite: SuiteProgress) -> Record:
        known = chains.known(unit)
        if known is None or known.bounds is None:
            raise ValueError(f"{unit.name}: units come in the order of work, each after those before it in its chain")
        if isinstance(unit, IndicatorUnit):
            return self._indicators_of(unit, lease, known)
        if isinstance(unit, BoxUnit):
            return self._box_of(unit, lease, known, known.bounds, grade)
        return self._attacked(unit, lease, known, known.bounds, grade, suite if isinstance(unit, AttackUnit) else None)

    def _attacked(
        self,
        unit: AttackUnit | ReferenceUnit,
        lease: Lease,
        known: Known,
        bounds: Bounds,
        grade: str,
        suite: SuiteProgress | None,
    ) -> AttackRecord:
        """The record of an attack; of one that cannot run on the model, the reason."""

        def compute() -> tuple[AttackRecord, bytes | None]:
            samples, network = self._samples(grade), self.model.network
            spec = unit.stage.attack
            why = guard.obstacle(spec, network.num_classes, network.input_shape, unit.norm)
            if why is None:
                try:
                    return AttackJob(unit, network, samples, bounds.copy(), self.run.settings).run()
                except (AttackError, UnsupportedError) as error:
                    why = reason(error).removeprefix(f"{spec.name} failed: ")
            return AttackRecord.left_out(printable(why)), None

        return self.unit(unit, lease, known, lambda: self.run_folder.load(unit, known), compute, suite)

    def _indicators_of(self, unit: IndicatorUnit, lease: Lease, known: Known) -> IndicatorRecord:
        return self.unit(unit, lease, known, lambda: self.run_folder.load(unit, known), lambda: self._indicators(unit))

    def _box_of(self, unit: BoxUnit, lease: Lease, known: Known, bounds: Bounds, grade: str) -> BoxRecord:
        def compute() -> tuple[BoxRecord, None]:
            samples, network = self._samples(grade), self.model.network
            return box_record(unit, network, samples, bounds.correct, certified=grade != NONE), None

        return self.unit(unit, lease, known, lambda: self.run_folder.load(unit, known), compute)

    def _factors_of(self, unit: FactorUnit, lease: Lease, certify: CertifyRecord) -> FactorRecord:
        known = known_of_factors(certify)

        def compute() -> tuple[FactorRecord, None]:
            samples, radius = self._samples(certify.grade), certify.radius(certify.grade)
            return factor_record(unit, self.model.network, self.proof, samples, radius), None

        return self.unit(unit, lease, known, lambda: self.run_folder.load(unit, known), compute)

    def _samples(self, grade: str) -> Samples:
        """The samples, with the radii of a grade; NaN without a certificate."""
        return Samples(self.x, self.labels, self.pairwise_radii[REAL.name if grade == NONE else grade])

    def unit(
        self,
        unit: Unit,
        lease: Lease,
        known: Known,
        load: Callable[[], AnyRecord],
        compute: Callable[[], tuple[AnyRecord, bytes | None]],
        suite: SuiteProgress | None = None,
    ) -> AnyRecord:
        """The record of a unit, computed and stored if it is missing, damaged, or contradicts what is known before it.

        ``load``: reads it; ``compute``: gives the record, and the witnesses of an attack; ``suite``: of an attack, by
        which its record may have to wait.
        """
        try:
            record = load()
            if suite is not None and isinstance(record, AttackRecord):
                suite.add(unit.kind, record, lambda: None)
            return record
        except MissingError:
            pass
        except DamagedError as damage:
            self._check(lease)
            self.run_folder.discard(unit, damage)
        start = time.perf_counter()
        record, witnesses = compute()
        self._check(lease)
        try:
            checks.check(unit, record, known)
        except ValueError as error:
            raise LipbenchError(
                f"{unit.kind} on {unit.model} gave records that are wrong: {one_line(error)}"
            ) from error
        seconds = time.perf_counter() - start

        def store() -> None:
            self.run_folder.write(unit, record, witnesses)
            self.run_folder.journal.add(unit.name, unit.kind, self.entry.name, self.shard.size, seconds)
            self.computed += 1

        if suite is not None and isinstance(record, AttackRecord):
            suite.add(unit.kind, record, store)
        else:
            store()
        return record

    def _check(self, lease: Lease) -> None:
        if not lease.held:
            raise Superseded(f"another process took over {self.entry.name}")

    def _certify(self) -> tuple[CertifyRecord, None]:
        network, proof = self.model.network, self.proof
        labels = self.labels.cpu()
        passes = 1 + (self.errors is not None)  # the analysis runs it once more
        prediction = self.logits.argmax(dim=1)
        # biases decide identical rows, and a rounded prediction may contradict them: then nothing is certified
        right = (prediction == labels).numpy()
        margin = proof.signed_margins(self.logits, labels).numpy()
        # no input lies further away: the radius of a constant network is infinite, and says no more
        limit = np.where(right, proof.diameter, 0.0)
        radii = {grade: np.minimum(away.min(axis=1), limit) for grade, away in self.pairwise_radii.items()}
        record = CertifyRecord(
            sample=np.arange(self.shard.start, self.shard.stop),
            label=np.asarray(self.split.labels),
            prediction=prediction.numpy(),
            signed_margin=np.where(right, np.maximum(margin, 0), np.minimum(margin, 0)),
            certified_radius_float=radii["float"],
            certified_radius_real=radii["real"],
            certified_radius_nominal=radii["nominal"],
            facts=CertifyFacts(
                lipschitz_bound=proof.bound,
                claimed=self.model.claimed,
                claim_confirmed=proof.claim_confirmed,
                not_analysed=proof.not_analysed,
                dtype=precision.name_of(network.dtype),
                dimension=int(np.prod(network.input_shape)),
                forward=passes * self.shard.size,
                no_certificate=proof.no_certificate,
                caution="; ".join(cautions(network, self.x)) or None,
            ),
        )
        return record, None

    def _indicators(self, unit: IndicatorUnit) -> tuple[IndicatorRecord, None]:
        correct = torch.nonzero(self.logits.argmax(dim=1) == self.labels.cpu())[:, 0]
        x, labels = self.x[correct.to(self.x.device)], self.labels[correct.to(self.x.device)]
        found = failure_indicators(self.model.network.surrogate, x, labels, norm=unit.norm, eps=unit.eps)
        record = IndicatorRecord(
            sample=correct.numpy() + self.shard.start,
            zero_gradient=found.zero_gradient,
            loss_stuck=found.loss_stuck,
            facts=IndicatorFacts(unit.eps),
        )
        return record, None


class Superseded(Exception):  # noqa: N818  (no error: nothing went wrong here)
    """Another process found this one gone, and took over its work."""
