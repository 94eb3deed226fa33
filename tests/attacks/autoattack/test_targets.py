"""APGD and FAB-T with all targets, and all eps, in one batch: each row is a run of the library's own."""

import logging

import pytest
import torch
from attacking import attack
from torch import nn

from lipbench.attacks import guard
from lipbench.attacks.autoattack.targets import targeted
from lipbench.attacks.batch import AttackBatch
from lipbench.attacks.network import Network
from lipbench.attacks.norm import Norm
from tests.attacks.conftest import Case

TARGETS = 4


def drawn_by_torch(self, shape, attack_name, place, *, normal):
    """In place of ``AttackBatch.drawn``: the library's own draws from the global stream, others for each target."""
    torch.manual_seed(place)
    size = (self.population, *shape)
    return (torch.randn(size) if normal else 2 * torch.rand(size) - 1)[self.index]


@pytest.mark.parametrize(("norm", "eps"), [(Norm.L2, 0.5), (Norm.Linf, 0.08)])
@pytest.mark.parametrize(("name", "loss"), [("apgd-ce", "ce"), ("apgd-dlr", "dlr"), ("apgd-t", "dlr-targeted")])
def test_apgd_is_the_librarys_sample_by_sample(case, name, loss, norm, eps, monkeypatch):
    from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted

    digits = case(10, 30)
    network, x, labels = digits.network, digits.x, digits.labels
    targeted = name == "apgd-t"
    options = {"n_iter": 20, "norm": norm.value, "eps": guard.inner_eps(eps, norm, 64), "device": "cpu"}
    library = (APGDAttack_targeted if targeted else APGDAttack)(
        network, logger=logging.getLogger("auto-attack"), **options
    )
    library.loss = loss
    library.init_hyperparam(x)
    expected, still_open = x.clone(), torch.ones(30, dtype=torch.bool)
    for place in range(2, TARGETS + 2) if targeted else [0]:
        torch.manual_seed(place)
        library.y_target = network(x).sort(dim=1)[1][:, -place]
        _, robust, _, candidates = library.attack_single_run(x, labels)
        won = still_open & (robust == 0)
        expected[won], still_open[won] = candidates[won].detach(), False

    monkeypatch.setattr(AttackBatch, "drawn", drawn_by_torch)
    found = attack(digits, name, norm, eps, n_iter=20, **({"targets": TARGETS} if targeted else {}))
    assert found.adversarial.tolist() == (~still_open).tolist()
    assert torch.allclose(found.candidates, expected, atol=1e-6)
    assert 3 < found.adversarial.sum() < 30


@pytest.mark.parametrize("norm", list(Norm))
def test_fab_is_the_nearest_of_the_librarys_runs(case, norm):
    from pyautoattack.fab_pt import FABAttack_PT

    digits = case(10, 30)
    x, labels = digits.x, digits.labels
    library = FABAttack_PT(digits.network, norm=norm.value, n_iter=15, eps=1e10, targeted=True, device="cpu")
    expected, nearest, winner = x.clone(), torch.full((30,), torch.inf), torch.zeros(30)
    for place in range(2, TARGETS + 2):
        library.target_class = place
        candidates = library.attack_single_run(x, labels, is_targeted=True).detach()
        order = 2 if norm is Norm.L2 else torch.inf
        distance = torch.linalg.vector_norm((candidates - x).flatten(1), ord=order, dim=1)
        better = (digits.network(candidates).argmax(1) != labels) & (distance < nearest)
        expected[better], nearest[better], winner[better] = candidates[better], distance[better], float(place)

    found = attack(digits, "fab-t", norm, None, n_iter=15, targets=TARGETS)
    assert found.distance == pytest.approx(nearest.double().numpy(), rel=1e-5)
    assert torch.allclose(found.candidates, expected, atol=1e-5)
    assert len(winner.unique()) > 1  # it is not always the same target that is nearest


# --- which classes are targets ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
@pytest.mark.parametrize("count", [1, 3, 9, 20])
def test_the_targets_are_the_largest_wrong_logits_that_can_be_reached(case, count, batch_size):
    digits = case(10, 12)
    digits.network.__dict__["batch_size"] = batch_size
    reachable = torch.rand(12, 10, generator=torch.Generator().manual_seed(0)) < 0.6
    reachable[5] = False
    batch = AttackBatch(torch.arange(12), 12, reachable=reachable)
    every = list(targeted(digits.network, digits.x, batch, count))
    assert all(0 < len(runs.rows) <= batch_size for runs in every)
    got = [
        (row, target, place)
        for runs in every
        for row, target, place in zip(*(values.tolist() for values in vars(runs).values()), strict=True)
    ]
    ranked = digits.network.predict(digits.x).argsort(dim=1, descending=True)
    expected = [
        (row, int(ranked[row, place - 1]), place)
        for place in range(2, min(count, 9) + 2)
        for row in range(12)
        if reachable[row, ranked[row, place - 1]]
    ]
    assert got == expected


def three_classes() -> Case:
    """Class 1 is the runner-up but out of reach; the boundary of class 2 lies at 0.5, straight ahead."""
    network = Network(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), (1, 2, 2))
    with torch.no_grad():
        network.module[1].weight.copy_(torch.tensor([[0.0] * 4, [0.01, 0, 0, 0], [0, 1.0, 0, 0]]))
        network.module[1].bias.copy_(torch.tensor([1.0, 0.9, 0.5]))
    return Case(network, torch.zeros(2, 1, 2, 2), torch.zeros(2, dtype=torch.int64))


@pytest.mark.parametrize(("name", "eps"), [("apgd-t", 0.55), ("fab-t", None)])
def test_a_class_that_cannot_be_reached_is_no_target(name, eps):
    """The first row may be moved to class 2, the second may not; where no class is left, the row costs nothing."""
    for first, second in (([False, True, True], [False, True, False]), ([False, False, True], [False] * 3)):
        digits = three_classes()
        batch = AttackBatch(torch.arange(2), 2, reachable=torch.tensor([first, second]))
        found = attack(digits, name, Norm.L2, eps, batch=batch, n_iter=10)
        assert found.adversarial.tolist() == [True, False]
        assert torch.equal(found.candidates[1], digits.x[1])
        assert (batch.backward[1] == 0) == (not any(second))
        assert batch.backward[0] > batch.backward[1]


@pytest.mark.parametrize(("name", "eps"), [("apgd-t", 0.55), ("fab-t", None)])
def test_nothing_to_reach_costs_the_ranking_only(name, eps):
    digits, batch = three_classes(), AttackBatch(torch.arange(2), 2, reachable=torch.zeros(2, 3, dtype=torch.bool))
    assert list(targeted(digits.network, digits.x, batch.of(torch.tensor([True, True])), 9)) == []
    found = attack(digits, name, Norm.L2, eps, batch=batch, n_iter=10)
    assert not found.adversarial.any()
    assert batch.forward.tolist() == [2, 2]
    assert batch.backward.tolist() == [0, 0]


def test_a_row_that_float32_takes_for_a_tie_does_not_stop_the_others():
    """The guard compares float64 logits; the library sees float32 ones, in which the first class wins the tie."""
    network = Network(nn.Sequential(nn.Flatten(), nn.Linear(2, 3)), (1, 1, 2))
    with torch.no_grad():
        network.module[1].weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]]))
        network.module[1].bias.copy_(torch.tensor([0.0, 1e-12, 0.0]))
    x = torch.tensor([[0.5, 0.5], [0.2, 0.9], [0.9, 0.1]]).view(3, 1, 1, 2)
    labels = network.predict(x).argmax(1)
    assert labels[0] == 1
    assert network(x).argmax(1)[0] == 0
    found = attack(Case(network, x, labels), "fab-t", Norm.L2, None, n_iter=10)
    assert found.distance[1:] == pytest.approx([0.7 / 2**0.5, 0.8 / 2**0.5], rel=0.01)


def test_the_first_target_that_is_won_gives_the_candidate_whatever_the_batch(case):
    """As in the library's loop; at this eps several targets of a sample are won in the same batch."""
    digits = case(10, 20)
    together = attack(digits, "apgd-t", Norm.L2, 1.5, n_iter=15, targets=4)
    digits.network.__dict__["batch_size"] = 20  # one target after the other
    one_by_one = attack(digits, "apgd-t", Norm.L2, 1.5, n_iter=15, targets=4)
    assert torch.allclose(one_by_one.candidates, together.candidates, atol=1e-5)
    assert one_by_one.batch.forward.sum() < together.batch.forward.sum()
