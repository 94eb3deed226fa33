"""Records as typed values: the columns of each kind, declared once, and the facts that go with them.

A record is a table with one row per attacked or certified sample, and facts about all of it. How it becomes a file is
in ``encoding``; what it must agree with beyond its own columns is in ``checks``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Self, TypeVar

import numpy as np

from lipbench._internal.arrays import Bools, Floats, Ints
from lipbench.certification.grades import NONE
from lipbench.runs.encoding import OPTIONAL, Rows, Stored, columns_of


@dataclass(frozen=True)
class CertifyFacts:
    """What the certificate says of the whole network, or why there is none."""

    lipschitz_bound: float | None  # None without a certificate
    claimed: float | None  # the constant on the card
    claim_confirmed: bool | None  # None without a claim
    not_analysed: str | None  # why there is no grade float; None if there is, and without a certificate
    dtype: str  # what the network computed in: float64 or float32, or its own without a certificate
    dimension: int  # entries of an input
    forward: int  # evaluations of the network
    # why there is no certificate: the network has no Lipschitz bound; None if there is one
    no_certificate: str | None = field(default=None, metadata=OPTIONAL)
    # what makes the robust accuracy an estimate: randomness, dependence on the batch, no gradient
    caution: str | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True)
class AttackFacts:
    """What an attack cost, and the digest of the adversarial inputs that it found."""

    forward: int  # evaluations of the network
    backward: int
    attacked: int  # rows
    audited: int  # rows
    witnesses_sha256: str | None = None  # None where it found none
    # why the attack was left out, on this model and shard: the record has no rows; None: it ran
    failed: str | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True)
class IndicatorFacts:
    """What the indicators were computed at."""

    eps: float


@dataclass(frozen=True)
class FactorFacts:
    """What the factors of a network's blocks were computed from."""

    blocks: list[str]  # names of the network's blocks, from the input on; empty without a certificate
    constants: list[float]  # what each block adds to the Lipschitz bound: the bound after it over that before it
    forward: int  # evaluations of the network
    backward: int


@dataclass(frozen=True)
class BoxFacts:
    """What the measurement of the box cost; no attack of the suite."""

    forward: int  # evaluations of the network
    backward: int


@dataclass(frozen=True, eq=False, kw_only=True)
class CertifyRecord(Rows):
    """One row per sample of the shard, in order."""

    facts_class: ClassVar[type] = CertifyFacts

    label: Annotated[Ints, Stored("int64", "true class", low=0)]
    prediction: Annotated[Ints, Stored("int64", "argmax of the logits, as computed in the run's dtype", low=0)]
    signed_margin: Annotated[
        Floats,
        Stored(
            "double",
            "min over j of (f_label - f_j) / L_label,j; its mean is the MCR; inf for a constant network; NaN without a "
            "certificate",
            "L2",
            nan=True,
            inf=True,
        ),
    ]
    certified_radius_float: Annotated[
        Floats,
        Stored("double", "0 where misclassified or tied, NaN without an error analysis", "L2", low=0, nan=True),
    ]
    certified_radius_real: Annotated[
        Floats, Stored("double", "0 where misclassified or tied, NaN without a certificate", "L2", low=0, nan=True)
    ]
    certified_radius_nominal: Annotated[
        Floats,
        Stored("double", "0 where misclassified or tied, NaN where the card claims nothing", "L2", low=0, nan=True),
    ]
    facts: CertifyFacts

    @property
    def correct(self) -> Bools:
        """Where the prediction is the label: bool (rows,)."""
        return self.label == self.prediction

    @property
    def grade(self) -> str:
        """The grade that headline numbers are read from: ``float`` where the model has one, else ``real``.

        ``none`` without a certificate.
        """
        if self.facts.no_certificate is not None:
            return NONE
        return "real" if np.isnan(self.certified_radius_float).all() else "float"

    def radius(self, grade: str) -> Floats:
        """The certified radii of a grade: float64 (rows,), in L2; NaN for the grade ``none``."""
        if grade == NONE:
            return np.full(len(self.sample), np.nan)
        radius: Floats = self.arrays()[f"certified_radius_{grade}"]
        return radius

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """The rows of several shards of one model; the facts are those of the first."""
        arrays = [part.arrays() for part in parts]
        return cls(
            **{name: np.concatenate([part[name] for part in arrays]) for name in arrays[0]}, facts=parts[0].facts
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class AttackRecord(Rows):
    """One row per attacked sample and eps; for a minimal-norm attack, one per attacked sample."""

    facts_class: ClassVar[type] = AttackFacts

    eps: Annotated[
        Floats,
        Stored(
            "double",
            "the radius attacked; NaN for a minimal-norm attack, which serves every eps",
            "norm",
            low=0,
            nan=True,
        ),
    ]
    audit: Annotated[Bools, Stored("bool", "attacked although its certificate closes the sample")]
    adversarial_distance: Annotated[
        Floats,
        Stored("double", "measured by lipbench; inf where no adversarial input was found", "norm", low=0, inf=True),
    ]
    adversarial_label: Annotated[
        Ints, Stored("int64", "class of the adversarial input; -1 where none was found", low=-1)
    ]
    forward: Annotated[Ints, Stored("int64", "evaluations of the network spent on the row", low=0)]
    backward: Annotated[Ints, Stored("int64", "gradients of the network spent on the row", low=0)]
    facts: AttackFacts

    @classmethod
    def left_out(cls, why: str) -> Self:
        """The record of an attack that cannot run on a model: no rows, and the reason."""
        dtypes = {"int64": np.int64, "double": np.float64, "bool": np.bool_}
        columns: dict[str, Any] = {name: np.zeros(0, dtypes[column.kind]) for name, column in columns_of(cls).items()}
        return cls(**columns, facts=AttackFacts(forward=0, backward=0, attacked=0, audited=0, failed=why))


@dataclass(frozen=True, eq=False, kw_only=True)
class IndicatorRecord(Rows):
    """One row per correct sample."""

    facts_class: ClassVar[type] = IndicatorFacts

    zero_gradient: Annotated[
        Bools, Stored("bool", "the gradient of cross-entropy at the input is zero, NaN or infinite")
    ]
    loss_stuck: Annotated[
        Bools, Stored("bool", "no step of a short gradient ascent within the largest eps raised cross-entropy")
    ]
    facts: IndicatorFacts


@dataclass(frozen=True, eq=False, kw_only=True)
class FactorRecord(Rows):
    """One row per correct sample with a certified radius above 0: see ``certification.gradients``.

    Of the margin g = f_c - f_j, c the class of the sample, and its gradient at the input. Factors and norms are NaN
    where the gradient is 0, or not finite.
    """

    facts_class: ClassVar[type] = FactorFacts

    other: Annotated[Ints, Stored("int64", "j, the class that decides the radius of the headline grade", low=0)]
    margin: Annotated[Floats, Stored("double", "g at the sample, in float64")]
    pairwise_bound: Annotated[Floats, Stored("double", "Lipschitz bound of g", "L2", low=0)]
    kept: Annotated[
        Floats,
        Stored(
            "double",
            "share of the norm of the gradient that a block lets back, relative to its Lipschitz constant; in the "
            "order of the fact ``blocks``",
            low=0,
            nan=True,
            several=True,
        ),
    ]
    head: Annotated[
        Floats,
        Stored(
            "double", "norm of the gradient at the last block's output, over the bound of the head", low=0, nan=True
        ),
    ]
    gradient_l1: Annotated[Floats, Stored("double", "L1 norm of the gradient at the input", low=0, nan=True)]
    gradient_l2: Annotated[Floats, Stored("double", "L2 norm of the gradient at the input", low=0, nan=True)]
    gradient_linf: Annotated[Floats, Stored("double", "L_inf norm of the gradient at the input", low=0, nan=True)]
    facts: FactorFacts


@dataclass(frozen=True, eq=False, kw_only=True)
class BoxRecord(Rows):
    """One row per correct sample of a random share: what ``gradient/bisection`` finds within the input range and
    without it.
    """

    facts_class: ClassVar[type] = BoxFacts

    distance_within: Annotated[
        Floats,
        Stored("double", "of the nearest adversarial input within [0, 1]; inf if none was found", "norm", 0, inf=True),
    ]
    distance_without: Annotated[
        Floats, Stored("double", "likewise, wherever it lies; inf if none was found", "norm", 0, inf=True)
    ]
    facts: BoxFacts


Record = CertifyRecord | AttackRecord | IndicatorRecord | FactorRecord | BoxRecord
AnyRecord = TypeVar("AnyRecord", bound=Record)
