import numpy as np
import pytest
import torch
from attacking import BISECTION, distances

from lipbench.attacks.norm import Norm
from lipbench.attacks.suites import AttackSpec


@pytest.mark.parametrize("norm", list(Norm))
def test_pgd_attacks_each_sample_within_its_own_radius(case, norm):
    """A little above the smallest distance known it must succeed; at half of it, it cannot."""
    digits = case(10, 40)
    _, nearest, _ = distances(digits, BISECTION, norm)
    factor = np.where(np.arange(40) % 2, 1.05, 0.5)
    radius = torch.tensor(nearest * factor)
    spec = AttackSpec(name="gradient/pgd")
    adversarial, distance, _ = distances(digits, spec, norm, eps=radius)
    assert (distance[adversarial] <= radius.numpy()[adversarial]).all()
    assert adversarial[1::2].mean() >= 0.95
    assert not adversarial[0::2].any()


def test_pgd_with_one_radius_equals_the_same_radius_for_each(case):
    digits = case(10, 20)
    spec = AttackSpec(name="gradient/pgd", args={"restarts": 1})
    *_, one = distances(digits, spec, Norm.L2, eps=0.5)
    *_, each = distances(digits, spec, Norm.L2, eps=torch.full((20,), 0.5, dtype=torch.float64))
    assert torch.equal(one, each)


def test_restarts_and_targets_of_pgd_only_add(case):
    digits = case(10, 60)
    broken = []
    for args in ({"targets": 1}, {"targets": 4}, {"targets": 4, "restarts": 3}):
        spec = AttackSpec(name="gradient/pgd", args={"steps": 15, **args})
        adversarial, _, _ = distances(digits, spec, Norm.L2, eps=0.5)
        broken.append(adversarial)
    assert (broken[1] >= broken[0]).all()
    assert (broken[2] >= broken[1]).all()
    random_only = AttackSpec(name="gradient/pgd", args={"targets": 0, "restarts": 1})
    assert distances(digits, random_only, Norm.L2, eps=0.5)[0].sum() >= 0.8 * broken[1].sum()
