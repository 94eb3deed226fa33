"""``adv_lib/NAME``: attacks of adv-lib, by the names of its functions."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lipbench.attacks.base import AttackCall
from lipbench.attacks.norm import Norm
from lipbench.attacks.optional import OptionalAttack
from lipbench.attacks.parameters import MOST_RESTARTS, MOST_STEPS, Parameter

BATCH = 1000  # samples at once
L2 = frozenset({Norm.L2})
DLR = "dlr"
RESTARTS = Parameter(1, "runs from random points", at_least=1, at_most=MOST_RESTARTS)


def steps(default: int) -> Parameter:
    """The parameter that counts steps."""
    return Parameter(default, "steps", at_least=10, at_most=MOST_STEPS)


class AdvLibAttack(OptionalAttack):
    """A function of adv-lib; it is given the norm unless it serves one alone, and eps unless it is minimal-norm."""

    extra = "adv-lib"
    modules = ("adv_lib", "torchvision", "visdom")  # which adv-lib imports

    def obstacle(
        self, arguments: Mapping[str, Any], num_classes: int, input_shape: tuple[int, ...], norm: Norm
    ) -> str | None:
        """The ratio divides by a difference to the third largest logit."""
        if arguments.get("loss_function") == DLR and num_classes < 3:
            return f"with loss_function {DLR} needs at least 3 classes, the network has {num_classes}"
        return super().obstacle(arguments, num_classes, input_shape, norm)

    def run(self, call: AttackCall) -> Tensor:
        """The library's candidates: float32 (n, c, h, w)."""
        from adv_lib import attacks

        chosen = {**call.arguments, **self.fixed}
        if len(self.norms) > 1:
            chosen["norm"] = 2 if call.norm is Norm.L2 else math.inf
        if not self.minimal_norm:
            chosen["eps"] = call.radius
        function = getattr(attacks, self.name.partition("/")[2])
        parts = zip(call.x.split(BATCH), call.labels.split(BATCH), strict=True)
        return torch.cat([function(call.network, x, labels, **chosen).detach() for x, labels in parts])


DECLARED = (
    AdvLibAttack(
        "adv_lib/alma",
        "augmented Lagrangian method, for the smallest L2 perturbation (arXiv 2011.11857)",
        {"num_steps": steps(500)},
        norms=L2,
        min_classes=3,  # its ratio divides by a difference to the third largest logit
        fixed={"distance": "l2"},
    ),
    AdvLibAttack(
        "adv_lib/apgd",
        "APGD (arXiv 2003.01690)",
        {
            "n_iter": steps(100),
            "n_restarts": RESTARTS,
            "loss_function": Parameter("ce", "what the steps raise", choices=("ce", DLR)),
        },
        minimal_norm=False,
    ),
    AdvLibAttack(
        "adv_lib/apgd_targeted",
        "APGD towards each class, from the likeliest wrong one (arXiv 2003.01690)",
        {"n_iter": steps(100), "n_restarts": RESTARTS},
        minimal_norm=False,
        min_classes=4,  # its ratio divides by a difference to the fourth largest logit
    ),
    AdvLibAttack(
        "adv_lib/ddn",
        "decoupled direction and norm, for the smallest L2 perturbation (arXiv 1811.09600)",
        {"steps": steps(100)},
        norms=L2,
        fixed={"levels": None},  # candidates need not be pixels of 8 bits
    ),
    AdvLibAttack(
        "adv_lib/fmn",
        "fast minimum norm, for the smallest L_inf perturbation (arXiv 2102.12827)",
        {"steps": steps(100)},
        # in L2 adv-lib 0.2.8 stretches perturbations to the radius where it should project them, and finds a quarter
        norms=frozenset({Norm.Linf}),
        fixed={"norm": math.inf},
    ),
    AdvLibAttack(
        "adv_lib/pdgd",
        "primal-dual gradient descent, for the smallest L2 perturbation (arXiv 2106.01538)",
        {"num_steps": steps(500)},
        norms=L2,
    ),
    AdvLibAttack(
        "adv_lib/pdpgd",
        "primal-dual proximal gradient descent (arXiv 2106.01538)",
        {"num_steps": steps(500)},
    ),
    AdvLibAttack(
        "adv_lib/sdf",
        "SuperDeepFool, for the smallest L2 perturbation (arXiv 2303.12481)",
        {"steps": steps(100), "overshoot": Parameter(1e-3, "share of the perturbation", at_least=1e-6, at_most=1)},
        norms=L2,
    ),
)
