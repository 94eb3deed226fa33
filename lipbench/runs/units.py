"""The units of work of a run: one model on one shard of samples, certified, attacked, or looked at for indicators.

    CertifyUnit      one per model and shard
    AttackUnit       one per model, shard, suite and stage: an attack at a group of eps, or at none
    ReferenceUnit    with a reference attack, one per model, shard, suite and eps: that attack on every correct sample
    IndicatorUnit    likewise, one per model, shard and suite: signs that gradients mislead
    FactorUnit       one per model and shard: what each block of the network keeps of the margin's gradient
    BoxUnit          one per model, shard and suite: distances within the input range and without it, of a few samples

A unit's ``name`` is the hash of everything that determines its records, its predecessors in the same chain included.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from lipbench.attacks.norm import Norm
from lipbench.attacks.suites import AttackSpec
from lipbench.runs.records import AttackRecord, BoxRecord, CertifyRecord, FactorRecord, IndicatorRecord


@dataclass(frozen=True)
class Shard:
    """Some consecutive samples: rows start .. stop - 1 of the test set."""

    start: int
    stop: int

    @property
    def size(self) -> int:
        """How many samples."""
        return self.stop - self.start


@dataclass(frozen=True)
class Stage:
    """One step of a suite."""

    attack: AttackSpec
    eps: tuple[float, ...]  # ascending; () for the minimal-norm attack that sees every correct sample
    seed: int  # of the attack
    place: int = -1  # of the attack among ``SuitePlan.attacks``; -1 for one that is not there


@dataclass(frozen=True, kw_only=True)
class OfShard:
    """What every unit has."""

    name: str
    model: str
    shard: Shard
    # what its records must agree with: the model's card, and the settings of the run
    card: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)
    settings: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, kw_only=True)
class CertifyUnit(OfShard):
    """The samples of the shard are predicted and certified."""

    record_class: ClassVar = CertifyRecord
    kind: ClassVar[str] = "certify"  # units of one kind cost alike


@dataclass(frozen=True, kw_only=True)
class AfterCertify(OfShard):
    """What every other unit has."""

    certify: str  # name of the certify unit that it builds on


@dataclass(frozen=True, kw_only=True)
class FactorUnit(AfterCertify):
    """Why the certificate of each sample is as loose as it is, but for what the attacks of a suite say."""

    record_class: ClassVar = FactorRecord
    kind: ClassVar[str] = "factors"


@dataclass(frozen=True, kw_only=True)
class OfSuite(AfterCertify):
    """What every unit of a suite has."""

    suite: str
    norm: Norm


@dataclass(frozen=True, kw_only=True)
class AttackUnit(OfSuite):
    """A stage of a suite: open samples are attacked at a group of eps, or every correct one at no eps."""

    record_class: ClassVar = AttackRecord

    stage: Stage

    @property
    def kind(self) -> str:
        """Units of one kind cost alike."""
        return str(self.stage.attack)

    @property
    def everyone(self) -> bool:
        """Whether every correct sample is attacked, whatever is known of it."""
        return not self.stage.eps or self.settings.get("prune") is False


@dataclass(frozen=True, kw_only=True)
class ReferenceUnit(OfSuite):
    """The reference attack on every correct sample, at the one eps of its stage; outside the chains of the suite."""

    record_class: ClassVar = AttackRecord
    everyone: ClassVar[bool] = True

    stage: Stage

    @property
    def kind(self) -> str:
        """Units of one kind cost alike."""
        return f"{self.stage.attack} as reference"

    @property
    def eps(self) -> float:
        """The radius that is attacked."""
        return self.stage.eps[0]


@dataclass(frozen=True, kw_only=True)
class IndicatorUnit(OfSuite):
    """Signs that gradients mislead, of every correct sample, at the largest eps of the suite."""

    record_class: ClassVar = IndicatorRecord
    kind: ClassVar[str] = "indicators"

    eps: float


@dataclass(frozen=True, kw_only=True)
class BoxUnit(OfSuite):
    """How far some correct samples are from the boundary within the input range, and without it."""

    record_class: ClassVar = BoxRecord
    kind: ClassVar[str] = "box"

    most: int  # samples
    seed: int  # of the choice of samples


SuiteUnit = AttackUnit | ReferenceUnit | IndicatorUnit | BoxUnit
Unit = CertifyUnit | SuiteUnit | FactorUnit
