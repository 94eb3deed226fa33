"""FAB-T (Croce and Hein 2020, arXiv 1907.02044), once for every eps: its iterations do not depend on one."""

from collections.abc import Mapping
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

from lipbench.attacks.autoattack import projection
from lipbench.attacks.autoattack.targets import batches
from lipbench.attacks.batch import AttackBatch
from lipbench.attacks.network import Network
from lipbench.attacks.norm import Norm


def fab(
    network: Network, x: Tensor, labels: Tensor, *, norm: Norm, rows: AttackBatch, args: Mapping[str, Any]
) -> Tensor:
    """The smallest adversarial input over all targets: float32 (m, c, h, w), x itself where none was found.

    The library asks of a run only whether it ended within eps, and stops at the first target that did; here every run
    is kept with its distance, which answers for each eps at once. Its projections are exchanged for faster ones.
    """
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
            self.clean_labels: Tensor | None = labels
            self.targets = targets
            candidates: Tensor = single_run(self, x, labels, is_targeted=True)
            return candidates.detach()

        def _get_predicted_label(self, x: Tensor) -> Tensor:
            predicted: Tensor = super()._get_predicted_label(x)
            labels, self.clean_labels = self.clean_labels, None  # the first call is for the inputs themselves
            return predicted if labels is None else labels

        def get_diff_logits_grads_batch_targeted(self, imgs: Tensor, la: Tensor, la_target: Tensor) -> Any:
            return super().get_diff_logits_grads_batch_targeted(imgs, la, self.targets)

    library = Targeted(
        network,
        norm=norm.value,
        n_iter=args["n_iter"],
        eps=1e10,
        seed=rows.seed,
        targeted=True,
        device=network.device,
    )
    library.target_class = 2  # asked for, and overruled above
    best, best_distance = x.clone(), torch.full((len(x),), torch.inf, device=x.device)
    for batch in batches(network, x, rows, args["targets"]):
        which = batch.rows.to(x.device)
        with rows.counting(network, batch.rows):
            candidates = library.attack_single_run(x[which], labels[which], batch.classes.to(x.device))
            with torch.no_grad():
                adversarial = network(candidates).argmax(1) != labels[which]
        order = 2 if norm is Norm.L2 else torch.inf
        distance = torch.linalg.vector_norm((candidates - x[which]).flatten(1), ord=order, dim=1)
        distance = torch.where(adversarial, distance, torch.inf)
        # a row may stand in the batch with several targets: the nearest candidate wins
        for place in batch.places.unique().tolist():
            here = (batch.places == place).to(x.device)
            better = here & (distance < best_distance[which])
            best[which[better]], best_distance[which[better]] = candidates[better], distance[better]
    return best
