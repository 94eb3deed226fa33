import pytest
import torch

from lipbench.attacks import guard
from lipbench.attacks.norm import Norm
from lipbench.attacks.suites import AttackSpec


@pytest.mark.parametrize("restarts", [0, 3])
def test_restarts_of_pgd(case, restarts):
    """Without a random start the seed is of no consequence."""
    digits = case(10, 30)
    spec = AttackSpec(name="art/pgd", args={"restarts": restarts, "max_iter": 5})
    options = {"norm": Norm.L2, "eps": 0.5}
    first, second = (
        guard.search(spec, digits.network, digits.x, digits.labels, seed=seed, **options) for seed in (0, 1)
    )
    assert torch.equal(first, second) == (restarts == 0)
