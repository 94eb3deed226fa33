"""AutoAttack (Croce and Hein 2020, arXiv 2003.01690) through pyautoattack, for any number of classes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lipbench.backends import Attack
from lipbench.network import Network
from lipbench.threat import Norm

ENSEMBLE = ("apgd-ce", "apgd-t", "fab-t", "square")  # version='standard'
BOTH = frozenset(Norm)
PGD_DEFAULTS = {"n_iter": 100, "batch_size": 250}
FAB_DEFAULTS = {"n_iter": 100, "targets": 9, "batch_size": 250}
SQUARE_DEFAULTS = {"n_queries": 5000, "batch_size": 250}
ATTACKS = (
    Attack(
        "standard",
        "AutoAttack standard: APGD-CE, APGD-T, FAB-T, Square, each on what the ones before left",
        BOTH,
        defaults={"n_iter": 100, "targets": 9, "n_queries": 5000, "batch_size": 250},
    ),
    Attack(
        "apgd-ce",
        "APGD on cross-entropy, one restart; eps may differ by sample",
        BOTH,
        defaults=PGD_DEFAULTS,
        per_sample_eps=True,
    ),
    Attack("apgd-dlr", "APGD on the difference of logits ratio", BOTH, min_classes=3, defaults=PGD_DEFAULTS),
    Attack(
        "apgd-t",
        "APGD on the targeted difference of logits ratio; eps may differ by sample",
        BOTH,
        defaults={**PGD_DEFAULTS, "targets": 9},
        per_sample_eps=True,
    ),
    Attack("fab-t", "targeted Fast Adaptive Boundary attack", BOTH, defaults=FAB_DEFAULTS),
    Attack("square", "Square attack: random search, no gradients", BOTH, defaults=SQUARE_DEFAULTS),
    Attack(
        "fab-t-minimal",
        "targeted Fast Adaptive Boundary attack for the smallest perturbation over all targets",
        BOTH,
        minimal_norm=True,
        defaults=FAB_DEFAULTS,
    ),
)


@dataclass(frozen=True)
class AutoAttackBackend:
    """AutoAttack's standard ensemble, its attacks one by one, and FAB-T for minimal norms.

    With 10 classes and more, ``standard`` equals ``version='standard'`` bit for bit. Below that, APGD-T and
    FAB-T aim at the K - 1 classes that there are, and APGD-T's loss, which reads four logits, becomes
    ``targeted_margin`` for K = 2 and 3. Where Square's L2 form cannot tile the image it runs on a padded one.
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
    ) -> Tensor:
        """Candidates: float32 (n, c, h, w), x itself where none was found; see ``Backend.run``."""
        if eps is None:
            return fab_minimal(network, x, labels, norm=norm, seed=seed, args=args)
        if isinstance(eps, Tensor):
            return apgd_inside(attack, network, x, labels, eps, norm=norm, seed=seed, args=args)
        names = ENSEMBLE if attack == "standard" else (attack,)
        library = configured(network, norm=norm, eps=float(eps), seed=seed, attacks=names, args=args)
        candidates, _ = library.run_standard_evaluation(x, labels, batch_size=args["batch_size"])
        return candidates


def configured(
    network: Network, *, norm: Norm, eps: float, seed: int, attacks: tuple[str, ...], args: Mapping[str, Any]
) -> Any:
    """An AutoAttack object with the parameters of version='standard', and at most K - 1 targets."""
    from pyautoattack import AutoAttack
    from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted

    common = {"eps": eps, "norm": norm.value, "seed": seed, "device": network.device}
    library = AutoAttack(network, attacks=list(attacks), version="custom", **common)
    library.verbose = False
    n_iter = args.get("n_iter", 100)
    # APGD derives its step-size checkpoints from n_iter in the constructor, so it is made anew.
    library.apgd = APGDAttack(network, n_iter=n_iter, logger=library.logger, **common)
    library.apgd_targeted = APGDAttack_targeted(network, n_iter=n_iter, logger=library.logger, **common)
    library.fab.n_restarts = 1
    library.fab.n_iter = n_iter
    targets = min(args.get("targets", 9), network.num_classes - 1)
    library.apgd_targeted.n_target_classes = library.fab.n_target_classes = targets
    library.square.n_queries = args.get("n_queries", 5000)
    if network.num_classes < 4:
        pgd = library.apgd_targeted
        pgd.dlr_loss_targeted = lambda logits, labels: targeted_margin(logits, labels, pgd.y_target)
    if norm is Norm.L2 and not tiles(*network.input_shape[1:]):
        library.square = PaddedSquare(library.square, network)
    return library


def apgd_inside(
    attack: str,
    network: Network,
    x: Tensor,
    labels: Tensor,
    eps: Tensor,
    *,
    norm: Norm,
    seed: int,
    args: Mapping[str, Any],
) -> Tensor:
    """APGD with a radius for each sample, eps: (n,). The library's own iterations; its loop over the targets, which
    drops samples on the way, is written anew so that radii and samples stay side by side.
    """
    found = []
    size = args["batch_size"]
    for inputs, classes, radii in zip(x.split(size), labels.split(size), eps.float().split(size), strict=True):
        library = configured(network, norm=norm, eps=1.0, seed=seed, attacks=(attack,), args=args)
        apgd = library.apgd if attack == "apgd-ce" else library.apgd_targeted
        apgd.init_hyperparam(inputs)
        apgd.eps, apgd.loss = radii.view(-1, 1, 1, 1), "ce" if attack == "apgd-ce" else "dlr-targeted"
        with torch.no_grad():
            ranked = network(inputs).sort(dim=1)[1]
        best, open_ = inputs.clone(), torch.ones_like(classes, dtype=torch.bool)
        for place in range(2, 3 if attack == "apgd-ce" else apgd.n_target_classes + 2):
            apgd.y_target = ranked[:, -place]
            _, robust, _, candidates = apgd.attack_single_run(inputs, classes)
            hit = open_ & (robust == 0)
            best[hit] = candidates[hit].detach()
            open_ &= ~hit
        found.append(best)
    return torch.cat(found)


def targeted_margin(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """The targeted difference of logits ratio for fewer than four classes: (n,), larger is more adversarial.

    Croce and Hein's eq. 7 divides z_t - z_y by z_(1) - (z_(3) + z_(4)) / 2. With three classes the divisor
    here is that of their eq. 6, z_(1) - z_(3); with two there is no scale left to divide by, and none is
    needed, as APGD uses only the direction of the gradient and the order of the losses.
    """
    rows = torch.arange(len(logits), device=logits.device)
    difference = logits[rows, targets] - logits[rows, labels]
    if logits.shape[1] < 3:
        return difference
    ordered = logits.sort(dim=1).values
    return difference / (ordered[:, -1] - ordered[:, -3] + 1e-12)


def tiles(height: int, width: int) -> bool:
    """Whether Square's L2 start can tile the image; it indexes past the border for 12, 13, 14, 18, 19 or 24
    rows.

    It lays h // s rows of w // s tiles of side s = h // 5, from an offset of (h - 5 s) // 2 in both
    directions; a tile that is cut off at the border is an error unless it has side 1 (pyautoattack/square.py,
    attack_single_run).
    """
    side = height // 5
    if side <= 1:
        return side == 1
    offset = (height - side * 5) // 2
    return offset + height // side * side <= height and offset + width // side * side <= width


class PaddedSquare:
    """Square's L2 form for images that it cannot tile: it is shown a square image that it can, padded with
    zeros.

    Perturbations of the padding are dropped, which only shortens the rest. An image under five pixels high or
    wide has no two-dimensional structure to speak of: it is folded, row after row, so that little padding is
    needed.
    """

    def __init__(self, square: Any, network: Network):
        self.square = square
        self.network = network
        self.seed: int = square.seed  # set again by AutoAttack before each batch
        _, self.height, self.width = network.input_shape
        self.folds = min(self.height, self.width) < 5
        self.side = math.isqrt(self.height * self.width - 1) + 1 if self.folds else max(self.height, self.width)
        while not tiles(self.side, self.side):
            self.side += 1

    def perturb(self, x: Tensor, labels: Tensor) -> Tensor:
        """Candidates for x: float32 (n, c, h, w)."""
        self.square.predict = lambda image: self.network(self.crop(image))
        self.square.seed = self.seed
        return self.crop(self.square.perturb(self.pad(x), labels))

    def pad(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to (n, c, side, side)."""
        if self.folds:
            rows = F.pad(x.flatten(2), (0, self.side**2 - self.height * self.width))
            return rows.unflatten(2, (self.side, self.side))
        return F.pad(x, (0, self.side - self.width, 0, self.side - self.height))

    def crop(self, image: Tensor) -> Tensor:
        """The inverse of ``pad``."""
        if self.folds:
            return image.flatten(2)[:, :, : self.height * self.width].unflatten(2, (self.height, self.width))
        return image[:, :, : self.height, : self.width]


def fab_minimal(
    network: Network, x: Tensor, labels: Tensor, *, norm: Norm, seed: int, args: Mapping[str, Any]
) -> Tensor:
    """The smallest adversarial input of FAB-T over all targets (Croce and Hein 2020, arXiv 1907.02044).

    ``FABAttack_PT.perturb`` would stop at the first target that succeeds, so each target is run by itself.
    """
    from pyautoattack.fab_pt import FABAttack_PT

    targets = min(args["targets"], network.num_classes - 1)
    library = FABAttack_PT(
        network,
        norm=norm.value,
        n_iter=args["n_iter"],
        eps=1e10,
        seed=seed,
        targeted=True,
        device=network.device,
    )
    found = []
    for inputs, classes in zip(x.split(args["batch_size"]), labels.split(args["batch_size"]), strict=True):
        best, best_distance = inputs.clone(), torch.full((len(inputs),), torch.inf, device=x.device)
        for target in range(2, targets + 2):
            library.target_class = target  # 2: the class with the second largest logit, and so on
            candidates = library.attack_single_run(inputs, classes, is_targeted=True).detach()
            with torch.no_grad():
                adversarial = network.logits(candidates).argmax(1) != classes
            order = 2 if norm is Norm.L2 else torch.inf
            distance = torch.linalg.vector_norm((candidates - inputs).flatten(1), ord=order, dim=1)
            better = adversarial & (distance < best_distance)
            best[better], best_distance[better] = candidates[better], distance[better]
        found.append(best)
    return torch.cat(found)


BACKEND = AutoAttackBackend("autoattack", {attack.name: attack for attack in ATTACKS})
