import numpy as np
import pytest
import torch
from attacking import BISECTION, distances
from torch import nn

from lipbench.attacks import guard
from lipbench.attacks.gradient import bisection
from lipbench.attacks.network import Network
from lipbench.attacks.norm import Norm
from lipbench.attacks.suites import AttackSpec


@pytest.mark.parametrize("norm", list(Norm))
def test_bisection_is_near_the_best_of_the_libraries(case, norm):
    digits = case(10, 60)
    rivals = [AttackSpec(name="autoattack/fab-t", args={"targets": 4, "n_iter": 50})]
    if norm is Norm.L2:
        rivals.append(AttackSpec(name="art/deepfool"))
    before = digits.network.evaluations.backward
    adversarial, distance, _ = distances(digits, BISECTION, norm)
    gradients = (digits.network.evaluations.backward - before) / len(digits.x)
    assert adversarial.all()
    assert gradients <= 160
    best = np.minimum.reduce([distance, *(distances(digits, rival, norm)[1] for rival in rivals)])
    excess = distance / best - 1
    assert excess.mean() < 0.005
    assert np.median(excess) < 1e-4


@pytest.mark.parametrize("norm", list(Norm))
def test_a_sample_whose_bounds_have_met_costs_nothing_more(case, norm, monkeypatch):
    digits = case(10, 60)

    def spent():
        before = digits.network.evaluations.total
        return distances(digits, BISECTION, norm)[1], digits.network.evaluations.total - before

    distance, evaluations = spent()
    monkeypatch.setattr(bisection, "SETTLED", 0.0)
    nearest, most = spent()
    assert evaluations < 0.75 * most
    assert (distance <= nearest * 1.01).all()
    assert distance.mean() == pytest.approx(nearest.mean(), rel=1e-3)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_bisection_does_not_depend_on_the_scale_of_the_logits(case, scale):
    _, distance, _ = distances(case(10, 20, scale=scale), BISECTION, Norm.L2)
    _, expected, _ = distances(case(10, 20), BISECTION, Norm.L2)
    assert distance == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("device", ["cpu", *["cuda"] * torch.cuda.is_available()])
@pytest.mark.parametrize("norm", list(Norm))
def test_bisection_is_exact_on_a_hyperplane(norm, device):
    """The distance to w x + b = 0 is |w x + b| over the dual norm of w; the box is far away here."""
    torch.manual_seed(0)
    head = nn.Linear(48, 1)
    network = Network(nn.Sequential(nn.Flatten(), head), (3, 4, 4), device)
    x = (0.45 + 0.1 * torch.rand(50, 3, 4, 4)).to(device)
    labels = (network.predict(x)[:, 1] > network.predict(x)[:, 0]).long().to(device)
    found = guard.search(BISECTION, network, x, labels, norm=norm, eps=None, seed=0)
    adversarial, distance, _ = guard.check_candidates(network, x, labels, found, norm)
    weight = head.weight.detach().double()[0]
    slope = weight.norm() if norm is Norm.L2 else weight.abs().sum()
    value = (x.cpu().double().flatten(1) @ weight + head.bias.detach().double()).abs()
    assert adversarial.all()
    assert (distance >= (value / slope).numpy() * (1 - 1e-9)).all()
    assert distance == pytest.approx((value / slope).numpy(), rel=2e-4, abs=1e-6)


def test_the_last_halving_reaches_the_boundary_even_without_rounds():
    """The Newton steps end 2 % beyond a hyperplane; halving the segment brings that down to 2^-12."""
    torch.manual_seed(0)
    head = nn.Linear(48, 1)
    network = Network(nn.Sequential(nn.Flatten(), head), (3, 4, 4))
    x = 0.45 + 0.1 * torch.rand(20, 3, 4, 4)
    logits = network.predict(x)
    spec = AttackSpec(name="gradient/bisection", args={"rounds": 1, "steps": 1})
    found = guard.search(spec, network, x, logits.argmax(1), norm=Norm.L2, eps=None, seed=0)
    _, distance, _ = guard.check_candidates(network, x, logits.argmax(1), found, Norm.L2)
    exact = (logits[:, 1] - logits[:, 0]).abs() / head.weight.detach().double().norm()
    assert distance == pytest.approx(exact.numpy(), rel=1e-3)


def test_bisection_finds_the_boundary_through_the_rounding_to_float32():
    """Distances of a few float32 steps: what is found in float64 may be lost when it is stored."""
    torch.manual_seed(0)
    head = nn.Linear(48, 1)
    x = 0.5 + 0.4 * torch.rand(200, 3, 4, 4)
    x[1:] = x[:1] + 2e-7 * torch.randn(199, 3, 4, 4)
    with torch.no_grad():
        head.bias.copy_(-(head.weight.double() @ x[0].double().flatten()))
    network = Network(nn.Sequential(nn.Flatten(), head), (3, 4, 4))
    labels = network.predict(x).argmax(1)
    for norm in Norm:
        found = guard.search(BISECTION, network, x, labels, norm=norm, eps=None, seed=0)
        adversarial, distance, _ = guard.check_candidates(network, x, labels, found, norm)
        assert adversarial.all()
        assert distance.max() < 1e-5


def test_bisection_tries_more_than_the_largest_wrong_logit():
    """Class 1 is the runner-up but out of reach; the boundary of class 2 lies at 0.5."""
    network = Network(nn.Sequential(nn.Flatten(), nn.Linear(2, 3)), (1, 1, 2))
    with torch.no_grad():
        network.module[1].weight.copy_(torch.tensor([[0.0, 0.0], [0.01, 0.0], [0.0, 1.0]]))
        network.module[1].bias.copy_(torch.tensor([1.0, 0.9, 0.5]))
    x, labels = torch.zeros(1, 1, 1, 2), torch.tensor([0])
    for name, eps in (("gradient/bisection", None), ("gradient/pgd", 0.6)):
        spec = AttackSpec(name=name)
        found = guard.search(spec, network, x, labels, norm=Norm.L2, eps=eps, seed=0)
        adversarial, _, label = guard.check_candidates(network, x, labels, found, Norm.L2)
        assert adversarial.all()
        assert label.tolist() == [2]
        assert found[0, 0, 0, 1] == pytest.approx(0.5, abs=0.1 if eps else 1e-3)


def test_bisection_respects_the_box():
    """One pixel is pinned at its bound, so the boundary must be reached along the other."""
    network = Network(nn.Sequential(nn.Flatten(), nn.Linear(2, 1)), (1, 1, 2))
    with torch.no_grad():
        network.module[1].weight.copy_(torch.tensor([[3.0, 1.0]]))
        network.module[1].bias.fill_(-3.4)
    x = torch.tensor([[[[1.0, 0.0]]]])  # f = -0.4; without the box the nearest boundary is at 0.4 / sqrt(10)
    found = guard.search(BISECTION, network, x, torch.tensor([0]), norm=Norm.L2, eps=None, seed=0)
    assert found.flatten().tolist() == pytest.approx([1.0, 0.4], abs=1e-3)
    adversarial, _, _ = guard.check_candidates(network, x, torch.tensor([0]), found, Norm.L2)
    assert adversarial.all()


def test_where_there_is_no_adversarial_input_the_candidate_is_the_input():
    network = Network(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), (1, 2, 2))
    with torch.no_grad():
        network.module[1].weight.mul_(1e-3)
        network.module[1].bias.copy_(torch.tensor([5.0, 0.0, 0.0]))
    x = torch.rand(4, 1, 2, 2)
    labels = torch.zeros(4, dtype=torch.int64)
    for name, eps in (("gradient/bisection", None), ("gradient/pgd", 10.0)):
        spec = AttackSpec(name=name)
        found = guard.search(spec, network, x, labels, norm=Norm.L2, eps=eps, seed=0)
        assert torch.equal(found, x)


def test_a_constant_network_is_no_division_by_zero():
    network = Network(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), (1, 2, 2))
    with torch.no_grad():
        network.module[1].weight.zero_()
        network.module[1].bias.copy_(torch.tensor([1.0, 0.0]))
    x = torch.rand(4, 1, 2, 2)
    for norm in Norm:
        found = guard.search(BISECTION, network, x, torch.zeros(4, dtype=torch.int64), norm=norm, eps=None, seed=0)
        assert torch.equal(found, x)


@pytest.mark.parametrize("norm", list(Norm))
def test_candidates_are_the_same_in_batches(case, norm, monkeypatch):
    digits = case(10, 30)
    _, whole, _ = distances(digits, BISECTION, norm)
    monkeypatch.setattr("lipbench.attacks.gradient.ascent.BATCH", 7)
    _, parts, _ = distances(digits, BISECTION, norm)
    assert parts == pytest.approx(whole, rel=5e-3)
