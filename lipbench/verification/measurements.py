"""Distances between inputs, and margins of classes: the two quantities that refute a certificate.

A distance that refutes something has a proven margin: differences of float32 inputs in [0, 1] are exact in float64 up
to one rounding, and sums of n squares are accurate to (n + 4) u (Higham 2002, section 3.1).
"""

import torch
from torch import Tensor

from lipbench._internal.arrays import Floats
from lipbench.attacks.network import Network


def distances(x: Tensor, z: Tensor) -> tuple[Floats, Floats]:
    """Proven lower and upper bounds of |x - z|_2: float64 (n,) each, for float32 (n, ...)."""
    difference = (x.detach().cpu().double() - z.detach().cpu().double()).flatten(1)
    measured = difference.norm(dim=1).numpy()
    margin = (difference.shape[1] + 4) * 2.0**-53
    return measured * (1 - margin), measured * (1 + margin)


def won(network: Network, x: Tensor, classes: Tensor) -> Tensor:
    """Where the class has the largest logit alone: bool (n,). x: float32 (n, ...); classes: int64 (n,)."""
    return margins(network, x, classes) > 0


def margins(network: Network, x: Tensor, classes: Tensor) -> Tensor:
    """The class's logit minus the largest of the others: float64 (n,). x: float32 (n, ...); classes: int64 (n,)."""
    logits, classes = network.predict(x), classes.cpu()
    own = logits.gather(1, classes[:, None])[:, 0]
    return own - logits.scatter(1, classes[:, None], -torch.inf).amax(dim=1)


def norms(values: Tensor) -> Tensor:
    """The L2 norm of each row: (n,), for values (n, ...)."""
    return values.flatten(1).norm(dim=1)
