import pytest

from lipbench.attacks import guard
from lipbench.attacks.norm import Norm
from lipbench.attacks.suites import AttackSpec
from lipbench.errors import LipbenchError


def test_a_misspelt_loss_is_explained():
    spec = AttackSpec(name="art/auto_pgd", args={"loss_type": "crossentropy"})
    with pytest.raises(LipbenchError, match="did you mean 'cross_entropy'"):
        guard.supported(spec, 10, (1, 8, 8), Norm.L2)


def test_the_logits_ratio_sees_through_a_large_scale_where_cross_entropy_does_not(case):
    digits = case(10, 60, scale=1e4)
    broken = {}
    for loss in ("cross_entropy", "difference_logits_ratio"):
        spec = AttackSpec(name="art/auto_pgd", args={"loss_type": loss, "max_iter": 30})
        found = guard.search(spec, digits.network, digits.x, digits.labels, norm=Norm.L2, eps=0.5, seed=0)
        adversarial, _, _ = guard.check_candidates(digits.network, digits.x, digits.labels, found, Norm.L2)
        broken[loss] = adversarial.sum()
    assert broken["difference_logits_ratio"] > broken["cross_entropy"]
