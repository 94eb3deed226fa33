import pytest
import torch

from lipbench.attacks import guard
from lipbench.attacks.autoattack import library
from lipbench.attacks.norm import Norm
from lipbench.attacks.suites import AttackSpec
from lipbench.errors import LipbenchError


def search(case, name, norm, eps, *, seed=0, **args):
    spec = AttackSpec(name=f"autoattack/{name}", args=args)
    return guard.search(spec, case.network, case.x, case.labels, norm=norm, eps=eps, seed=seed)


@pytest.mark.parametrize("classes", [1, 2, 3])
def test_targeted_apgd_works_at_every_scale_below_four_classes(case, classes):
    """Cross-entropy saturates at a large scale, the targeted margin does not."""
    found = {}
    for name in ("apgd-t", "apgd-ce"):
        for scale in (1e-3, 1.0, 1e4):
            digits = case(classes, 30, scale=scale)
            candidates = search(digits, name, Norm.L2, 1.5, n_iter=40)
            adversarial, _, _ = guard.check_candidates(digits.network, digits.x, digits.labels, candidates, Norm.L2)
            found[name, scale] = adversarial.sum()
    assert found["apgd-t", 1.0] >= 5
    assert found["apgd-t", 1e-3] == pytest.approx(found["apgd-t", 1.0], abs=1)
    assert found["apgd-t", 1e4] == pytest.approx(found["apgd-t", 1.0], abs=1)
    assert found["apgd-t", 1e4] > found["apgd-ce", 1e4]


def test_the_targeted_margin_replaces_the_ratio_below_four_classes():
    logits = torch.tensor([[4.0, 1.0, 2.0], [0.0, 3.0, 1.0]], requires_grad=True)
    labels, targets = torch.tensor([0, 1]), torch.tensor([1, 2])
    two = library.targeted_margin(logits[:, :2], labels, torch.tensor([1, 0]))
    assert two.tolist() == [-3.0, -3.0]
    three = library.targeted_margin(logits, labels, targets)
    assert three.tolist() == [-3.0, -2.0]
    # a ratio to z_(1) - z_(3) would be constant for the first, whose target has the smallest logit
    (gradient,) = torch.autograd.grad(three.sum(), logits)
    assert gradient.tolist() == [[-1.0, 1.0, 0.0], [0.0, -1.0, 1.0]]


@pytest.mark.parametrize("classes", [2, 3, 4, 10])
def test_each_wrong_class_is_a_target(case, classes):
    digits = case(classes, 2)
    args = {"targets": 9, "n_iter": 50, "n_queries": 77}
    made = library.configured(digits.network, args, norm=Norm.L2, eps=0.1, seed=0, attacks=("apgd-t", "fab-t"))
    assert made.apgd_targeted.n_target_classes == made.fab.n_target_classes == classes - 1
    assert made.apgd.n_iter == made.apgd_targeted.n_iter == made.fab.n_iter == 50
    assert made.apgd.n_iter_2 == 11  # 0.22 n_iter: the first step-size checkpoint
    assert made.square.n_queries == 77


def test_fab_tries_every_target(case):
    """With one target, samples whose nearest boundary is another class's come out farther."""
    digits = case(10, 40)
    distance = {}
    for targets in (1, 4):
        found = search(digits, "fab-t", Norm.L2, None, targets=targets, n_iter=40)
        _, distance[targets], _ = guard.check_candidates(digits.network, digits.x, digits.labels, found, Norm.L2)
    assert (distance[4] <= distance[1] + 1e-6).all()
    assert (distance[4] < distance[1] * 0.99).any()


@pytest.mark.parametrize("name", ["standard", "apgd-t", "fab-t"])
def test_a_search_without_targets_is_refused(case, name):
    with pytest.raises(LipbenchError, match=rf"'targets' of autoattack/{name} must be .* at least 1, got 0"):
        search(case(10, 2), name, Norm.L2, None if name == "fab-t" else 0.3, targets=0)
