"""``art/deepfool``: DeepFool (Moosavi-Dezfooli et al. 2016, arXiv 1511.04599)."""

from typing import Any

from lipbench.attacks.art.classifier import ArtAttack, classifier
from lipbench.attacks.base import AttackCall
from lipbench.attacks.norm import Norm
from lipbench.attacks.parameters import MOST_STEPS, Parameter


class DeepFool(ArtAttack):
    """Steps to the nearest boundary of the linearised network."""

    name = "art/deepfool"
    summary = "DeepFool for the smallest L2 perturbation"
    norms = frozenset({Norm.L2})
    minimal_norm = True
    max_iter = Parameter(100, "steps", at_least=1, at_most=MOST_STEPS)
    # ART's 1e-6 misses 2 % of the samples, 1e-3 none; without any, the steps end on this side of the boundary.
    epsilon = Parameter(
        1e-3, "overshoot, as a share of the perturbation: it crosses the boundary", at_least=1e-6, at_most=1
    )

    def configured(self, call: AttackCall) -> Any:
        """ART's ``DeepFool``."""
        from art.attacks import evasion

        estimator = classifier(call.network)
        return evasion.DeepFool(
            estimator,
            max_iter=call.arguments["max_iter"],
            epsilon=call.arguments["epsilon"],
            # with fewer than all classes ART may take another class's logit for the sample's own, and not move at all
            nb_grads=estimator.nb_classes,
            batch_size=call.arguments["batch_size"],
            verbose=False,
        )


ATTACK = DeepFool()
