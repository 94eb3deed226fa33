"""``art/pgd``: projected gradient descent (Madry et al. 2018, arXiv 1706.06083)."""

from typing import Any

from lipbench.attacks.art.classifier import ArtAttack, ball, classifier, random_starts
from lipbench.attacks.base import AttackCall
from lipbench.attacks.parameters import MOST_STEPS, Parameter


class ArtPGD(ArtAttack):
    """Steps of one length on cross-entropy."""

    name = "art/pgd"
    summary = "projected gradient descent on cross-entropy; the step is step_ratio * eps / max_iter, but at most eps"
    max_iter = Parameter(50, "steps of each run", at_least=1, at_most=MOST_STEPS)
    step_ratio = Parameter(
        2.5,
        "length of all steps together over eps; with less than 1, none reaches eps from x",
        at_least=1,
        at_most=MOST_STEPS,
    )
    restarts = random_starts(1, "runs from random points; 0: one from x", at_least=0)

    def configured(self, call: AttackCall) -> Any:
        """ART's ``ProjectedGradientDescent``."""
        from art.attacks.evasion import ProjectedGradientDescent

        steps = call.arguments["max_iter"]
        return ProjectedGradientDescent(
            classifier(call.network),
            max_iter=steps,
            eps_step=min(call.arguments["step_ratio"] * call.radius / steps, call.radius),  # in L_inf ART's maximum
            num_random_init=call.arguments["restarts"],
            batch_size=call.arguments["batch_size"],
            verbose=False,
            **ball(call),
        )


ATTACK = ArtPGD()
