"""Networks that cannot be traced, or are misread by a trace, are refused."""

import operator

import pytest
import torch
from deel import torchlip
from measured import Forward, scaling
from torch import nn
from torch.nn import functional as F

from lipbench.certification.lipschitz import lipschitz_bound
from lipbench.errors import LipbenchError


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def composed(function) -> Forward:
    return Forward(
        function,
        five=scaling(5.0),
        alpha=nn.Parameter(torch.tensor(0.0)),
        token=nn.Parameter(torch.randn(1, 3)),
        weights=torch.tensor([0.2, 0.9, 0.5, 0.5]),
        row=torch.tensor([[1.0, -9, 2, 3, 2, 4, -8, 2, 3]]),
        ones=torch.ones(1, 9),
    )


def test_what_comes_after_the_output_does_not_count():
    """Dead code is removed, also where it is an in-place operation."""

    def forward(m, x):
        y = 3 * x
        torch.relu_(y * 0.001)
        return y

    assert lipschitz_bound(Forward(forward), (4,)) == pytest.approx(3)


def alias(m, x):
    y = x * 2
    z = y.relu_()
    return y + z


def alias_of_view(m, x):
    y = m.five(x)
    z = m.activation(y.view(-1, 4))
    return y + z


def alias_of_layer(m, x):
    y = m.five(x)
    z = m.activation(m.flatten(y))
    return y + z


def alias_of_augmented(m, x):
    y = x * 1
    z = y
    z += 5 * torch.relu(-x)
    return y + z


def alias_of_dropout(m, x):
    y = m.five(x)
    return y + F.dropout1d(y, 0.5, m.training).mul_(3)


def alias_of_positive(m, x):
    y = m.five(x)
    z = (+y).mul_(3)
    return y + z


def alias_of_data(m, x):
    y = m.five(x)
    y.data.mul_(3)
    return y


def sliced_assignment(m, x):
    y = m.five(x)
    y[:, 0] = 0
    return y


class Counter(nn.Module):
    """Its first calls are the identity."""

    def __init__(self, tensor: bool):
        super().__init__()
        if tensor:
            self.register_buffer("calls", torch.zeros(()))
        else:
            self.calls = 0

    def forward(self, x):
        self.calls += 1
        return x if self.calls < 100 else 10 * x


class Picky(nn.Module):
    """Another function in another precision, though hardly another value here."""

    def __init__(self):
        super().__init__()
        self.register_buffer("factor", torch.tensor(1.0))

    def forward(self, x):
        if self.factor.dtype is torch.float64:
            return self.factor * x
        return self.factor * x + 1e-4 * torch.cat([x, x, x, x], 1)[:, ::4]


class Random(nn.Module):
    def forward(self, x):
        return x * torch.randn(4)


def hooked():
    layer = scaling(1.0)
    layer.register_forward_hook(lambda module, args, output: 10 * output)
    return layer


def replaced(name):
    layer = nn.Conv2d(1, 1, 1) if name == "_conv_forward" else scaling(1.0)
    original = getattr(layer, name)
    setattr(layer, name, lambda *args: 10 * original(*args))
    return layer


def hooked_inside():
    sll = pytest.importorskip("orthogonium.layers.conv.SLL.sll_layer").SDPBasedLipschitzDense(4, 4, 4)
    sll.activation.register_forward_hook(lambda module, args, output: 10 * output)
    return sll


REFUSED = [  # forward or network, shape, what the message names
    # control flow and values that depend on the data
    (lambda m, x: x if x.sum() > 0 else -x, (4,), "cannot be traced"),
    (lambda m, x: x * float(x.sum()), (4,), "cannot be traced"),
    (lambda m, x: x[:, : int(x.sum())], (4,), "cannot be traced"),
    (lambda m, x: torch.where(x > 0, x, 2 * x), (4,), "operator.gt"),
    (lambda m, x: x * x.sum(1, keepdim=True).item(), (4,), "."),
    (lambda m, x: x[x.argmax(1)], (4,), "argmax"),
    # products and powers
    (lambda m, x: x * x, (4,), "product of two"),
    (lambda m, x: x / x, (4,), "divisor"),
    (lambda m, x: 1 / x, (4,), "divisor"),
    (lambda m, x: x @ x.mT, (4, 4), "matrix product"),
    (lambda m, x: x**2, (4,), "operator.pow"),
    (lambda m, x: x / 0, (4,), "division by 0"),
    (lambda m, x: torch.div(x, 2, rounding_mode="floor"), (4,), "rounding_mode"),
    (lambda m, x: x.to(torch.int64).to(x.dtype), (4,), "real numbers"),
    (lambda m, x: x.view(torch.float64).view(torch.int64), (4,), "real numbers|bits|mixes"),
    # samples of a batch that depend on each other
    (lambda m, x: x.flip(0), (4,), "mixes the samples"),
    (lambda m, x: x.roll(1), (4,), "mixes the samples"),
    (lambda m, x: x - x.mean(0), (4,), "batch"),
    (lambda m, x: x - x.mean(), (4,), "batch"),
    (lambda m, x: x.t(), (3,), "mixes the samples"),  # as many features as samples are traced
    (lambda m, x: x.view(-1), (4,), "batch"),
    (lambda m, x: x.flatten(0), (4,), "batch"),
    (lambda m, x: x.repeat(2, 1), (4,), "batch"),
    (lambda m, x: x[:1], (4,), "batch"),
    (lambda m, x: x[0], (3,), "mixes the samples"),
    (lambda m, x: torch.cat([x, x]), (4,), "along the batch"),
    (lambda m, x: torch.stack([x, 2 * x, 3 * x], -3).mean(1), (4,), "along the batch"),
    (lambda m, x: torch.stack([x, 2 * x, 3 * x]), (4,), "along the batch"),
    (lambda m, x: x * x.size(0), (4,), "on their number"),
    (lambda m, x: x / x.shape[0], (4,), "on their number"),
    (lambda m, x: x * x.numel(), (4,), "on their number"),
    (lambda m, x: x.mean((1, 2)) + x, (3, 3), "batch dimension"),  # (n, c, w) + (n,)
    (lambda m, x: x + m.three, (1, 4), "batch dimension"),  # (n, c, w) + (3, 1, 1)
    (lambda m, x: torch.maximum(x, x[:, 0]), (3, 4), "batch dimension"),
    # state and in-place operations
    (Counter(False), (4,), "state"),
    (Counter(True), (4,), "state|traced"),
    (Random(), (4,), "state"),
    (Picky(), (4,), "precision"),
    (lambda m, x: x + torch.rand_like(x), (4,), "rand_like"),
    (alias, (4,), "reads afterwards"),
    (alias_of_view, (4,), "reads afterwards"),
    (alias_of_layer, (4,), "reads afterwards"),
    (alias_of_augmented, (4,), "reads afterwards"),
    (alias_of_dropout, (4,), "reads afterwards"),
    (alias_of_positive, (4,), "reads afterwards"),
    (alias_of_data, (4,), "reads afterwards"),
    (lambda m, x: x.relu_() + x, (4,), "reads afterwards"),
    (sliced_assignment, (4,), "cannot be traced|slice"),
    (lambda m, x: operator.setitem(y := m.five(x), 0, 0.0) or y, (4,), "cannot be traced|slice"),
    # modules that compute something else than their type says
    (hooked(), (4,), "hook"),
    (nn.Sequential(hooked()), (4,), "hook"),
    (nn.Sequential(replaced("forward")), (4,), "hook"),
    (nn.Sequential(replaced("_conv_forward")), (1, 3, 3), "hook"),
    (nn.Sequential(hooked_inside()), (4,), "hook"),
    (nn.utils.spectral_norm(nn.Linear(4, 4)), (4,), "hook"),
    (nn.LazyLinear(3), (4,), "not initialised"),
    # what has no rule
    (nn.Sequential(nn.Softmax(1)), (4,), "Softmax"),
    (nn.MultiheadAttention(4, 1), (4,), "."),
    (lambda m, x: torch.softmax(x, 1), (4,), "torch.softmax"),
    (lambda m, x: torch.einsum("nc->n", x), (4,), "einsum"),
    (lambda m, x: x.norm(dim=1), (4,), "Tensor.norm"),
    (lambda m, x: x.data * 2, (4,), "Tensor.data"),
    (lambda m, x: F.interpolate(x, scale_factor=2), (1, 4, 4), "interpolate"),
    (lambda m, x: m.join(x, m.row[0, :4]), (4,), "more than tensors"),
    (lambda m, x: m.up(x, [9, 9]), (1, 4, 4), "more than tensors"),
    (torch.jit.script(nn.Linear(4, 4)), (4,), "."),
    # outputs
    (lambda m, x: (x, x), (4,), "one tensor"),
    (lambda m, x: {"logits": x}, (4,), "one tensor"),
    (lambda m, x: None, (4,), "one tensor"),
    (lambda m, x: m.ones, (4,), "does not depend on its input"),
    (lambda m, x: x + float("nan"), (4,), "finite"),
    (lambda m, x: x * float("inf"), (4,), "."),
    (lambda m, x: torch.add(x, x, alpha=float("nan")), (4,), "finite"),
    # mistakes in a forward
    (lambda m, x: m.nothing(x), (4,), "nothing"),
    (lambda m, x: {}["a"], (4,), "cannot be traced"),
    (lambda m, x: 1 / 0, (4,), "cannot be traced"),
    (lambda m, x: x[:, 9], (4,), "does not accept"),
    (lambda m, x: x + "a", (4,), "does not accept"),
    (lambda m, x: x * 10**400, (4,), "does not accept"),
    (lambda m, x: m.unregistered[0](x), (4,), "cannot be traced"),
    (lambda m, x, y: x + y, (4,), "cannot be traced"),
]


@pytest.mark.parametrize(("network", "shape", "message"), REFUSED)
def test_refused(network, shape, message):
    if not isinstance(network, nn.Module):
        network = composed(network)
        network.activation, network.flatten = nn.ReLU(inplace=True), nn.Flatten()
        network.register_buffer("three", torch.ones(3, 1, 1))
        network.join, network.up = torchlip.LipResidual(), nn.ConvTranspose2d(1, 1, 2, stride=2)
        network.unregistered = [nn.Linear(4, 4)]
    with pytest.raises(LipbenchError, match=message):
        lipschitz_bound(network, shape)
