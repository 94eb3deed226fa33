"""The Adversarial Robustness Toolbox (Nicolae et al. 2018, arXiv 1807.01069): its attacks that work on any
network.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lipbench.backends import Attack
from lipbench.backends.rows import Rows
from lipbench.errors import unknown_name
from lipbench.network import Network
from lipbench.threat import Norm

BOTH = frozenset(Norm)
LOSSES = ("cross_entropy", "difference_logits_ratio")


def _auto_pgd_obstacle(
    args: Mapping[str, Any], num_classes: int, input_shape: tuple[int, ...], norm: Norm
) -> str | None:
    if args["loss_type"] not in LOSSES:
        raise unknown_name("loss_type of art/auto_pgd", args["loss_type"], LOSSES)
    if args["loss_type"] == "difference_logits_ratio" and num_classes < 3:
        return f"with loss_type difference_logits_ratio needs at least 3 classes, the network has {num_classes}"
    return None


def _square_obstacle(args: Mapping[str, Any], num_classes: int, input_shape: tuple[int, ...], norm: Norm) -> str | None:
    """The first tile must leave room to move: NumPy's randint(0, h - tile) raises otherwise (art's
    square_attack.py).
    """
    _, height, width = input_shape
    tile = max(round(math.sqrt(args["p_init"] * height * width)), 3 if norm is Norm.L2 else 1)
    start = 0
    if norm is Norm.L2:
        tile += 1 - tile % 2
        start = height // 5 * 5  # 5 x 5 tiles of h // 5 pixels
    if tile >= min(height, width) or start > width:
        return f"in {norm} cannot place its first tile ({tile} pixels wide) in an image of {height} x {width}"
    return None


ATTACKS = (
    Attack(
        "fgm",
        "fast gradient method: one step of size eps on cross-entropy",
        BOTH,
        defaults={"restarts": 0, "batch_size": 250},
    ),
    Attack(
        "pgd",
        "projected gradient descent on cross-entropy; the step is step_ratio * eps / max_iter",
        BOTH,
        defaults={"max_iter": 50, "step_ratio": 2.5, "restarts": 1, "batch_size": 250},
    ),
    Attack(
        "auto_pgd",
        "AutoPGD; loss_type is cross_entropy or difference_logits_ratio, the first step step_ratio * eps",
        BOTH,
        defaults={
            "max_iter": 100,
            "step_ratio": 2.0,
            "restarts": 1,
            "loss_type": "cross_entropy",
            "batch_size": 250,
        },
        obstacle=_auto_pgd_obstacle,
    ),
    Attack(
        "square",
        "Square attack: random search, no gradients",
        BOTH,
        defaults={"max_iter": 1000, "p_init": 0.8, "restarts": 1, "batch_size": 250},
        obstacle=_square_obstacle,
    ),
    Attack(
        "deepfool",
        "DeepFool for the smallest L2 perturbation",
        frozenset({Norm.L2}),
        minimal_norm=True,
        # An overshoot of ART's 1e-6 misses 2 % of the samples, 1e-3 none.
        defaults={"max_iter": 100, "epsilon": 1e-3, "nb_grads": 10, "batch_size": 250},
    ),
)


@dataclass(frozen=True)
class ArtBackend:
    """Attacks of ART, with true labels. ``restarts`` counts random starts; 0 is one run from the input
    itself.
    """

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
        rows: Rows,
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
        own = {key: args[key] for key in ("max_iter", "epsilon", "nb_grads")}
        return evasion.DeepFool(estimator, verbose=False, **own, **common)
    assert eps is not None  # the guard gives eps to every other attack
    common |= {"norm": 2 if norm is Norm.L2 else math.inf, "eps": eps}
    if attack == "fgm":
        return evasion.FastGradientMethod(estimator, eps_step=eps, num_random_init=args["restarts"], **common)
    common |= {"max_iter": args["max_iter"], "verbose": False}
    if attack == "square":
        return evasion.SquareAttack(estimator, p_init=args["p_init"], nb_restarts=max(1, args["restarts"]), **common)
    if attack == "pgd":
        step = args["step_ratio"] * eps / args["max_iter"]
        return evasion.ProjectedGradientDescent(estimator, eps_step=step, num_random_init=args["restarts"], **common)
    return evasion.AutoProjectedGradientDescent(
        estimator,
        eps_step=args["step_ratio"] * eps,
        nb_random_init=max(1, args["restarts"]),
        loss_type=args["loss_type"],
        **common,
    )


BACKEND = ArtBackend("art", {attack.name: attack for attack in ATTACKS})
