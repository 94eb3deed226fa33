"""What the input range does to distances: the same search within [0, 1] and without it.

Perturbations may not leave the range, and certificates know nothing of it. So a distance within the range may be larger
than any certificate can prove. This is a measurement, and no attack: what is found outside the range is no adversarial
input, and no adversarial distance comes from here.
"""

import torch
from torch import Tensor

from lipbench._internal.arrays import Floats
from lipbench.attacks.gradient import bisection
from lipbench.attacks.gradient.ascent import Goal
from lipbench.attacks.isolation import preserved
from lipbench.attacks.network import Network
from lipbench.attacks.norm import Norm


def distances(network: Network, x: Tensor, labels: Tensor, norm: Norm) -> tuple[Floats, Floats]:
    """The distances of the nearest adversarial points within [0, 1], and anywhere: float64 (n,) each, in ``norm``.

    x: float32 (n, ...) in [0, 1], classified correctly; labels: int64 (n,). Both are found by ``gradient/bisection``
    with its defaults, and are inf where it finds none: everywhere on a network on which it cannot run, such as one
    without gradients.
    """
    nothing = torch.full((len(x),), torch.inf, dtype=torch.float64).numpy()
    if not len(x):
        return nothing, nothing
    goal = Goal(network, x.double(), labels, norm)
    try:
        with preserved(network, 0):
            within, without = (_found(each) for each in (goal, goal.without_range()))
    except Exception:  # whatever a network raises, outside of its input range above all: this is no attack of the suite
        return nothing, nothing
    return within.cpu().numpy(), without.cpu().numpy()


def _found(goal: Goal) -> Tensor:
    distance = goal.size(bisection.nearest(goal, **bisection.ATTACK.defaults) - goal.x)
    return torch.where(distance > 0, distance, torch.inf)
