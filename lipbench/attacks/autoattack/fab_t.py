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
from lipbench.attacks.base import Attack, AttackCall
from lipbench.attacks.norm import Norm


class FabT(Attack):
    """The library checks only whether a run ended within eps, and stops at the first target where one did. Here every
    run is kept with its distance, which answers for each eps at once.
    """

    name = "autoattack/fab-t"
    summary = (
        "targeted Fast Adaptive Boundary attack, the smallest perturbation over all targets, for every eps at once"
    )
    minimal_norm = True
    n_iter = N_ITER
    targets = TARGETS

    def run(self, call: AttackCall) -> Tensor:
        """The smallest adversarial input over all targets, x itself where none was found: float32 (n, c, h, w)."""
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
    """The candidates of the runs, float32 (b, c, h, w), and their distances, (b,): inf where not adversarial."""
    x, labels = call.x[which], call.labels[which]
    with call.batch.counting(call.network, runs.rows):
        candidates = library.attack_single_run(x, labels, runs.classes.to(x.device))
        with torch.no_grad():
            adversarial = call.network(candidates).argmax(1) != labels
    order = 2 if call.norm is Norm.L2 else torch.inf
    distance = torch.linalg.vector_norm((candidates - x).flatten(1), ord=order, dim=1)
    return candidates, torch.where(adversarial, distance, torch.inf)


def _configured(call: AttackCall) -> Any:
    """pyautoattack's FAB with a target for each row, and with faster projections."""
    from pyautoattack import fab_base
    from pyautoattack.fab_pt import FABAttack_PT

    # the library's loop, with our functions under the names that it looks up
    names = {**vars(fab_base), "projection_l2": projection.projection_l2, "projection_linf": projection.projection_linf}
    loop = FABAttack_PT.attack_single_run
    single_run = FunctionType(loop.__code__, names, argdefs=loop.__defaults__)

    class Targeted(FABAttack_PT):
        """The library takes one place in the ranking for the whole batch; here each row has its own target.

        And it leaves out what it finds misclassified. The guard has done that already, and a row that is tied in the
        float32 logits, or in a batch of another size, would be missing beside its target.
        """

        def attack_single_run(self, x: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
            def of_inputs(points: Tensor) -> Tensor:
                """The library asks for the labels of the inputs first, then for those of its points."""
                del self._get_predicted_label
                self._get_predicted_label(points)
                return labels

            self._get_predicted_label = of_inputs
            self.targets = targets
            candidates: Tensor = single_run(self, x, labels, is_targeted=True)
            return candidates.detach()

        def get_diff_logits_grads_batch_targeted(self, imgs: Tensor, la: Tensor, la_target: Tensor) -> Any:
            return super().get_diff_logits_grads_batch_targeted(imgs, la, self.targets)

    options = {"norm": call.norm.value, "n_iter": call.arguments["n_iter"], "eps": 1e10, "seed": call.batch.seed}
    library = Targeted(call.network, targeted=True, device=call.network.device, **options)
    library.target_class = 2  # the library requires one, and ``Targeted`` overrules it
    return library


ATTACK = FabT()
