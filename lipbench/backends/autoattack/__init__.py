"""AutoAttack (Croce and Hein 2020, arXiv 2003.01690) through pyautoattack, for any number of classes.

``standard`` is the library's ensemble as it comes, one eps at a time. Its four attacks are there one by one too, in a
form that takes a radius for each row and skips classes that the certificate excludes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lipbench.backends import Attack
from lipbench.backends.autoattack.apgd import apgd
from lipbench.backends.autoattack.fab import fab
from lipbench.backends.autoattack.library import ENSEMBLE, configured
from lipbench.backends.autoattack.square import square
from lipbench.backends.rows import Rows
from lipbench.network import Network
from lipbench.threat import Norm

BOTH = frozenset(Norm)


def _no_target(args: Mapping[str, Any], num_classes: int, input_shape: tuple[int, ...], norm: Norm) -> str | None:
    """A search towards no class would count as one."""
    return None if args["targets"] > 0 else "needs at least 1 target, got targets=0"


ATTACKS = (
    Attack(
        "standard",
        "AutoAttack standard, as the library runs it: APGD-CE, APGD-T, FAB-T, Square, each on what is left",
        BOTH,
        defaults={"n_iter": 100, "targets": 9, "n_queries": 5000, "batch_size": 250},
        obstacle=_no_target,
    ),
    Attack("apgd-ce", "APGD on cross-entropy", BOTH, defaults={"n_iter": 100}, per_sample_eps=True),
    Attack(
        "apgd-dlr",
        "APGD on the difference of logits ratio",
        BOTH,
        min_classes=3,
        defaults={"n_iter": 100},
        per_sample_eps=True,
    ),
    Attack(
        "apgd-t",
        "APGD on the targeted difference of logits ratio",
        BOTH,
        defaults={"n_iter": 100, "targets": 9},
        per_sample_eps=True,
        obstacle=_no_target,
    ),
    Attack(
        "fab-t",
        "targeted Fast Adaptive Boundary attack, the smallest perturbation over all targets, for every eps at once",
        BOTH,
        minimal_norm=True,
        defaults={"n_iter": 100, "targets": 9},
        obstacle=_no_target,
    ),
    Attack(
        "square",
        "Square: random search without gradients; patience: never give up a sample before the last query",
        BOTH,
        defaults={"n_queries": 5000, "patience": False},
        per_sample_eps=True,
    ),
)


@dataclass(frozen=True)
class AutoAttackBackend:
    """AutoAttack's standard ensemble, and its attacks one by one.

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
        rows: Rows,
    ) -> Tensor:
        """Candidates: float32 (n, c, h, w), x itself where none was found; see ``Backend.run``."""
        if eps is None:
            return fab(network, x, labels, norm=norm, rows=rows, args=args)
        if attack == "standard":
            library = configured(network, norm=norm, eps=float(eps), seed=seed, attacks=ENSEMBLE, args=args)
            candidates: Tensor = library.run_standard_evaluation(x, labels, batch_size=args["batch_size"])[0]
            return candidates
        radii = torch.as_tensor(eps, dtype=torch.float64, device=x.device).expand(len(x))
        if attack == "square":
            return square(network, x, labels, radii, norm=norm, rows=rows, args=args)
        return apgd(attack, network, x, labels, radii, norm=norm, rows=rows, args=args)


BACKEND = AutoAttackBackend("autoattack", {attack.name: attack for attack in ATTACKS})
