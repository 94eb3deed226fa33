"""An attack run as the evaluation runs it, on rows of a shard, and its candidates checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import Tensor

from lipbench.attacks import base, guard
from lipbench.attacks.batch import AttackBatch
from lipbench.attacks.norm import Norm
from lipbench.attacks.optional import OptionalAttack
from lipbench.attacks.suites import AttackSpec
from tests.attacks.conftest import Case


def served(name: str, norm: Norm | None = None) -> base.Attack:
    """The attack; skips the test where its library is not installed, or it does not serve the norm, as declared."""
    found = base.named(name)
    if isinstance(found, OptionalAttack) and found.absent:
        pytest.skip(f"{name} {found.absent}")
    if norm is not None and norm not in found.norms:
        pytest.skip("not served, as declared")
    return found


def shortened(name: str, wanted: Mapping[str, Any]) -> AttackSpec:
    """The attack with those of the arguments that it has, none below its limit."""
    known = base.named(name).parameters
    args = {key: max(value, known[key].at_least or value) for key, value in wanted.items() if key in known}
    return AttackSpec(name=name, args=args)


@dataclass(frozen=True)
class Outcome:
    candidates: Tensor
    adversarial: NDArray[np.bool_]
    distance: NDArray[np.float64]
    batch: AttackBatch


def attack(
    case: Case, name: str, norm: Norm, eps: float | Tensor | None, *, batch: AttackBatch | None = None, **args: Any
) -> Outcome:
    """What the attack of AutoAttack called ``name`` finds; every sample a row of its own, where ``batch`` is None."""
    batch = AttackBatch.alone(len(case.x)) if batch is None else batch
    spec = AttackSpec(name=f"autoattack/{name}", args=args)
    options = {"norm": norm, "eps": eps, "seed": batch.seed, "batch": batch}
    candidates = guard.search(spec, case.network, case.x, case.labels, **options)
    adversarial, distance, _ = guard.check_candidates(case.network, case.x, case.labels, candidates, norm)
    return Outcome(candidates, adversarial, distance, batch)


BISECTION = AttackSpec(name="gradient/bisection")


def distances(
    case: Case, spec: AttackSpec, norm: Norm, eps: float | Tensor | None = None
) -> tuple[NDArray[np.bool_], NDArray[np.float64], Tensor]:
    """What an attack finds: where it is adversarial (n,), its distances (n,), and the candidates."""
    found = guard.search(spec, case.network, case.x, case.labels, norm=norm, eps=eps, seed=0)
    adversarial, distance, _ = guard.check_candidates(case.network, case.x, case.labels, found, norm)
    return adversarial, distance, found
