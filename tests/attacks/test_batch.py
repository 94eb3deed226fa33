"""Batches of attacks: randomness read off at a sample's place in its shard, and evaluations counted row by row."""

import pytest
import torch
from attacking import attack, served, shortened
from torch import nn

from lipbench.attacks import base, guard
from lipbench.attacks.batch import AttackBatch
from lipbench.attacks.network import Network
from lipbench.attacks.norm import Norm
from tests.attacks.conftest import Case


@pytest.mark.parametrize("normal", [True, False])
def test_what_is_drawn_for_a_sample_depends_on_its_place_in_the_shard_alone(normal):
    every = AttackBatch.alone(6, seed=3).drawn((2, 5), "start", 2, normal=normal)
    part = AttackBatch(torch.tensor([4, 1, 4]), 6, seed=3)
    torch.rand(7)  # from the global stream, which is of no consequence
    assert torch.equal(part.drawn((2, 5), "start", 2, normal=normal), every[[4, 1, 4]])
    assert len(every.flatten().unique()) == 60


@pytest.mark.parametrize(
    ("seed", "purpose"), [(4, ("start", 2)), (3, ("start", 3)), (3, ("signs", 2)), (3, ("start",))]
)
def test_another_seed_or_purpose_draws_other_numbers(seed, purpose):
    first = AttackBatch.alone(6, seed=3).drawn((5,), "start", 2, normal=True)
    other = AttackBatch.alone(6, seed=seed).drawn((5,), *purpose, normal=True)
    assert not torch.isin(first, other).any()


def test_the_numbers_are_normal_or_uniform():
    batch = AttackBatch.alone(20_000)
    normal, uniform = (batch.drawn((), "start", normal=kind).double() for kind in (True, False))
    assert (normal.mean().item(), normal.std().item()) == pytest.approx((0, 1), abs=0.03)
    assert ((normal.abs() < 1).double().mean().item()) == pytest.approx(0.683, abs=0.02)
    assert uniform.min() >= -1
    assert uniform.max() < 1
    assert torch.histc(uniform, 10, -1, 1).tolist() == pytest.approx([2000] * 10, rel=0.1)


def test_the_generator_is_the_same_in_every_process():
    """Python's own hash of a string differs from process to process; run folders are merged across them."""
    assert AttackBatch.alone(1, seed=3).generator("square", 2).initial_seed() == 16849203414713538


@pytest.mark.parametrize(
    ("counted", "total", "expected"),
    [([2, 0, 0], 9, [5, 2, 2]), ([1, 1, 1], 3, [1, 1, 1]), ([0, 0, 0], 2, [1, 1, 0]), ([], 0, [])],
)
def test_what_is_not_counted_is_shared_out_evenly(counted, total, expected):
    batch = AttackBatch.alone(len(counted))
    batch.forward[:] = torch.tensor(counted, dtype=torch.int64)
    batch.share_out(total, 0)
    assert batch.forward.tolist() == expected
    assert batch.backward.tolist() == [0] * len(counted)


@pytest.fixture
def network():
    return Network(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), (1, 2, 2))


def test_each_pass_counts_for_the_rows_that_it_takes(network):
    batch = AttackBatch.alone(4)
    with batch.counting(network, torch.tensor([0, 2, 2])):  # row 2 with two targets
        x = torch.rand(3, 1, 2, 2, requires_grad=True)
        network(x).sum().backward()
        network(x)
    with batch.counting(network, torch.tensor([3])):
        network(torch.rand(1, 1, 2, 2))
    with batch.counting(network, torch.tensor([], dtype=torch.int64)):
        pass
    assert batch.forward.tolist() == [2, 0, 4, 1]
    assert batch.backward.tolist() == [1, 0, 2, 0]


def test_a_pass_that_leaves_rows_out_cannot_be_counted(network):
    with pytest.raises(AssertionError, match="left rows out"), AttackBatch.alone(2).counting(network, torch.arange(2)):
        network(torch.rand(1, 1, 2, 2))


def test_some_of_the_rows_have_counts_of_their_own():
    reachable = torch.tensor([[True, False], [False, True], [True, True]])
    batch = AttackBatch(torch.tensor([5, 6, 9]), 10, seed=2, reachable=reachable)
    batch.forward[:] = torch.tensor([1, 2, 3])
    keep = torch.tensor([True, False, True])
    part = batch.of(keep)
    assert (part.index.tolist(), part.population, part.seed) == ([5, 9], 10, 2)
    assert torch.equal(part.reachable, reachable[[0, 2]])
    assert part.forward.tolist() == [0, 0]
    part.forward += torch.tensor([10, 20])
    part.backward += 1
    batch.add(keep, part)
    assert batch.forward.tolist() == [11, 2, 23]
    assert batch.backward.tolist() == [1, 0, 1]


def test_a_class_can_be_reached_unless_it_is_excluded():
    classes = torch.tensor([0, 1, 0])
    reachable = torch.tensor([[True, False], [True, False], [False, True]])
    assert AttackBatch(torch.arange(3), 3, reachable=reachable).can_reach(classes).tolist() == [True, False, False]
    assert AttackBatch.alone(3).can_reach(classes).all()


# --- what the attacks count ------------------------------------------------------------------------------------------

QUICK = {
    "n_iter": 6,
    "n_queries": 40,
    "max_iter": 6,
    "targets": 3,
    "batch_size": 5,
    "steps": 6,
    "rounds": 2,
    "num_steps": 6,
}


def with_one_misclassified(digits: Case) -> Case:
    labels = digits.labels.clone()
    labels[1] = (labels[1] + 1) % 10
    return Case(digits.network, digits.x, labels)


@pytest.mark.parametrize("name", base.names())
def test_the_rows_add_up_to_what_the_network_counts(case, name):
    digits = with_one_misclassified(case(10, 8))
    declared, spec = served(name), shortened(name, QUICK)
    batch, norm = AttackBatch.alone(8), min(declared.norms)
    before = digits.network.evaluations.forward, digits.network.evaluations.backward
    eps = None if declared.minimal_norm else 0.5
    guard.search(spec, digits.network, digits.x, digits.labels, norm=norm, eps=eps, seed=0, batch=batch)
    after = digits.network.evaluations.forward, digits.network.evaluations.backward
    assert (batch.forward.sum().item(), batch.backward.sum().item()) == (after[0] - before[0], after[1] - before[1])
    assert (batch.forward >= 1).all()
    assert (batch.backward >= 0).all()


@pytest.mark.parametrize("batch_size", [None, 5])
@pytest.mark.parametrize(
    ("name", "forward", "backward"),
    [
        # one pass to find the correct samples; APGD's start and each iteration are a pass in both directions
        ("apgd-ce", lambda runs: 1 + 7, lambda runs: 7),
        ("apgd-dlr", lambda runs: 1 + 7, lambda runs: 7),
        # and one for the ranking of the targets
        ("apgd-t", lambda runs: 2 + 7 * runs, lambda runs: 7 * runs),
        # FAB predicts and ranks at x, then has two passes per iteration; its candidate is looked at once more
        ("fab-t", lambda runs: 2 + (2 + 2 * 6 + 1) * runs, lambda runs: 6 * runs),
    ],
)
def test_each_row_counts_its_own_runs(case, name, forward, backward, batch_size):
    """At an eps where nothing is broken, so that no run is saved; a row has as many runs as reachable targets."""
    digits = with_one_misclassified(case(10, 8))
    if batch_size is not None:
        digits.network.__dict__["batch_size"] = batch_size
    ranked = digits.network.predict(digits.x).argsort(dim=1, descending=True)
    reachable = torch.ones(8, 10, dtype=torch.bool)
    reachable[0, ranked[0, 1:4]] = False
    reachable[2, ranked[2, 2]] = False
    runs = torch.tensor([0, 0, 2, 3, 3, 3, 3, 3])
    args = {"n_iter": 6} | ({"targets": 3} if name in ("apgd-t", "fab-t") else {})
    eps = None if name == "fab-t" else 1e-3
    batch = AttackBatch(torch.arange(8), 8, reachable=reachable)
    attack(digits, name, Norm.L2, eps, batch=batch, **args)
    attacked = torch.arange(8) != 1
    assert batch.forward.tolist() == torch.where(attacked, forward(runs), 1).tolist()
    assert batch.backward.tolist() == torch.where(attacked, backward(runs), 0).tolist()
