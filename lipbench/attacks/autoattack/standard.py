"""``autoattack/standard``: the library's unmodified ensemble."""

from torch import Tensor

from lipbench.attacks.autoattack.library import ENSEMBLE, N_ITER, N_QUERIES, TARGETS, configured
from lipbench.attacks.base import Attack, AttackCall
from lipbench.attacks.network import LARGEST_BATCH
from lipbench.attacks.parameters import Parameter


class Standard(Attack):
    """With 10 classes and more, equal to ``version='standard'`` bit for bit.

    Below that, APGD-T and FAB-T aim at the K - 1 wrong classes, and APGD-T's loss, which reads four logits, becomes
    ``targeted_margin`` for K = 2 and 3. Where Square's L2 form cannot tile the image it runs on a padded one.
    """

    name = "autoattack/standard"
    summary = "AutoAttack standard, as the library runs it: APGD-CE, APGD-T, FAB-T, Square, each on what is left"
    n_iter = N_ITER
    targets = TARGETS
    n_queries = N_QUERIES
    batch_size = Parameter(250, "samples at once", at_least=1, at_most=LARGEST_BATCH)

    def run(self, call: AttackCall) -> Tensor:
        """The library's candidates, x itself where none was found: float32 (n, c, h, w)."""
        library = configured(
            call.network, call.arguments, norm=call.norm, eps=call.radius, seed=call.seed, attacks=ENSEMBLE
        )
        batch_size = call.arguments["batch_size"]
        candidates: Tensor = library.run_standard_evaluation(call.x, call.labels, batch_size=batch_size)[0]
        return candidates


ATTACK = Standard()
