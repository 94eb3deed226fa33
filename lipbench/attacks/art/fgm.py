"""``art/fgm``: the fast gradient method (Goodfellow et al. 2015, arXiv 1412.6572)."""

from typing import Any

from lipbench.attacks.art.classifier import ArtAttack, ball, classifier, random_starts
from lipbench.attacks.base import AttackCall


class FGM(ArtAttack):
    """One step of size eps on cross-entropy."""

    name = "art/fgm"
    summary = "fast gradient method: one step of size eps on cross-entropy"
    restarts = random_starts(0, "steps from random points; 0: one from x", at_least=0)

    def configured(self, call: AttackCall) -> Any:
        """ART's ``FastGradientMethod``."""
        from art.attacks.evasion import FastGradientMethod

        return FastGradientMethod(
            classifier(call.network),
            eps_step=call.radius,
            num_random_init=call.arguments["restarts"],
            batch_size=call.arguments["batch_size"],
            **ball(call),
        )


ATTACK = FGM()
