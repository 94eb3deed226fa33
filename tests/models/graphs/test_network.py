"""The network of a graph is one like any other: copied, pickled, traced, cast and moved, it stays the same."""

import copy
import pickle

import pytest
import torch
from call_forms import case
from torch import nn
from torch.nn import functional as F

from lipbench.certification.certificate import certificate
from lipbench.certification.graph_writing import graph_of
from lipbench.certification.lipschitz import frozen, trace
from lipbench.errors import LipbenchError
from lipbench.models.fingerprint import code_sha256
from lipbench.models.graphs import GraphNetwork, read_network
from lipbench.models.weights import load_into

SHAPE = (2, 6, 6)


class Residual(nn.Module):
    """A forward of its own: views, sizes, keywords, functions, in-place operations, buffers, a shared layer."""

    def __init__(self):
        super().__init__()
        self.conv, self.shared = nn.Conv2d(2, 8, 3, padding=1), nn.Linear(6, 6)
        self.head = nn.Linear(288, 4)
        self.scale, self.gate = nn.Parameter(torch.tensor([0.7])), nn.Parameter(torch.tensor(0.2))
        self.register_buffer("mean", torch.tensor([0.4, 0.5]))
        self.register_buffer("order", torch.tensor([5, 3, 1, 0, 2, 4]))

    def forward(self, x):
        h = self.conv((x - self.mean.view(1, 2, 1, 1)) / 0.3)
        first, second = h.chunk(2, dim=1)
        h = torch.cat([torch.max(first, second), torch.min(first, second)], dim=1)
        h = h + F.avg_pool2d(input=h, kernel_size=3, stride=1, padding=1) * self.scale
        h = torch.sigmoid(self.gate) * self.shared(h) + 0.5 * self.shared(h[..., self.order])
        h = F.relu(h, inplace=True).view(x.size(0), h.shape[1] * h.shape[2], -1)
        h = 2 * h.flatten(1)
        h += 0.1
        return self.head(h)


def returned(module: nn.Module, shape=SHAPE) -> GraphNetwork:
    """The network as it comes back from its graph."""
    proof = trace(module, shape)
    graph, state = graph_of(module, proof.module)
    network = read_network(graph.encoded(), "graph.json", shape, proof.output.shape[0])
    load_into(network, {name: tensor.clone() for name, tensor in state.items()}, "weights", assign=True)
    return network


@pytest.fixture(scope="module")
def pair():
    torch.manual_seed(0)
    module = Residual().eval()
    return module, returned(module)


@pytest.mark.parametrize("n", [1, 2, 3, 7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("way", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one)), frozen])
def test_it_computes_the_same(pair, n, dtype, way, device):
    module, network = (way(one).to(device, dtype) for one in pair)
    x = torch.rand(n, *SHAPE, dtype=dtype, device=device)
    assert torch.equal(network(x.clone()), module(x.clone()))


def test_it_has_the_same_certificate(pair):
    module, network = pair
    first, second = certificate(module, SHAPE), certificate(network, SHAPE)
    assert (first.bound, first.not_analysed) == (second.bound, second.not_analysed)
    assert torch.equal(first.pairwise, second.pairwise)
    assert [step.name for step in trace(module, SHAPE).steps] == [step.name for step in trace(network, SHAPE).steps]


def test_it_comes_back_from_its_own_graph(pair):
    again = returned(pair[1])
    assert again.graph["steps"] == pair[1].graph["steps"]
    x = torch.rand(3, *SHAPE)
    assert torch.equal(again(x), pair[1](x))


def test_gradients_flow(pair):
    x = torch.rand(2, *SHAPE, requires_grad=True)
    mine = torch.autograd.grad(pair[1](x).sum(), x)[0]
    assert torch.equal(mine, torch.autograd.grad(pair[0](x).sum(), x)[0])


def test_values_are_let_go_after_their_last_use(pair):
    ends = [place for step in pair[1].steps for place in step.last_uses]
    assert sorted(ends) == sorted(set(range(pair[1].output)) & set(ends))
    assert len(ends) > 25
    assert pair[1].output not in ends


def test_graphs_of_other_operations_have_other_digests():
    class Shifted(Residual):
        def forward(self, x):
            return super().forward(x) + 1

    torch.manual_seed(0)
    one, other = returned(Residual().eval()), returned(Shifted().eval())
    assert code_sha256(one) != code_sha256(other)


class Flat(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x).flatten(1)


def test_random_forms_of_calls_come_back():
    """Each seed is a network of up to six calls, as in ``test_random_calls``."""
    came, kept_out = 0, set()
    for seed in range(100):
        one = case(seed)
        module = Flat(one.network).eval()
        try:
            graph = trace(module, one.shape)
        except LipbenchError:
            continue
        try:
            network = returned(module, one.shape)
        except LipbenchError as error:
            kept_out.add(str(error).split(".")[-1])
            continue
        assert trace(network, one.shape).output.lipschitz == graph.output.lipschitz, one.source
        plain, network = frozen(module).float(), network.float()
        for n in (1, 2, 5):
            x = torch.randn(n, *one.shape)
            assert torch.equal(network(x.clone()), plain(x.clone())), one.source
        came += 1
    assert came > 50
    assert kept_out <= {"Blend", "mixed", "swept"}  # the case's own layer and functions


class Rounded(nn.Module):
    """A constant from a buffer, computed anew in each forward, in the precision of the moment."""

    def __init__(self):
        super().__init__()
        self.register_buffer("std", torch.tensor([0.3]))

    def forward(self, x):
        return x.flatten(1) * (1 / self.std)


class Elsewhere(nn.Module):
    def forward(self, x):
        return x.to(torch.device("cpu")).flatten(1)


class Masked(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mask", torch.arange(72) % 2 == 0)

    def forward(self, x):
        return x.flatten(1)[:, self.mask]


@pytest.mark.parametrize(
    ("module", "message"),
    [(Rounded(), "computes anew"), (Elsewhere(), "type device"), (Masked(), "torch.bool")],
)
def test_what_a_graph_cannot_hold_is_refused(module, message):
    with pytest.raises(LipbenchError, match=message):
        returned(module)
