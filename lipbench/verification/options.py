"""What a user chooses about a verification."""

from dataclasses import dataclass, field
from pathlib import Path

from lipbench._internal import arguments
from lipbench._internal.arrays import Floats
from lipbench._internal.precision import dtype_named


@dataclass(frozen=True)
class VerifyOptions:
    """The options that the command ``verify`` and the Python function share; raises LipbenchError for wrong ones.

    radii: certified L2 radii of the user's own to test as well, for one model: float64 (samples,), 0 where
    misclassified, or a file (see ``given_radii``); None: lipbench's own alone.
    """

    samples: int | None = None  # the first so many test samples; None: all
    seed: int = 0  # of the attacks
    dtype: str = "float64"  # what the networks compute in, "float64" or "float32"; grade float holds for it
    radii: Path | Floats | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        checked = {
            "samples": None if self.samples is None else arguments.whole_number("samples", self.samples, 1),
            "seed": arguments.seed("seed", self.seed),
        }
        dtype_named(self.dtype)
        for name, value in checked.items():
            object.__setattr__(self, name, value)


DEFAULTS = VerifyOptions()
