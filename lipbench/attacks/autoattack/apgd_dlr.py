"""``autoattack/apgd-dlr``: APGD on the difference of logits ratio."""

from torch import Tensor

from lipbench.attacks.autoattack.apgd import apgd
from lipbench.attacks.autoattack.library import N_ITER
from lipbench.attacks.base import ANY_RANK, Attack, AttackCall


class ApgdDLR(Attack):
    """See ``apgd``. The ratio divides by a difference to the third largest logit."""

    name = "autoattack/apgd-dlr"
    summary = "APGD on the difference of logits ratio"
    ranks = ANY_RANK
    per_sample_eps = True
    min_classes = 3
    n_iter = N_ITER

    def run(self, call: AttackCall) -> Tensor:
        """Candidates within eps, x itself where none was found: float32 (n, ...)."""
        return apgd(call, "apgd-dlr", loss="dlr")


ATTACK = ApgdDLR()
