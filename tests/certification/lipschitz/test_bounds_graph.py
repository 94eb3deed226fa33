"""How the bounds of layers are put together, and what is refused instead of being misread."""

import math
import operator
import threading

import pytest
import torch
from deel import torchlip
from measured import Forward, dense_norm, largest_jacobian, points
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import prune

from lipbench.certification.lipschitz import Effect, layer_effect, lipschitz_bound, rule, selects, trace
from lipbench.errors import LipbenchError, UnsupportedError


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def scaling(factor: float, size: int = 4) -> nn.Linear:
    """A linear layer of a known constant."""
    layer = nn.Linear(size, size, bias=False)
    layer.weight.data = factor * torch.eye(size)
    return layer


# --- branches ---------------------------------------------------------------------------------------------------------


COMPOSED = [  # forward, shape, its constant by the rules of composition
    (lambda m, x: x + m.five(x), (4,), 6),
    (lambda m, x: x - m.five(x), (4,), 6),
    (lambda m, x: torch.add(x, m.five(x), alpha=-2), (4,), 11),
    (lambda m, x: x.sub(m.five(x), alpha=0.1), (4,), 1.5),
    (lambda m, x: torch.sub(input=x, other=m.five(x), alpha=3), (4,), 16),
    (lambda m, x: torch.rsub(x, m.five(x), alpha=2), (4,), 7),
    (lambda m, x: 1 - x, (4,), 1),
    (lambda m, x: (x + m.five(x)) / 2, (4,), 3),
    (lambda m, x: 0.25 * x + 0.75 * m.five(x), (4,), 4),
    (lambda m, x: torch.lerp(x, m.five(x), 0.25), (4,), 2),
    (lambda m, x: torch.lerp(x, m.five(x), m.weights), (4,), 0.8 + 5 * 0.9),
    (lambda m, x: torch.lerp(x[:, :1], x[:, 1:2], 0.5 * m.ones), (4,), 3),  # repeated nine times
    (lambda m, x: m.alpha.sigmoid() * x + (1 - m.alpha.sigmoid()) * m.five(x), (4,), 3),
    (lambda m, x: m.five(m.five(x)), (4,), 25),  # the same layer twice
    (lambda m, x: torch.cat([x, m.five(x)], 1), (4,), math.sqrt(26)),
    (lambda m, x: torch.cat(tensors=(x, m.five(x), m.five(x)), dim=-1), (4,), math.sqrt(51)),
    (lambda m, x: torch.stack([x, m.five(x)], -1), (4,), math.sqrt(26)),
    (lambda m, x: torch.stack([x, m.five(x)], -2), (4,), math.sqrt(26)),
    (lambda m, x: torch.cat([x, x], 1), (4,), math.sqrt(2)),
    (lambda m, x: torch.cat([x, m.token.expand(x.size(0), 3)], 1), (4,), 1),  # constants beside it
    # parts of one tensor that share no number keep its constant
    (lambda m, x: torch.cat([x[:, :2], 5 * x[:, 2:]], 1), (4,), 5),
    (lambda m, x: torch.cat([(parts := x.chunk(2, 1))[0], 5 * parts[1]], 1), (4,), 5),
    (lambda m, x: torch.stack([(parts := x.unbind(1))[0], -parts[1], parts[3]], 1), (4,), 1),
    (lambda m, x: torch.cat([(parts := x.split([1, 3], dim=1))[0], -parts[-1]], 1), (4,), 1),
    (lambda m, x: torch.cat([x[:, :3], x[:, 1:]], 1), (4,), math.sqrt(2)),  # they share two
    (lambda m, x: torch.cat([x[:, :2] + x[:, 2:], x[:, 2:]], 1), (4,), math.sqrt(5)),  # 2 and 1: a sum is no part
    (lambda m, x: torch.cat([x[:, :2].repeat(1, 2), x[:, 2:]], 1), (4,), math.sqrt(2)),
    (lambda m, x: m.five(torch.cat([x[:, :2], x[:, 2:]], 1))[:, ::2], (4,), 5),
    # multiples
    (lambda m, x: x * -3, (4,), 3),
    (lambda m, x: m.row[:, :4] * x, (4,), 9),
    (lambda m, x: torch.mul(x, m.row[0, :4]), (4,), 9),
    (lambda m, x: x / m.row[:, 4:8], (4,), 0.5),
    (lambda m, x: x.div(4), (4,), 0.25),
    (lambda m, x: x[:, :1] * m.ones, (4,), 3),  # broadcasting repeats numbers
    (lambda m, x: x[:, :1] + m.ones, (4,), 3),
    (lambda m, x: x + x[:, :1], (4,), 3),
    (lambda m, x: x.mean(1, keepdim=True), (4,), 0.5),
    (lambda m, x: torch.mean(x, dim=(-1, -2)), (1, 3, 3), 1 / 3),
    (lambda m, x: x.sum(-1), (4,), 2),
    (lambda m, x: torch.sum(x, [1, 2]), (2, 8), 4),
    (lambda m, x: x - x.mean(1, keepdim=True), (4,), 2),
    (lambda m, x: m.five(x.to(x.dtype)).double(), (4,), 5),
    (lambda m, x: x.detach() * 2, (4,), 2),
    (lambda m, x: [x, (x, {"branch": [m.five(x)]})][1][1]["branch"][0] + x, (4,), 6),  # nested
    (lambda m, x: x * x.dim(), (4,), 2),
    (lambda m, x: x, (4,), 1),
    (lambda m, x: x * 0, (4,), 0),
]


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


@pytest.mark.parametrize(("function", "shape", "constant"), COMPOSED)
def test_composition(function, shape, constant):
    network = composed(function)
    bound = lipschitz_bound(network, shape)
    assert bound == pytest.approx(constant, rel=1e-6)
    assert bound >= dense_norm(network, shape) * (1 - 1e-12)


SELECTIONS = [
    (lambda x: x.flatten(1), 1),
    (lambda x: torch.flatten(input=x, start_dim=1), 1),
    (lambda x: x.view(x.size(0), -1), 1),
    (lambda x: x.view(size=(x.shape[0], 2, -1)), 1),
    (lambda x: x.reshape(x.shape[0], -1), 1),
    (lambda x: x.permute(0, 2, 3, 1), 1),
    (lambda x: x.permute(0, 2, 3, 1)[..., 0], 1),
    (lambda x: x.transpose(1, -1).contiguous(), 1),
    (lambda x: x.mT, 1),
    (lambda x: x.flatten(1).unflatten(1, (2, -1)), 1),
    (lambda x: x[:, :, ::2, 1:], 1),
    (lambda x: x[:, 0], 1),
    (lambda x: x[:, 0, 0, 0], 1),
    (lambda x: x[:, None, ..., [0, 0, 0, 1]], math.sqrt(3)),
    (lambda x: x.select(1, 1), 1),
    (lambda x: x.narrow(2, 0, 1).squeeze(2), 1),
    (lambda x: x.expand(-1, -1, 4, 4), 1),
    (lambda x: x[:, :1].expand(-1, 9, -1, -1), 3),
    (lambda x: x.repeat(1, 2, 2, 1), 2),
    (lambda x: x.tile((1, 1, 3)), math.sqrt(3)),
    (lambda x: torch.roll(x, 2, -1).flip(1), 1),
    (lambda x: F.pixel_unshuffle(x, 2), 1),
    (lambda x: F.pixel_shuffle(F.pixel_unshuffle(x, 2), 2), 1),
    (lambda x: torch.channel_shuffle(x, 2), 1),
    (lambda x: F.unfold(x, 3, padding=1), 3),
    (lambda x: F.unfold(x, 2, stride=2), 1),
    (lambda x: torch.movedim(x, 1, 3), 1),
    (nn.Flatten(), 1),
    (nn.Flatten(1, 2), 1),
    (nn.Sequential(nn.Flatten(), nn.Unflatten(1, (2, 16))), 1),
    (nn.PixelUnshuffle(2), 1),
    (nn.ChannelShuffle(2), 1),
    (nn.ReflectionPad2d(1), 2),  # the second pixel from both edges of a corner
    (nn.Unfold(2), 2),
]


@pytest.mark.parametrize(("function", "constant"), SELECTIONS)
def test_numbers_that_are_moved_or_repeated(function, constant):
    network = function if isinstance(function, nn.Module) else Forward(lambda m, x: function(x))
    assert lipschitz_bound(network, (2, 4, 4)) == pytest.approx(constant, rel=1e-12)
    assert dense_norm(network, (2, 4, 4)) == pytest.approx(constant, rel=1e-12)


def test_a_network_of_users_modules():
    class Block(nn.Module):
        def __init__(self, channels):
            super().__init__()
            self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
            self.norm = nn.BatchNorm2d(channels)

        def forward(self, x, scale=0.5):
            out = self.norm(self.conv(x))
            out += x
            return F.relu(out, inplace=True) * scale

    block = Block(3)
    conv = lipschitz_bound(block.conv, (3, 6, 6))
    network = nn.Sequential(block, nn.MaxPool2d(2), nn.ModuleDict({"again": Block(3)})["again"], nn.Flatten())
    network[2].load_state_dict(block.state_dict())
    assert lipschitz_bound(block, (3, 6, 6)) == pytest.approx(0.5 * (1 + conv / math.sqrt(1 + 1e-5)), rel=1e-9)
    assert largest_jacobian(network, points((3, 6, 6), 2)) <= lipschitz_bound(network, (3, 6, 6))


def test_a_subclass_is_opened_and_not_taken_for_its_parent():
    class Doubled(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    class Tenfold(nn.Conv2d):
        def _conv_forward(self, x, weight, bias):
            return 10 * super()._conv_forward(x, weight, bias)

    class Called(nn.Linear):
        def __call__(self, x):
            return 3 * super().__call__(x)

    for layer, factor, shape in ((Doubled(4, 4), 2, (4,)), (Tenfold(1, 1, 3), 10, (1, 5, 5)), (Called(4, 4), 3, (4,))):
        for network in (layer, nn.Sequential(nn.utils.parametrizations.spectral_norm(layer))):
            size = math.prod(shape)
            images = network.eval()(torch.eye(size).view(size, *shape)) - network(torch.zeros(1, *shape))
            true = torch.linalg.matrix_norm(images.reshape(size, -1).double(), ord=2).item()
            assert lipschitz_bound(network, shape) == pytest.approx(true, rel=1e-5)
            assert lipschitz_bound(network, shape) > 0.9 * factor * lipschitz_bound(plain(layer), shape)


def plain(layer):
    kind = next(kind for kind in (nn.Conv2d, nn.Linear) if isinstance(layer, kind))
    copy = nn.Linear(4, 4) if kind is nn.Linear else nn.Conv2d(1, 1, 3)
    copy.weight.data = layer.weight.data
    return copy


def test_each_layer_keeps_its_mode_and_its_weights():
    net = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.BatchNorm1d(2)).train()
    net[1].eval()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    lipschitz_bound(net, (3,))
    assert (net.training, net[0].training, net[1].training) == (True, True, False)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


def test_the_bound_is_that_of_the_network_on_any_device(device):
    network = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, padding_mode="reflect"),
        nn.BatchNorm2d(4),
        torchlip.GroupSort2(),
        nn.Conv2d(4, 40, 3, stride=2),
        nn.LPPool2d(2, 2),
        nn.Flatten(),
        nn.Linear(40 * 9, 3),
        Forward(lambda m, x: torch.maximum(x, m.low) + m.low * 2, low=torch.zeros(3)),
    )
    expected = lipschitz_bound(network, (2, 14, 14))
    assert lipschitz_bound(network.to(device), (2, 14, 14)) == pytest.approx(expected, rel=1e-9)


def test_it_can_be_called_in_inference_mode():
    network = Forward(lambda m, x: m.factor * x, factor=nn.Parameter(torch.tensor(2.0)))
    with torch.inference_mode():
        assert lipschitz_bound(network, (4,)) == pytest.approx(2.0)


# --- the graph --------------------------------------------------------------------------------------------------------


def test_steps_are_shown_their_inputs_before_they_are_overwritten():
    """Errors are bounded from the inputs of a step: its result in their place would be too small."""
    network = Forward(lambda m, x: m.five(x).mul_(0.001))
    network.five = scaling(5.0)
    graph = trace(network, (4,))
    seen = {}
    x = torch.rand(2, 4)
    value = graph.run(x, lambda place, inputs, value: seen.update({graph.steps[place].name: inputs[0].clone()}))
    assert torch.equal(seen["Linear"], x)
    assert torch.allclose(seen["mul_"], 5 * x)
    assert torch.allclose(value, 0.005 * x)


def test_steps_hold_what_rules_gave():
    shared = scaling(3.0)
    graph = trace(nn.Sequential(shared, nn.ReLU(), Forward(lambda m, x: torch.cat([x, -x], 1))), (4,))
    assert [step.name for step in graph.steps] == ["input", "Linear", "ReLU", "neg", "cat"]
    assert [step.inputs for step in graph.steps] == [(), (0,), (1,), (2,), (2, 3)]
    assert [step.shape for step in graph.steps] == [(4,), (4,), (4,), (4,), (8,)]
    assert graph.output.effect.stacked
    assert graph.output.lipschitz == pytest.approx(3 * math.sqrt(2))


def test_what_comes_after_the_output_does_not_count():
    """Dead code is removed, also where it is an in-place operation."""

    def forward(m, x):
        y = 3 * x
        torch.relu_(y * 0.001)
        return y

    assert lipschitz_bound(Forward(forward), (4,)) == pytest.approx(3)


# --- rules ------------------------------------------------------------------------------------------------------------


def test_rules_are_registered_in_one_line():
    class Cubed(nn.Module):
        def forward(self, x):
            return torch.tanh(x) ** 3

    with pytest.raises(UnsupportedError, match="pow"):
        lipschitz_bound(nn.Sequential(Cubed()), (4,))
    rule(Cubed)(lambda layer, input_shape: 3.0)
    assert lipschitz_bound(nn.Sequential(Cubed(), Cubed()), (4,)) == pytest.approx(9.0, rel=1e-12)


def test_a_layer_can_be_declared_a_selection():
    class Reversed(nn.Module):
        def forward(self, x):
            return torch.cat([x[:, -1:].expand(-1, 4), x], 1) if torch.is_tensor(x) else None

    selects(Reversed)
    assert lipschitz_bound(nn.Sequential(Reversed()), (4,)) == pytest.approx(math.sqrt(5))


@pytest.mark.parametrize("value", [-1.0, float("nan"), "one", Effect((1.0, 1.0))])
def test_rules_that_give_no_constant_are_errors(value):
    class Wrong(nn.Module):
        def forward(self, x):
            return x

    rule(Wrong)(lambda layer, input_shape: value)
    with pytest.raises(LipbenchError):
        lipschitz_bound(nn.Sequential(Wrong()), (4,))


def test_a_layer_that_loses_the_batch_is_refused_whatever_its_rule_says():
    class Averaged(nn.Module):
        def forward(self, x):
            return x.mean(0)

    rule(Averaged)(lambda layer, input_shape: 1.0)
    with pytest.raises(UnsupportedError, match="drops the batch"):
        lipschitz_bound(nn.Sequential(Averaged()), (4,))


# --- refused ----------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("make", [hooked, hooked_inside])
def test_the_effect_of_a_layer_with_hooks_is_refused(make):
    with pytest.raises(UnsupportedError, match="hook"):
        layer_effect(make(), (4,))


def test_what_cannot_be_copied_is_refused():
    held, computed, pruned = scaling(1.0), nn.utils.weight_norm(nn.Linear(4, 4)), scaling(1.0)
    held.lock = threading.Lock()
    prune.l1_unstructured(pruned, "weight", 0.5)
    for network in (held, computed, pruned):
        with pytest.raises(LipbenchError, match="copied"):
            lipschitz_bound(network, (4,))


@pytest.mark.parametrize("shape", [4, None, "four", (0,), (-1,), (4.0,), (4, 0), (True, 4)], ids=str)
def test_shapes_that_are_none_are_refused(shape):
    with pytest.raises(LipbenchError, match="the shape of one input"):
        lipschitz_bound(nn.Linear(4, 4), shape)


def test_unknown_devices_are_refused():
    with pytest.raises(LipbenchError):
        lipschitz_bound(nn.Linear(4, 4, device="meta"), (4,))
