"""An attack run as the evaluation runs it, on rows of a shard, and judged."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lipbench.attacks import guard
from lipbench.attacks.batch import AttackBatch
from lipbench.attacks.norm import Norm
from lipbench.attacks.suites import AttackSpec
from tests.attacks.conftest import Case


@dataclass(frozen=True)
class Outcome:
    candidates: Tensor
    adversarial: NDArray[np.bool_]
    distance: NDArray[np.float64]
    rows: AttackBatch


def attack(
    case: Case, name: str, norm: Norm, eps: float | Tensor | None, *, rows: AttackBatch | None = None, **args: Any
) -> Outcome:
    """What the attack of AutoAttack called ``name`` finds; every sample a row of its own, where ``rows`` is None."""
    rows = AttackBatch.alone(len(case.x)) if rows is None else rows
    spec = AttackSpec(backend="autoattack", name=name, args=args)
    options = {"norm": norm, "eps": eps, "seed": rows.seed, "rows": rows}
    candidates = guard.search(spec, case.network, case.x, case.labels, **options)
    adversarial, distance, _ = guard.check_candidates(case.network, case.x, case.labels, candidates, norm)
    return Outcome(candidates, adversarial, distance, rows)
