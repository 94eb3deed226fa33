"""The results of a verification: plain values, which print as the command's lines and convert to JSON and back."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pandas as pd
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, ValidationInfo

from lipbench._internal.schema import Finite
from lipbench.verification import wording
from lipbench.verification.linter import Finding

GIVEN = "given"  # the grade of radii that the user passed
Grade = Annotated[str, Field(pattern="^(float|real|nominal|given)$")]
_STRICT = ConfigDict(extra="forbid")


def _placed(path: Path, about: ValidationInfo[Path | None]) -> Path:
    """A path that a record names, relative to its folder (the validation's context), which it may not leave."""
    if path.is_absolute() or ".." in path.parts or "\0" in str(path):
        raise ValueError("expected the path of a witness inside the folder")
    return (about.context or Path()) / path


Count = Annotated[int, Field(ge=0)]
# JSON has no infinity: null where no attack found anything
Ratio = Annotated[float, BeforeValidator(lambda value: math.inf if value is None else value), Field(ge=0)]
WitnessPath = Annotated[Path, AfterValidator(_placed)]


@dataclass(frozen=True)
class NotWritten:
    """In place of a witness's path: the disk refused it. The finding is valid without the file."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    not_written: str  # why

    def __str__(self) -> str:
        return f"not written: {self.not_written}"


@dataclass(frozen=True)
class Tested:
    """The conditions of a test."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    data: str  # the data set's spec, such as "digits"; empty for tensors
    data_sha256: str  # of the samples tested; empty for tensors
    samples: Annotated[int, Field(ge=1)]  # how many, from the start of the test set
    seed: Count  # of the attacks
    dtype: Annotated[str, Field(pattern="^(float32|float64)$")]  # what the network computes in
    device: str
    threads: Annotated[int, Field(ge=1)]
    versions: dict[str, str]  # of lipbench and the libraries it computes with


@dataclass(frozen=True)
class Verdict:
    """What the attacks found inside the radii of one grade of one model. Radii and distances are L2."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    grade: Grade
    lipschitz: Finite | None  # the constant behind the radii: computed, or claimed for nominal; None for given radii
    samples: Count  # samples with a certified radius above 0, all of them attacked
    attacked: Count  # sample-attacks
    violations: Count  # samples with an adversarial input inside their radius
    misclassified: Count  # those of them that are adversarial themselves
    closest_approach: Ratio  # smallest adversarial_distance / certified_radius; below 1 the certificate is false
    witness: WitnessPath | NotWritten | None  # adversarial inputs of the violations; None: there are none

    @property
    def holds(self) -> bool:
        """True if no certificate of this grade was broken."""
        return self.violations == 0


@dataclass(frozen=True)
class RoundingVerdict:
    """What the rounding search found next to the decision boundary, for one grade."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    grade: Grade
    points: Count
    certified: Count  # points with a certified radius above 0
    broken: Count
    witness: WitnessPath | NotWritten | None


@dataclass(frozen=True)
class Constant:
    """What is known of the Lipschitz constant of one model: found <= true constant <= computed."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    steepest: Finite  # found: the slope of a pair of inputs, less what errors explain
    steepest_proven: bool  # True: no Lipschitz constant is smaller; False: measured, without an error analysis
    # computed: never below the true constant, if the rules of the layers are right; None without a certificate
    bound: Finite | None
    # a steeper pair of inputs: a rule is wrong, and with it every grade except nominal
    bound_witness: WitnessPath | NotWritten | None
    claimed: Finite | None
    claim_confirmed: bool | None  # None: nothing is claimed, or no bound is known
    claim_witness: WitnessPath | NotWritten | None  # a pair of inputs that refutes the claimed constant

    @property
    def refuted(self) -> bool:
        """True if a pair of inputs contradicts the claim."""
        return self.claim_witness is not None


@dataclass(frozen=True)
class Verification:
    """What was found about one model; ``str()`` gives the lines of the command."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    model: str
    digest: str  # of its card and weights; empty for a network outside any zoo
    tested: Tested
    constant: Constant
    not_analysed: str | None  # why there is no grade float
    findings: tuple[Finding, ...]  # of the linter
    verdicts: tuple[Verdict, ...]
    rounding: tuple[RoundingVerdict, ...]
    no_certificate: str | None = None  # why the network has no bound: then only its claim was tested

    @property
    def holds(self) -> bool:
        """True if no certificate of any grade was broken, no constant refuted, and grade float not by rounding.

        Grades real and nominal state facts of exact arithmetic: rounding next to the boundary does not refute them.
        """
        rounded = any(verdict.broken for verdict in self.rounding if verdict.grade == "float")
        refuted = self.constant.refuted or self.constant.bound_witness is not None
        return all(verdict.holds for verdict in self.verdicts) and not refuted and not rounded

    @property
    def certified(self) -> bool:
        """True if a sample has a certified radius above 0: without one, nothing was attacked."""
        return any(verdict.samples for verdict in self.verdicts)

    @property
    def witnesses(self) -> tuple[Path, ...]:
        """The files of inputs that contradict a certificate or a claim; see ``lipbench verify --replay``."""
        found = [self.constant.bound_witness, self.constant.claim_witness]
        found += [verdict.witness for verdict in self.verdicts] + [verdict.witness for verdict in self.rounding]
        return tuple(path for path in found if isinstance(path, Path))

    def plain(self, folder: Path | None = None) -> dict[str, Any]:
        """The JSON form: no infinities, paths as text, relative to ``folder`` where it is given."""
        plain: dict[str, Any] = _plain({"holds": self.holds, **asdict(self)}, folder)
        if self.no_certificate is None:
            del plain["no_certificate"]
        return plain

    def __str__(self) -> str:
        return "\n".join(wording.lines(self))


@dataclass(frozen=True)
class VerificationResult:
    """What was found about one model or several: all that ``lipbench verify`` prints, and its exit status.

    ``str()`` gives the lines that the command prints. As a condition the result counts as ``passed``.
    """

    models: tuple[Verification, ...]
    # why, by model, for those that could not be verified, or whose record could not be written
    failures: Mapping[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.passed

    @property
    def passed(self) -> bool:
        """True if nothing was broken, no claim refuted, and no model failed: exit status 0 of the command.

        Otherwise its status is 1 if something was broken, and 2 if models failed.
        """
        return not self.failures and all(model.holds for model in self.models)

    @property
    def lint(self) -> dict[str, tuple[Finding, ...]]:
        """The linter's findings by model, for the models that have some. They alone break no certificate."""
        return {model.model: model.findings for model in self.models if model.findings}

    @property
    def constant(self) -> dict[str, Constant]:
        """The Lipschitz constants by model, with the claims that were refuted."""
        return {model.model: model.constant for model in self.models}

    @property
    def violations(self) -> int:
        """Certificates broken at samples, over all models and grades; what rounding breaks is in ``models``."""
        return sum(verdict.violations for model in self.models for verdict in model.verdicts)

    @property
    def witnesses(self) -> tuple[Path, ...]:
        """The files of inputs that contradict a certificate or a claim; see ``lipbench verify --replay``."""
        return tuple(path for model in self.models for path in model.witnesses)

    def frame(self) -> pd.DataFrame:
        """One row per model and grade: the fields of ``Verdict``, and of ``RoundingVerdict`` as ``rounding_*``."""
        rows = []
        for model in self.models:
            rounding = {verdict.grade: verdict for verdict in model.rounding}
            for verdict in model.verdicts:
                near = rounding.get(verdict.grade)
                about = {} if near is None else {f"rounding_{name}": value for name, value in asdict(near).items()}
                about.pop("rounding_grade", None)
                rows.append({"model": model.model, **asdict(verdict), "holds": verdict.holds, **about})
        return pd.DataFrame(rows)

    @property
    def total(self) -> str:
        """The last line of the command, about all models together."""
        return wording.total(self)

    def __str__(self) -> str:
        return "\n".join([*map(str, self.models), self.total])


def _plain(value: Any, folder: Path | None) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item, folder) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, folder) for item in value]
    if isinstance(value, Path):
        return str(value) if folder is None else value.relative_to(folder).as_posix()
    return None if isinstance(value, float) and not math.isfinite(value) else value
