import mutants
import pytest
import torch
from torch import nn
from unanalysed import GELU_SLOPE, affine_norm, batch_lip_norm, householder, smooth_network
from verifying import examined

from lipbench.attacks.network import Network
from lipbench.certification.certificate import certificate
from lipbench.verification import slopes


def test_the_steepest_pair_reaches_the_constant_of_a_linear_network():
    torch.manual_seed(0)
    network = Network(nn.Sequential(nn.Flatten(), nn.Linear(64, 5)), (1, 8, 8))
    proof = certificate(network.module, (1, 8, 8))
    pair = slopes.steepest_pair(network, proof, torch.rand(16, 1, 8, 8))
    assert 0.98 * proof.bound < pair.ratio <= proof.bound
    seen = (network.predict(pair.x) - network.predict(pair.z)).norm() / (pair.x.double() - pair.z.double()).norm()
    assert pair.ratio <= seen.item() <= pair.ratio * (1 + 1e-6)


def test_the_steepest_pair_of_layers_without_an_analysis(tmp_path, dtype):
    """The slope is measured, and no proof is claimed for it."""
    for make, true in ((smooth_network, GELU_SLOPE), (householder, 1.0), (batch_lip_norm, None)):
        net = make()
        found = examined(net, None, tmp_path, dtype)
        true = affine_norm(net) if true is None else true
        assert found.not_analysed is not None
        assert not found.constant.steepest_proven
        assert 0.99 * true < found.constant.steepest <= true * (1 + 1e-6)
        assert found.holds


@pytest.mark.parametrize(
    ("make", "claimed", "refuted"),
    [
        (smooth_network, GELU_SLOPE * 0.999, True),
        (smooth_network, GELU_SLOPE, False),
        (householder, 1 - 1e-5, True),
        (householder, 1 - 1e-6, False),  # within the tolerance of claims
    ],
)
def test_a_measured_slope_refutes_a_claim_that_it_exceeds(make, claimed, refuted, tmp_path):
    found = examined(make(), claimed, tmp_path)
    assert found.not_analysed is not None
    assert (found.constant.claim_witness is not None) is refuted
    assert found.holds is not refuted


def test_a_measured_slope_allows_for_what_float64_may_lose(tmp_path):
    """A step of 16 that only rounding makes: 1e17 is added and taken off. In exact arithmetic the slope is 1.129."""

    class Lost(nn.Module):
        def forward(self, x):
            return (x + 1e17) - 1e17

    net = smooth_network()
    net.insert(1, Lost())
    found = examined(net, 1.2, tmp_path)
    assert found.not_analysed is not None
    assert found.constant.claim_witness is None
    assert found.holds


def test_large_biases_do_not_hide_a_slope(tmp_path):
    """Logits of 1e5: float32 errs by 4e-3 there, float64 by 1e-11."""
    found = examined(smooth_network(offset=1e5), GELU_SLOPE * 0.99, tmp_path)
    assert found.constant.claim_witness is not None


@pytest.mark.parametrize("analysed", [True, False])
def test_the_search_leaves_regions_where_outputs_tie(analysed, tmp_path):
    """Every test image lies where the network is constant; bright ones are where it is not."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 1), nn.ReLU(), *([] if analysed else [nn.GELU()]), nn.Linear(1, 2))
    with torch.no_grad():
        net[1].weight.fill_(1 / 8)
        net[1].bias.fill_(-5.0)  # of at most 8; digits stay below 3.5
        net[-1].weight.copy_(torch.tensor([[1.0], [-1.0]]) / 2**0.5)
    network = Network(net, (1, 8, 8))
    x = mutants.inputs()
    assert (network.predict(x) == network.predict(x)[:1]).all()
    pair = slopes.steepest_pair(network, certificate(network.module, (1, 8, 8)), x)
    true = 1.0 if analysed else GELU_SLOPE
    assert pair.proven is analysed
    assert 0.95 * true < pair.ratio <= true * (1 + 1e-6)


def test_the_search_survives_gradients_that_are_not_finite():
    """The square root of 0, at black pixels."""

    class Root(nn.Module):
        def forward(self, x):
            return torch.relu(x).sqrt()

    network = Network(nn.Sequential(nn.Flatten(), nn.Linear(64, 4), Root()), (1, 8, 8))
    with torch.no_grad():
        network.module[1].weight.abs_(), network.module[1].bias.zero_()
    proof = certificate(Network(nn.Sequential(nn.Flatten(), nn.Linear(64, 4)), (1, 8, 8)).module, (1, 8, 8))
    pair = slopes.steepest_pair(network, proof, torch.zeros(4, 1, 8, 8))
    assert pair.ratio > 1
