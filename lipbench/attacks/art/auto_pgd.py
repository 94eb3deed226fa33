"""``art/auto_pgd``: ART's own APGD (Croce and Hein 2020, arXiv 2003.01690, algorithm 1)."""

from collections.abc import Mapping
from typing import Any

from lipbench.attacks.art.classifier import ArtAttack, ball, classifier, random_starts
from lipbench.attacks.base import AttackCall
from lipbench.attacks.norm import Norm
from lipbench.attacks.parameters import MOST_STEPS, Parameter

RATIO = "difference_logits_ratio"


class AutoPGD(ArtAttack):
    """Steps that are halved where they stop helping."""

    name = "art/auto_pgd"
    summary = f"AutoPGD; loss_type is cross_entropy or {RATIO}, the first step step_ratio * eps"
    max_iter = Parameter(100, "steps of each run", at_least=1, at_most=MOST_STEPS)
    step_ratio = Parameter(
        2.0, "first step over eps; 2 crosses the ball, and steps are only ever halved", at_least=0.1, at_most=2
    )
    restarts = random_starts(1, "runs, each from another random point", at_least=1)
    loss_type = Parameter("cross_entropy", "what the steps raise", choices=("cross_entropy", RATIO))

    def obstacle(
        self, arguments: Mapping[str, Any], num_classes: int, input_shape: tuple[int, ...], norm: Norm
    ) -> str | None:
        """The ratio divides by a difference to the third largest logit."""
        if arguments["loss_type"] == RATIO and num_classes < 3:
            return f"with loss_type {RATIO} needs at least 3 classes, the network has {num_classes}"
        return None

    def configured(self, call: AttackCall) -> Any:
        """ART's ``AutoProjectedGradientDescent``."""
        from art.attacks.evasion import AutoProjectedGradientDescent

        return AutoProjectedGradientDescent(
            classifier(call.network),
            max_iter=call.arguments["max_iter"],
            eps_step=call.arguments["step_ratio"] * call.radius,
            nb_random_init=call.arguments["restarts"],
            loss_type=call.arguments["loss_type"],
            batch_size=call.arguments["batch_size"],
            verbose=False,
            **ball(call),
        )


ATTACK = AutoPGD()
