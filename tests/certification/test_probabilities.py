"""Networks that return probabilities are refused, however they are written; those that return logits are not."""

import pytest
import torch
from deel import torchlip
from torch import nn
from torch.nn import functional as F

import lipbench
from lipbench.attacks.network import Network
from lipbench.certification.certificate import certificate
from lipbench.errors import LipbenchError
from lipbench.models.stored import load_model

SHAPE = (1, 8, 8)


class Then(nn.Module):
    """A network and what comes after it."""

    def __init__(self, function, module):
        super().__init__()
        self.module, self.function = module, function

    def forward(self, x):
        return self.function(self.module(x))


def dense(outputs: int, *after: nn.Module, body: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), body(), nn.Linear(16, outputs), *after)


def then(function, **options):
    return lambda outputs: Then(function, dense(outputs, **options))


def zero(module: nn.Sequential, bias: float = 0.0) -> nn.Sequential:
    """The head as it is before training, in some recipes: constant outputs."""
    head = next(layer for layer in reversed(module) if isinstance(layer, nn.Linear))
    nn.init.zeros_(head.weight), nn.init.constant_(head.bias, bias)
    return module


class Image(nn.Module):
    """A map of probabilities, averaged."""

    def __init__(self, outputs):
        super().__init__()
        self.conv = nn.Conv2d(1, outputs, 3)

    def forward(self, x):
        return torch.sigmoid(self.conv(x)).mean((2, 3))


class Branches(nn.Module):
    """The sigmoid of a linear map, beside or added to another."""

    def __init__(self, outputs, combine):
        super().__init__()
        self.a, self.b, self.combine = nn.Linear(64, outputs), nn.Linear(64, outputs), combine

    def forward(self, x):
        return self.combine(self.a(x.flatten(1)), self.b(x.flatten(1)))


SIGMOIDS = {  # of a number of outputs
    "a module": lambda n: dense(n, nn.Sigmoid()),
    "a function": then(torch.sigmoid),
    "an old function": then(F.sigmoid),
    "a method": then(lambda y: y.sigmoid()),
    "hard, a module": lambda n: dense(n, nn.Hardsigmoid()),
    "hard, a function": then(F.hardsigmoid),
    "hard, by hand": then(lambda y: (y / 6 + 0.5).clamp(0, 1)),
    "hard, by ReLU6": then(lambda y: F.relu6(y + 3) / 6),
    "tanh": then(lambda y: (torch.tanh(y / 2) + 1) / 2),
    "tanh by modules": then(lambda y: 0.5 * y.tanh() + 0.5),
    "softsign": then(lambda y: (F.softsign(y) + 1) / 2),
    "then a reshape": then(lambda y: y.sigmoid().view(-1, 1, y.shape[1]).flatten(1)),
    "then squeezed": then(lambda y: y.sigmoid().unsqueeze(2).squeeze(2)),
    "then clamped": then(lambda y: y.sigmoid().clamp(1e-6, 1 - 1e-6)),
    "then Flatten": lambda n: dense(n, nn.Sigmoid(), nn.Flatten(), nn.Identity(), nn.Dropout(0.1)),
    "then scaled down": then(lambda y: 0.9 * y.sigmoid() + 0.05),
    "of the complement": then(lambda y: 1 - torch.sigmoid(-y)),
    "of a body that does not saturate it": lambda n: dense(n, nn.Sigmoid(), body=nn.Tanh),
    "of a sorted body": lambda n: dense(n, nn.Sigmoid(), body=torchlip.GroupSort2),
    "before training": lambda n: zero(dense(n, nn.Sigmoid())),
    "before training, far from 0": lambda n: zero(dense(n, nn.Sigmoid()), -50.0),
    "a mean of a map": Image,
    "in two branches": lambda n: Branches(n, lambda a, b: a.sigmoid() * 0.5 + b.sigmoid() * 0.5),
    "the larger of two": lambda n: Branches(n, lambda a, b: torch.maximum(a.sigmoid(), b.sigmoid())),
}
SUMS = {  # to 1
    "a module": lambda n: dense(n, nn.Softmax(1)),
    "a function": then(lambda y: torch.softmax(y, 1)),
    "another function": then(lambda y: F.softmax(y, dim=-1)),
    "by hand": then(lambda y: y.exp() / y.exp().sum(1, keepdim=True)),
    "then clamped": then(lambda y: y.softmax(1).clamp(1e-7, 1)),
}
LOGITS = {
    "a dense head": dense,
    "a head before training": lambda n: zero(dense(n)),
    "a constant in [0, 1]": lambda n: zero(dense(n), 0.5),
    "small logits": then(lambda y: 1e-6 * y + 0.5),
    "tiny logits": then(lambda y: 1e-40 * y),
    "small logits by weights": lambda n: scaled(dense(n), 1e-9, 0.5),
    "a ReLU head": lambda n: dense(n, nn.ReLU()),
    "ReLU6": lambda n: dense(n, nn.ReLU6()),
    "absolute values": then(torch.abs),
    "a tanh head": lambda n: dense(n, nn.Tanh()),
    "a clipped head": lambda n: dense(n, nn.Hardtanh()),
    "a sigmoid around 0": then(lambda y: y.sigmoid() - 0.5),
    "log-sigmoid": lambda n: dense(n, nn.LogSigmoid()),
    "GELU": lambda n: dense(n, nn.GELU()),
    "a sigmoid body": lambda n: dense(n, body=nn.Sigmoid),
    "a sigmoid body and a small head": lambda n: scaled(dense(n, body=nn.Sigmoid), 1e-3, 0.5),
    "clamped inputs": lambda n: nn.Sequential(Then(lambda x: x.clamp(0, 1), nn.Identity()), *dense(n)),
    "clamped inputs, averaged": lambda n: nn.Sequential(
        Then(lambda x: x.clamp(0, 1), nn.Identity()), nn.AvgPool2d((8, 8 // n)), nn.Flatten()
    ),
    "pixels": lambda n: nn.Sequential(nn.AvgPool2d((8, 8 // n)), nn.Flatten()),
    "a sigmoid beside a linear map": lambda n: Branches(n, lambda a, b: a + b.sigmoid()),
    "a gate of weights": lambda n: Branches(n, lambda a, b: a * torch.sigmoid(torch.tensor(0.3)) + b * 0.1),
}


def scaled(module: nn.Sequential, factor: float, bias: float) -> nn.Sequential:
    """A head of small weights."""
    with torch.no_grad():
        module[-1].weight.mul_(factor), module[-1].bias.fill_(bias)
    return module


@pytest.mark.parametrize("outputs", [1, 2, 4])
@pytest.mark.parametrize("kind", SIGMOIDS)
def test_sigmoids_are_refused(kind, outputs, digits):
    module = SIGMOIDS[kind](outputs).eval()
    for dtype in ("float64", "float32"):
        with pytest.raises(LipbenchError, match=r"probabilities.*remove the final Sigmoid or Softmax") as caught:
            lipbench.certify(module, digits.test.x[:5], dtype=dtype)
        assert "\n" not in str(caught.value)
    assert lipbench.lipschitz_bound(module, SHAPE) >= 0  # of the function itself


@pytest.mark.parametrize("outputs", [2, 4])
@pytest.mark.parametrize("kind", SUMS)
def test_outputs_that_sum_to_1_are_refused(kind, outputs):
    """Before anything is certified: networks without a bound are attacked too."""
    for dtype in ("float64", "float32"):
        with pytest.raises(LipbenchError, match=r"sum to 1.*remove the final Sigmoid or Softmax"):
            Network(SUMS[kind](outputs).eval(), SHAPE, dtype=dtype)


@pytest.mark.parametrize("outputs", [1, 2, 4])
@pytest.mark.parametrize("kind", LOGITS)
def test_logits_are_taken(kind, outputs, digits):
    module = LOGITS[kind](outputs).eval()
    for dtype in ("float64", "float32"):
        frame = lipbench.certify(module, digits.test.x[:5], dtype=dtype)
        assert len(frame) == 5


def test_log_probabilities_are_logits():
    assert Network(dense(3, nn.LogSoftmax(1)).eval(), SHAPE).num_classes == 3


def test_a_look_at_the_outputs_is_no_evaluation_and_survives_a_network_that_takes_no_such_inputs():
    class Picky(nn.Module):
        def forward(self, x):
            if x.abs().max() > 1:
                raise ValueError("no image")
            return x.flatten(1)[:, :3]

    assert Network(Picky(), SHAPE).evaluations.total == 0


def test_the_bundled_zoo_is_taken(digits_zoo):
    for name in sorted(path.name for path in digits_zoo.iterdir() if path.is_dir())[::6]:
        module = load_model(digits_zoo / name).module
        assert certificate(Network(module, SHAPE).module, SHAPE).bound > 0
