"""The Adversarial Robustness Toolbox (Nicolae et al. 2018, arXiv 1807.01069): its attacks that work on any
network.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lipbench.attacks.batch import AttackBatch
from lipbench.attacks.guard import Attack
from lipbench.attacks.network import LARGEST_BATCH, Network
from lipbench.attacks.norm import Norm
from lipbench.attacks.parameters import MOST_RESTARTS, MOST_STEPS, Parameter

BOTH = frozenset(Norm)
LOSSES = ("cross_entropy", "difference_logits_ratio")


def _auto_pgd_obstacle(
    args: Mapping[str, Any], num_classes: int, input_shape: tuple[int, ...], norm: Norm
) -> str | None:
    if args["loss_type"] == "difference_logits_ratio" and num_classes < 3:
        return f"with loss_type difference_logits_ratio needs at least 3 classes, the network has {num_classes}"
    return None


def _square_obstacle(args: Mapping[str, Any], num_classes: int, input_shape: tuple[int, ...], norm: Norm) -> str | None:
    """The first tile must leave room to move: NumPy's randint(0, h - tile) raises otherwise (art's
    square_attack.py). A share of less than a pixel is raised to the smallest tile in silence, and finds nothing.
    """
    _, height, width = input_shape
    if args["p_init"] * height * width < 1:
        return f"changes less than one pixel of {height} x {width} with p_init {args['p_init']:g}"
    tile = max(round(math.sqrt(args["p_init"] * height * width)), 3 if norm is Norm.L2 else 1)
    start = 0
    if norm is Norm.L2:
        tile += 1 - tile % 2
        start = height // 5 * 5  # 5 x 5 tiles of h // 5 pixels
    if tile >= min(height, width) or start > width:
        return f"in {norm} cannot place its first tile ({tile} pixels wide) in an image of {height} x {width}"
    return None


BATCH_SIZE = Parameter(250, "samples at once", at_least=1, at_most=LARGEST_BATCH)
RESTARTS = Parameter(1, "runs, each from another random point", at_least=1, at_most=MOST_RESTARTS)

ATTACKS = (
    Attack(
        "fgm",
        "fast gradient method: one step of size eps on cross-entropy",
        BOTH,
        arguments={
            "restarts": replace(RESTARTS, default=0, meaning="steps from random points; 0: one from x", at_least=0),
            "batch_size": BATCH_SIZE,
        },
    ),
    Attack(
        "pgd",
        "projected gradient descent on cross-entropy; the step is step_ratio * eps / max_iter, but at most eps",
        BOTH,
        arguments={
            "max_iter": Parameter(50, "steps of each run", at_least=1, at_most=MOST_STEPS),
            "step_ratio": Parameter(
                2.5,
                "length of all steps together over eps; with less than 1, none reaches eps from x",
                at_least=1,
                at_most=MOST_STEPS,
            ),
            "restarts": replace(RESTARTS, meaning="runs from random points; 0: one from x", at_least=0),
            "batch_size": BATCH_SIZE,
        },
    ),
    Attack(
        "auto_pgd",
        "AutoPGD; loss_type is cross_entropy or difference_logits_ratio, the first step step_ratio * eps",
        BOTH,
        arguments={
            "max_iter": Parameter(100, "steps of each run", at_least=1, at_most=MOST_STEPS),
            "step_ratio": Parameter(
                2.0, "first step over eps; 2 crosses the ball, and steps are only ever halved", at_least=0.1, at_most=2
            ),
            "restarts": RESTARTS,
            "loss_type": Parameter("cross_entropy", "what the steps raise", choices=LOSSES),
            "batch_size": BATCH_SIZE,
        },
        obstacle=_auto_pgd_obstacle,
    ),
    Attack(
        "square",
        "Square attack: random search, no gradients",
        BOTH,
        arguments={
            "max_iter": Parameter(1000, "proposals of each run", at_least=1, at_most=MOST_STEPS),
            "p_init": Parameter(
                0.8, "share of the pixels that the first proposals change, at least one", at_least=1e-3, below=1
            ),
            "restarts": RESTARTS,
            "batch_size": BATCH_SIZE,
        },
        obstacle=_square_obstacle,
    ),
    Attack(
        "deepfool",
        "DeepFool for the smallest L2 perturbation",
        frozenset({Norm.L2}),
        minimal_norm=True,
        arguments={
            "max_iter": Parameter(100, "steps", at_least=1, at_most=MOST_STEPS),
            # ART's 1e-6 misses 2 % of the samples, 1e-3 none; without any, the steps end on this side of the boundary.
            "epsilon": Parameter(
                1e-3, "overshoot, as a share of the perturbation: it crosses the boundary", at_least=1e-6, at_most=1
            ),
            "batch_size": BATCH_SIZE,
        },
    ),
)


@dataclass(frozen=True)
class ArtBackend:
    """Attacks of ART, with true labels."""

    name: str
    attacks: Mapping[str, Attack]

    def run(
        self,
        attack: str,
        network: Network,
        x: Tensor,
        labels: Tensor,
        *,
        norm: Norm,
        eps: float | Tensor | None,
        seed: int,
        args: Mapping[str, Any],
        rows: AttackBatch,
    ) -> Tensor:
        """Candidates: float32 (n, c, h, w); see ``Backend.run``. The seed reaches ART through the global
        streams.
        """
        radius = None if eps is None else float(eps)
        library = configured(attack, classifier(network), norm=norm, eps=radius, args=args)
        found = library.generate(x=x.cpu().numpy(), y=labels.cpu().numpy())
        return torch.from_numpy(np.asarray(found, dtype=np.float32)).to(x.device)


def classifier(network: Network) -> Any:
    """The network as an ART ``PyTorchClassifier`` of float32 inputs in [0, 1]."""
    from art.estimators.classification import PyTorchClassifier

    return PyTorchClassifier(
        model=network,
        loss=torch.nn.CrossEntropyLoss(),
        input_shape=network.input_shape,
        nb_classes=network.num_classes,
        clip_values=(0.0, 1.0),
        device_type="cpu"
        if network.device.type == "cpu"
        else "gpu",  # ART's default 'gpu' silently falls back to the CPU
    )


def configured(attack: str, estimator: Any, *, norm: Norm, eps: float | None, args: Mapping[str, Any]) -> Any:
    """The ART attack object for the attack called ``attack``; ``eps`` is None for deepfool."""
    from art.attacks import evasion

    common: dict[str, Any] = {"batch_size": args["batch_size"]}
    if attack == "deepfool":
        # with fewer than all classes ART takes the logit of another one for the sample's own, and may not move at all
        own = {"max_iter": args["max_iter"], "epsilon": args["epsilon"], "nb_grads": estimator.nb_classes}
        return evasion.DeepFool(estimator, verbose=False, **own, **common)
    assert eps is not None  # the guard gives eps to every other attack
    common |= {"norm": 2 if norm is Norm.L2 else math.inf, "eps": eps}
    if attack == "fgm":
        return evasion.FastGradientMethod(estimator, eps_step=eps, num_random_init=args["restarts"], **common)
    common |= {"max_iter": args["max_iter"], "verbose": False}
    if attack == "square":
        return evasion.SquareAttack(estimator, p_init=args["p_init"], nb_restarts=args["restarts"], **common)
    if attack == "pgd":
        step = min(args["step_ratio"] * eps / args["max_iter"], eps)  # in L_inf ART takes no longer one
        return evasion.ProjectedGradientDescent(estimator, eps_step=step, num_random_init=args["restarts"], **common)
    return evasion.AutoProjectedGradientDescent(
        estimator,
        eps_step=args["step_ratio"] * eps,
        nb_random_init=args["restarts"],
        loss_type=args["loss_type"],
        **common,
    )


BACKEND = ArtBackend("art", {attack.name: attack for attack in ATTACKS})
