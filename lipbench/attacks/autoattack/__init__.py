"""AutoAttack (Croce and Hein 2020, arXiv 2003.01690) through pyautoattack, for any number of classes.

``standard`` is the library's ensemble as it comes, one eps at a time. Its four attacks are there one by one too, in a
form that takes a radius for each row and skips classes that the certificate excludes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lipbench.attacks.autoattack.apgd import apgd
from lipbench.attacks.autoattack.fab import fab
from lipbench.attacks.autoattack.library import ENSEMBLE, configured
from lipbench.attacks.autoattack.square import square
from lipbench.attacks.batch import AttackBatch
from lipbench.attacks.guard import Attack
from lipbench.attacks.network import LARGEST_BATCH, Network
from lipbench.attacks.norm import Norm
from lipbench.attacks.parameters import MOST_STEPS, Parameter

BOTH = frozenset(Norm)


# The library keeps two losses and an outcome for every iteration of every row.
N_ITER = Parameter(100, "iterations of each run", at_least=1, at_most=10_000)
TARGETS = Parameter(
    9,
    "runs towards so many wrong classes, those with the largest logits; where there are fewer, all of them",
    at_least=1,
)
N_QUERIES = Parameter(5000, "proposals for each sample, each one forward pass", at_least=1, at_most=MOST_STEPS)


ATTACKS = (
    Attack(
        "standard",
        "AutoAttack standard, as the library runs it: APGD-CE, APGD-T, FAB-T, Square, each on what is left",
        BOTH,
        arguments={
            "n_iter": N_ITER,
            "targets": TARGETS,
            "n_queries": N_QUERIES,
            "batch_size": Parameter(250, "samples at once", at_least=1, at_most=LARGEST_BATCH),
        },
    ),
    Attack("apgd-ce", "APGD on cross-entropy", BOTH, arguments={"n_iter": N_ITER}, per_sample_eps=True),
    Attack(
        "apgd-dlr",
        "APGD on the difference of logits ratio",
        BOTH,
        min_classes=3,
        arguments={"n_iter": N_ITER},
        per_sample_eps=True,
    ),
    Attack(
        "apgd-t",
        "APGD on the targeted difference of logits ratio",
        BOTH,
        arguments={"n_iter": N_ITER, "targets": TARGETS},
        per_sample_eps=True,
    ),
    Attack(
        "fab-t",
        "targeted Fast Adaptive Boundary attack, the smallest perturbation over all targets, for every eps at once",
        BOTH,
        minimal_norm=True,
        arguments={"n_iter": N_ITER, "targets": TARGETS},
    ),
    Attack(
        "square",
        "Square: random search without gradients; patience: never give up a sample before the last query",
        BOTH,
        arguments={
            "n_queries": N_QUERIES,
            "patience": Parameter(False, "true: a sample is never given up before the last query"),
        },
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
        rows: AttackBatch,
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
