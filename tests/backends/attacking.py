"""An attack run as the evaluation runs it, on rows of a shard, and judged."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from conftest import Case
from numpy.typing import NDArray
from torch import Tensor

from lipbench import backends
from lipbench.backends.rows import Rows
from lipbench.suites import AttackSpec
from lipbench.threat import Norm


@dataclass(frozen=True)
class Outcome:
    candidates: Tensor
    adversarial: NDArray[np.bool_]
    distance: NDArray[np.float64]
    rows: Rows


def attack(
    case: Case, name: str, norm: Norm, eps: float | Tensor | None, *, rows: Rows | None = None, **args: Any
) -> Outcome:
    """What the attack of AutoAttack called ``name`` finds; every sample a row of its own, where ``rows`` is None."""
    rows = Rows.alone(len(case.x)) if rows is None else rows
    spec = AttackSpec(backend="autoattack", name=name, args=args)
    options = {"norm": norm, "eps": eps, "seed": rows.seed, "rows": rows}
    candidates = backends.search(spec, case.network, case.x, case.labels, **options)
    adversarial, distance, _ = backends.judge(case.network, case.x, case.labels, candidates, norm)
    return Outcome(candidates, adversarial, distance, rows)
