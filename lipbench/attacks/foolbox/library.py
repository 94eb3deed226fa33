"""``foolbox/NAME``: attacks of foolbox that search the smallest perturbation, and its PGD with Adam."""

from typing import Any

import torch
from torch import Tensor

from lipbench.attacks.base import AttackCall
from lipbench.attacks.norm import Norm
from lipbench.attacks.optional import OptionalAttack
from lipbench.attacks.parameters import MOST_STEPS, Parameter

BATCH = 1000  # samples at once
L2 = frozenset({Norm.L2})


def steps(default: int) -> Parameter:
    """The parameter that counts steps."""
    return Parameter(default, "steps", at_least=10, at_most=MOST_STEPS)


class FoolboxAttack(OptionalAttack):
    """An attack of foolbox: ``fixed`` names its class for each norm, and whether it needs an adversarial start."""

    extra = "foolbox"
    modules = ("foolbox", "git")  # foolbox imports GitPython

    def run(self, call: AttackCall) -> Tensor:
        """The library's candidates: float32 (n, c, h, w)."""
        import foolbox

        model = foolbox.PyTorchModel(call.network, bounds=(0, 1), device=call.x.device)
        attack = getattr(foolbox.attacks, self.fixed[call.norm])(**call.arguments)
        eps = None if self.minimal_norm else call.radius
        found = []
        for x, labels in zip(call.x.split(BATCH), call.labels.split(BATCH), strict=True):
            if self.fixed.get("starts"):
                found.append(_from_starts(foolbox, attack, model, x, labels))
            else:
                found.append(attack(model, x, labels, epsilons=eps)[1])
        return torch.cat(found)


def _from_starts(foolbox: Any, attack: Any, model: Any, x: Tensor, labels: Tensor) -> Tensor:
    """Candidates from DeepFool's, x where it finds none: without a start the library would give up the whole batch."""
    starts, _, reached = foolbox.attacks.L2DeepFoolAttack(steps=100, overshoot=0.1)(model, x, labels, epsilons=None)
    found = x.clone()
    if reached.any():
        found[reached] = attack(model, x[reached], labels[reached], starting_points=starts[reached], epsilons=None)[1]
    return found


DECLARED = (
    FoolboxAttack(
        "foolbox/brendel_bethge",
        "Brendel-Bethge: follows the decision boundary towards the input (arXiv 1907.01003)",
        {"steps": steps(200)},
        also_needs=("numba",),
        fixed={Norm.L2: "L2BrendelBethgeAttack", Norm.Linf: "LinfinityBrendelBethgeAttack", "starts": True},
    ),
    FoolboxAttack(
        "foolbox/ddn",
        "decoupled direction and norm, for the smallest L2 perturbation (arXiv 1811.09600)",
        {"steps": steps(100)},
        norms=L2,
        fixed={Norm.L2: "DDNAttack"},
    ),
    FoolboxAttack(
        "foolbox/deepfool",
        "DeepFool, in either norm (arXiv 1511.04599)",
        {
            "steps": steps(100),
            # foolbox's 0.02 is a fiftieth of the distance; 1e-3 crosses the boundary as well
            "overshoot": Parameter(
                1e-3, "share of the perturbation that crosses the boundary", at_least=1e-6, at_most=1
            ),
        },
        fixed={Norm.L2: "L2DeepFoolAttack", Norm.Linf: "LinfDeepFoolAttack"},
    ),
    FoolboxAttack(
        "foolbox/fmn",
        "fast minimum norm, in either norm (arXiv 2102.12827)",
        {"steps": steps(100)},
        fixed={Norm.L2: "L2FMNAttack", Norm.Linf: "LInfFMNAttack"},
    ),
    FoolboxAttack(
        "foolbox/pgd_adam",
        "projected gradient descent with Adam, on cross-entropy",
        {
            "steps": steps(50),
            "rel_stepsize": Parameter(0.1, "step over eps", at_least=0.1, at_most=2),
            "random_start": Parameter(True, "start at a random point within eps"),
        },
        minimal_norm=False,
        fixed={Norm.L2: "L2AdamPGD", Norm.Linf: "LinfAdamPGD"},
    ),
)
