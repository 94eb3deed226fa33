"""What a user chooses about an evaluation, validated."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lipbench._internal import arguments
from lipbench._internal.precision import dtype_named
from lipbench.errors import LipbenchError, quoted, unknown_name
from lipbench.runs.suite_plans import REFERENCE_ATTACKS


@dataclass(frozen=True)
class EvaluateOptions:
    """What a user chooses about an evaluation; all of it determines the records. Raises LipbenchError for wrong values.

    ``lipbench.work.execution.Execution`` holds the choices that concern where the work is done.
    """

    samples: int | None = None  # the first so many test samples; None: as many as the suites say, else all
    seeds: tuple[int, ...] = (0,)  # of the attacks; each further one runs them again on the samples still open
    audit: float = 0.01  # share of the certified samples that is attacked nevertheless
    prune: bool = True  # False: attack every correct sample at every eps
    dtype: str = "float64"  # what the networks compute in, in every process; or "float32"
    shard: int = 1000  # samples that are worked on at once; memory grows with it
    reference_attack: str | None = None  # also run this one alone, on every correct sample at each eps: "autoattack"

    def __post_init__(self) -> None:
        checked = {
            "samples": None if self.samples is None else arguments.whole_number("samples", self.samples, 1),
            "seeds": _seeds(self.seeds),
            "audit": arguments.real_number("audit, a share of the samples,", self.audit, 0, 1),
            "prune": arguments.truth("prune", self.prune),
            "shard": arguments.whole_number("shard", self.shard, 1),
        }
        dtype_named(self.dtype)
        if self.reference_attack not in (None, *REFERENCE_ATTACKS):
            raise unknown_name("reference_attack", self.reference_attack, REFERENCE_ATTACKS)
        for name, value in checked.items():
            object.__setattr__(self, name, value)


def _seeds(values: Sequence[int]) -> tuple[int, ...]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise LipbenchError(f"seeds must be a list of whole numbers, such as [0, 1], got {quoted(values)}")
    seeds = tuple(arguments.seed("a seed", value) for value in values)
    if not seeds or len(set(seeds)) < len(seeds):
        raise LipbenchError(f"seeds must be one number or several different ones, got {list(seeds)}")
    return seeds


DEFAULTS = EvaluateOptions()
