import math

import pytest
import torch
from torch import nn

from lipbench.certificates import certificate
from lipbench.errors import LipbenchError
from lipbench.lipschitz import lipschitz_bound


def linear(weight, bias=None) -> nn.Sequential:
    layer = nn.Linear(len(weight[0]), len(weight))
    layer.weight.data = torch.tensor(weight, dtype=torch.float32)
    layer.bias.data = torch.zeros(len(weight)) if bias is None else torch.tensor(bias, dtype=torch.float32)
    return nn.Sequential(nn.Flatten(), layer)


def radii(module, x, labels, grade="real", claimed=None):
    x = torch.tensor(x, dtype=torch.float64).view(len(x), 1, 1, -1)
    proof = certificate(module.double(), x.shape[1:], claimed)
    return proof.radii(module(x), torch.tensor(labels), grade)


def test_linear_classifier_gets_its_exact_distance():
    """For a linear network the pairwise radius is the distance to the nearest hyperplane."""
    weight = [[1.0, 0.0], [0.0, 2.0], [-1.0, -1.0]]
    x = [[0.9, 0.1], [0.2, 0.9]]
    first = min((0.9 - 0.2) / math.hypot(1, -2), (0.9 + 1.0) / math.hypot(2, 1))
    second = min((1.8 - 0.2) / math.hypot(-1, 2), (1.8 + 1.1) / math.hypot(1, 3))
    assert radii(linear(weight), x, [0, 1]).tolist() == pytest.approx([first, second], rel=1e-12)


def test_misclassified_and_tied_samples_have_no_radius():
    weight = [[1.0, 0.0], [0.0, 1.0]]
    assert radii(linear(weight), [[0.9, 0.1], [0.5, 0.5]], [1, 0]).tolist() == [0.0, 0.0]


def test_identical_rows_with_a_tie_have_no_radius():
    assert radii(linear([[1.0, 0.0], [1.0, 0.0]]), [[0.9, 0.1]], [0]).tolist() == [0.0]


def test_never_looser_than_the_margin_over_sqrt2_l():
    torch.manual_seed(0)
    for _ in range(20):
        net = nn.Sequential(nn.Flatten(), nn.Linear(9, 16), nn.ReLU(), nn.Linear(16, 5)).double()
        x = torch.rand(50, 1, 3, 3, dtype=torch.float64)
        logits = net(x).detach()
        top = logits.sort(dim=1).values
        usual = (top[:, -1] - top[:, -2]) / (math.sqrt(2) * lipschitz_bound(net, (1, 3, 3)))
        got = certificate(net, (1, 3, 3)).radii(logits, logits.argmax(1))
        assert (got >= usual * (1 - 1e-9)).all()
        assert (got > usual * 1.0001).any()  # and usually better


def test_single_logit_head():
    """|f| / L, with L the constant of f itself, and no factor sqrt(2)."""
    net = linear([[3.0, 4.0]], [-1.0]).double()
    proof = certificate(net, (1, 1, 2), claimed=5.0)
    f = net(torch.tensor([[[[0.5, 0.5]]]], dtype=torch.float64)).detach()
    logits = torch.cat([-f / 2, f / 2], dim=1)
    assert f.item() == pytest.approx(2.5)
    assert proof.radii(logits, torch.tensor([1])).item() == pytest.approx(0.5, rel=1e-12)
    assert proof.radii(logits, torch.tensor([1]), "nominal").item() == pytest.approx(0.5, rel=1e-12)


def test_head_that_is_not_linear():
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU()).double()
    proof = certificate(net, (1, 2, 2))
    expected = math.sqrt(2) * lipschitz_bound(net, (1, 2, 2))
    assert proof.pairwise[0, 1].item() == pytest.approx(expected)


def test_nominal_radii_follow_the_claim_only():
    net = linear([[1.0, 0.0], [0.0, 1.0]])
    real = radii(net, [[0.9, 0.1]], [0], claimed=0.5).item()
    nominal = radii(net, [[0.9, 0.1]], [0], "nominal", claimed=0.5).item()
    assert real == pytest.approx(0.8 / math.sqrt(2))
    assert nominal == pytest.approx(2 * real)
    assert math.isnan(radii(net, [[0.9, 0.1]], [0], "nominal").item())


@pytest.mark.parametrize(("factor", "confirmed"), [(1.0, True), (1.02, False), (1.00001, False), (0.98, True)])
def test_a_claim_is_held_against_the_weights(factor, confirmed):
    net = linear([[factor, 0.0], [0.0, factor]])
    assert certificate(net, (1, 1, 2), claimed=1.0).claim_confirmed is confirmed
    assert certificate(net, (1, 1, 2)).claim_confirmed is None


def test_mcr_terms_are_signed():
    net = linear([[1.0, 0.0], [0.0, 1.0]]).double()
    proof = certificate(net, (1, 1, 2))
    logits = torch.tensor([[0.9, 0.1]], dtype=torch.float64)
    right, wrong = (proof.signed_margins(logits, torch.tensor([label])).item() for label in (0, 1))
    assert right == pytest.approx(0.8 / math.sqrt(2))
    assert wrong == pytest.approx(-right)


def test_unknown_grade():
    with pytest.raises(LipbenchError, match="grade"):
        radii(linear([[1.0], [2.0]]), [[0.5]], [1], grade="float")
