"""``autoattack/apgd-ce``: APGD on cross-entropy."""

from torch import Tensor

from lipbench.attacks.autoattack.apgd import apgd
from lipbench.attacks.autoattack.library import N_ITER
from lipbench.attacks.base import ANY_RANK, Attack, AttackCall


class ApgdCE(Attack):
    """See ``apgd``."""

    name = "autoattack/apgd-ce"
    summary = "APGD on cross-entropy"
    ranks = ANY_RANK
    per_sample_eps = True
    n_iter = N_ITER

    def run(self, call: AttackCall) -> Tensor:
        """Candidates within eps, x itself where none was found: float32 (n, ...)."""
        return apgd(call, "apgd-ce", loss="ce")


ATTACK = ApgdCE()
