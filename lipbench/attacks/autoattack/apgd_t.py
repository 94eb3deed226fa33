"""``autoattack/apgd-t``: APGD on the targeted difference of logits ratio."""

from torch import Tensor

from lipbench.attacks.autoattack.apgd import apgd
from lipbench.attacks.autoattack.library import N_ITER, TARGETS
from lipbench.attacks.base import ANY_RANK, Attack, AttackCall


class ApgdT(Attack):
    """See ``apgd``."""

    name = "autoattack/apgd-t"
    summary = "APGD on the targeted difference of logits ratio"
    ranks = ANY_RANK
    per_sample_eps = True
    n_iter = N_ITER
    targets = TARGETS

    def run(self, call: AttackCall) -> Tensor:
        """Candidates within eps, x itself where none was found: float32 (n, ...)."""
        return apgd(call, "apgd-t", loss="dlr-targeted", targets=call.arguments["targets"])


ATTACK = ApgdT()
