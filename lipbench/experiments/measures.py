"""What several experiments measure."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy import stats
from torch import Tensor, nn

from lipbench._internal.arrays import Floats, Ints
from lipbench.attacks import suites
from lipbench.attacks.network import class_logits
from lipbench.attacks.suites import Suite
from lipbench.certification.certificate import Certificate, certificate
from lipbench.report.intervals import CONFIDENCE


@dataclass(frozen=True)
class Estimate:
    """A measured number with its 95 % interval."""

    value: float
    lo: float
    hi: float


@torch.no_grad()
def logits(module: nn.Module, x: ArrayLike | Tensor, batch_size: int = 2000) -> Tensor:
    """The network's logits, computed in float64 on the CPU: float64 (n, K), or (n, 1) for a single-logit head.

    x: (n, ...) in [0, 1]. The module itself is left as it is.
    """
    precise = copy.deepcopy(module).cpu().double().eval()
    rows = torch.as_tensor(np.asarray(x) if not isinstance(x, Tensor) else x).double()
    return torch.cat([precise(part) for part in rows.split(batch_size)])


def certified_radii(module: nn.Module, x: ArrayLike | Tensor, labels: ArrayLike) -> Floats:
    """Certified L2 radii of grade real, float64 (n,), 0 where misclassified. The network is run in float64, on the CPU.

    x: (n, ...) in [0, 1]; labels: whole numbers (n,).
    """
    return _proof(module, x).radii(logits(module, x), _classes(labels)).numpy()


def signed_margins(module: nn.Module, x: ArrayLike | Tensor, labels: ArrayLike) -> Floats:
    """The margin of each sample over the Lipschitz bound, float64 (n,), negative where the class is wrong.

    For a single-logit head f and y = +-1 it is y f / L. Arguments as for ``certified_radii``.
    """
    return _proof(module, x).signed_margins(class_logits(logits(module, x)), _classes(labels)).numpy()


def mcr(module: nn.Module, x: ArrayLike | Tensor, labels: ArrayLike) -> float:
    """The mean certifiable robustness (Béthune et al. 2022), E[y f] / L, of samples: the mean signed margin, L2."""
    return float(signed_margins(module, x, labels).mean())


def _proof(module: nn.Module, x: ArrayLike | Tensor) -> Certificate:
    return certificate(copy.deepcopy(module).cpu().double().eval(), tuple(np.shape(x))[1:])


def _classes(labels: ArrayLike) -> Tensor:
    return torch.as_tensor(np.asarray(labels), dtype=torch.int64)


def over_seeds(values: Sequence[float] | Floats) -> Estimate:
    """The mean over seeds, with Student's t interval; (-inf, inf) for a single one."""
    array = np.asarray(values, dtype=np.float64)
    mean = float(array.mean())
    if len(array) < 2:
        return Estimate(mean, -np.inf, np.inf)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(array) - 1) * array.std(ddof=1) / np.sqrt(len(array)))
    return Estimate(mean, mean - half, mean + half)


def best_accuracy(values: Floats, labels: Ints) -> tuple[float, float]:
    """The best accuracy of ``value > threshold`` for label 1, else 0, and its threshold.

    The threshold lies midway between two distinct values, or is -inf (all are of class 1) or inf (none is).

    values: float64 (n,); labels: int64 (n,), 0 or 1.
    """
    distinct, place = np.unique(values, return_inverse=True)  # equal values are on the same side of any threshold
    below = np.cumsum(np.bincount(place + 1, weights=1 - labels, minlength=len(distinct) + 1))  # of class 0: right
    above = labels.sum() - np.cumsum(np.bincount(place + 1, weights=labels, minlength=len(distinct) + 1))
    best = int(np.argmax(below + above))
    cuts = np.concatenate([[-np.inf], (distinct[:-1] + distinct[1:]) / 2, [np.inf]])
    return float((below + above)[best] / len(labels)), float(cuts[best])


def bisection(*eps: float) -> Suite:
    """The suite whose one attack finds a distance for every sample, whatever the grid of eps."""
    attack = [{"name": "gradient/bisection"}]
    return suites.parse({"name": "bisection", "norm": "L2", "eps": list(eps), "attack": attack}, "the suite")


def ratio_over_seeds(ratios: Sequence[float] | Floats) -> Estimate:
    """The geometric mean of positive ratios over seeds, with Student's t interval of their logarithms."""
    logs = over_seeds(np.log(np.asarray(ratios, dtype=np.float64)))
    return Estimate(*(float(value) for value in np.exp([logs.value, logs.lo, logs.hi])))


def above(least: float, estimate: Estimate) -> dict[str, Any]:
    """Of a ``Check``: what was measured, and that it holds where the whole interval lies above a number."""
    return {"holds": estimate.lo > least, "ours": estimate.value, "lo": estimate.lo, "hi": estimate.hi}


def below(most: float, estimate: Estimate) -> dict[str, Any]:
    """As ``above``, where the whole interval lies below a number."""
    return {"holds": estimate.hi < most, "ours": estimate.value, "lo": estimate.lo, "hi": estimate.hi}
