"""``autoattack/fab-t``: FAB-T (Croce and Hein 2020, arXiv 1907.02044), once for every eps: its iterations do not depend
on one.
"""

from types import FunctionType
from typing import Any

import torch
from torch import Tensor

from lipbench.attacks.autoattack import projection
from lipbench.attacks.autoattack.library import N_ITER, TARGETS
from lipbench.attacks.autoattack.targets import Runs, targeted
from lipbench.attacks.base import ANY_RANK, Attack, AttackCall
from lipbench.attacks.norm import Norm


class FabT(Attack):
    """The library checks only whether a run ended within eps, and stops at the first target where one did. Here every
    run is kept with its distance, which answers for each eps at once.
    """

    name = "autoattack/fab-t"
    summary = (
        "targeted Fast Adaptive Boundary attack, the smallest perturbation over all targets, for every eps at once"
    )
    ranks = ANY_RANK
    minimal_norm = True
    n_iter = N_ITER
    targets = TARGETS

    def run(self, call: AttackCall) -> Tensor:
        """The smallest adversarial input over all targets, x itself where none was found: float32 (n, ...)."""
        library = _configured(call)
        best, best_distance = call.x.clone(), torch.full((len(call.x),), torch.inf, device=call.x.device)
        for runs in targeted(call.network, call.x, call.batch, call.arguments["targets"]):
            which = runs.rows.to(call.x.device)
            candidates, distance = _single_runs(call, library, runs, which)
            # a row may have runs towards several targets: the nearest candidate wins
            for place in runs.places.unique().tolist():
                here = (runs.places == place).to(call.x.device)
                better = here & (distance < best_distance[which])
                best[which[better]], best_distance[which[better]] = candidates[better], distance[better]
        return best


def _single_runs(call: AttackCall, library: Any, runs: Runs, which: Tensor) -> tuple[Tensor, Tensor]:
    """The candidates of the runs, float32 (b, ...), and their distances, (b,): inf where not adversarial."""
    x, labels = call.x[which], call.labels[which]
    with call.batch.counting(call.network, runs.rows):
        candidates = _run(library, x, labels, runs.classes.to(x.device))
        with torch.no_grad():
            adversarial = call.network(candidates).argmax(1) != labels
    order = 2 if call.norm is Norm.L2 else torch.inf
    distance = torch.linalg.vector_norm((candidates - x).flatten(1), ord=order, dim=1)
    return candidates, torch.where(adversarial, distance, torch.inf)


def _configured(call: AttackCall) -> Any:
    """pyautoattack's FAB, aiming at the second largest logit."""
    from pyautoattack.fab_pt import FABAttack_PT

    options = {"norm": call.norm.value, "n_iter": call.arguments["n_iter"], "eps": 1e10, "seed": call.batch.seed}
    library = FABAttack_PT(call.network, targeted=True, device=call.network.device, **options)
    library.target_class = 2
    return library


def _run(library: Any, x: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """The library's iterations with a target for each row, int64 (b,), and with faster projections.

    The library asks for two things of the inputs first. It leaves out what it finds misclassified; the guard has done
    that already, and a row that is tied in the float32 logits, or in a batch of another size, would be missing beside
    its target: so it is given the labels. And it takes one place in the ranking of logits for the whole batch: so it is
    given logits where each row's own target is in that place.
    """
    from pyautoattack import fab_base

    def predicted(points: Tensor) -> Tensor:
        del library._get_predicted_label
        library._get_predicted_label(points)
        library._predict_fn = ranked
        return labels

    def ranked(points: Tensor) -> Tensor:
        del library._predict_fn
        places = torch.zeros_like(library._predict_fn(points))
        return places.scatter(1, targets[:, None], 1.0).scatter(1, labels[:, None], 2.0)

    # the library's loop, with our functions under the names that it looks up
    names = {**vars(fab_base), "projection_l2": projection.projection_l2, "projection_linf": projection.projection_linf}
    loop = type(library).attack_single_run
    library._get_predicted_label = predicted
    candidates: Tensor = FunctionType(loop.__code__, names, argdefs=loop.__defaults__)(library, x, labels, False, True)
    return candidates.detach()


ATTACK = FabT()
