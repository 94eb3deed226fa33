"""pyautoattack's own ensemble, configured for any number of classes."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lipbench.attacks.autoattack.canvas import PaddedSquare, canvas
from lipbench.attacks.network import Network
from lipbench.attacks.norm import Norm
from lipbench.attacks.parameters import MOST_STEPS, Parameter

ENSEMBLE = ("apgd-ce", "apgd-t", "fab-t", "square")  # version='standard'


# The library keeps two losses and an outcome for every iteration of every row.
N_ITER = Parameter(100, "iterations of each run", at_least=1, at_most=10_000)
TARGETS = Parameter(
    9,
    "runs towards so many wrong classes, those with the largest logits; where there are fewer, all of them",
    at_least=1,
)
N_QUERIES = Parameter(5000, "proposals for each sample, each one forward pass", at_least=1, at_most=MOST_STEPS)


def configured(
    network: Network, arguments: Mapping[str, Any], *, norm: Norm, eps: float, seed: int, attacks: tuple[str, ...]
) -> Any:
    """An AutoAttack object with the parameters of version='standard', and at most K - 1 targets.

    arguments: ``n_iter``, ``targets`` and ``n_queries``, where they differ from the defaults above.
    """
    from pyautoattack import AutoAttack
    from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted

    common = {"eps": eps, "norm": norm.value, "seed": seed, "device": network.device}
    library = AutoAttack(network, attacks=list(attacks), version="custom", **common)
    library.verbose = False
    n_iter = arguments.get("n_iter", N_ITER.default)
    # APGD derives its step-size checkpoints from n_iter in the constructor, so it is made anew.
    library.apgd = APGDAttack(network, n_iter=n_iter, logger=library.logger, **common)
    library.apgd_targeted = APGDAttack_targeted(network, n_iter=n_iter, logger=library.logger, **common)
    library.fab.n_restarts = 1
    library.fab.n_iter = n_iter
    targets = min(arguments.get("targets", TARGETS.default), network.num_classes - 1)
    library.apgd_targeted.n_target_classes = library.fab.n_target_classes = targets
    library.square.n_queries = arguments.get("n_queries", N_QUERIES.default)
    if network.num_classes < 4:
        pgd = library.apgd_targeted
        pgd.dlr_loss_targeted = lambda logits, labels: targeted_margin(logits, labels, pgd.y_target)
    if len(network.input_shape) == 3:
        shown = canvas(network.input_shape[1:], norm)
        if shown.padded:
            library.square = PaddedSquare(library.square, network, shown)
    return library


def targeted_margin(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """The targeted difference of logits ratio for fewer than four classes: (n,), larger is more adversarial.

    Croce and Hein's eq. 7 divides z_t - z_y by z_(1) - (z_(3) + z_(4)) / 2. With three classes the divisor of their
    eq. 6, z_(1) - z_(3), would make it the constant -1 for the smallest logit, without a gradient; with two there is
    no scale left to divide by. And none is needed: APGD uses only the direction of the gradient and the order of the
    losses of one sample.
    """
    rows = torch.arange(len(logits), device=logits.device)
    return logits[rows, targets] - logits[rows, labels]
