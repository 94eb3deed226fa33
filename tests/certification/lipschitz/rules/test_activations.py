import math
from fractions import Fraction

import pytest
import torch
from deel import torchlip
from measured import Forward, largest_jacobian, points
from torch import nn
from torch.nn import functional as F

from lipbench.certification.lipschitz import lipschitz_bound, trace
from lipbench.errors import LipbenchError, UnsupportedError

SCALAR = [  # one number in, one out
    nn.ReLU(),
    nn.ReLU6(),
    nn.Hardtanh(-2, 0.5),
    nn.LeakyReLU(0.2),
    nn.LeakyReLU(-3.0),
    nn.RReLU(0.5, 4.0),
    nn.PReLU(init=-1.7),
    nn.ELU(),
    nn.ELU(2.5),
    nn.ELU(-2.5),
    nn.CELU(),
    nn.CELU(0.3),
    nn.SELU(),
    nn.GELU(),
    nn.GELU("tanh"),
    nn.SiLU(),
    nn.Mish(),
    nn.Sigmoid(),
    nn.Tanh(),
    nn.Tanhshrink(),
    nn.LogSigmoid(),
    nn.Softsign(),
    nn.Softshrink(0.3),
    nn.Hardsigmoid(),
    nn.Hardswish(),
    torchlip.LPReLU(init=5.0, k_coef_lip=2.0),
    torchlip.LPReLU(init=-0.5),
    Forward(lambda m, x: -x),
    Forward(lambda m, x: abs(x)),
    Forward(lambda m, x: +x),
    Forward(lambda m, x: x.neg()),
    Forward(lambda m, x: torch.abs(x)),
    Forward(lambda m, x: F.relu(x)),
    Forward(lambda m, x: F.relu(input=x)),
    Forward(lambda m, x: x.relu()),
    Forward(lambda m, x: torch.relu(x)),
    Forward(lambda m, x: F.relu6(x)),
    Forward(lambda m, x: F.leaky_relu(x, -3.0)),
    Forward(lambda m, x: F.hardtanh(x, -2, 1)),
    Forward(lambda m, x: x.clamp(-1, 1)),
    Forward(lambda m, x: torch.clamp(x, min=0)),
    Forward(lambda m, x: x.clip(max=0)),
    Forward(lambda m, x: torch.clamp_min(x, 0.5)),
    Forward(lambda m, x: torch.maximum(x, m.two), two=torch.tensor(2.0)),
    Forward(lambda m, x: torch.sigmoid(x)),
    Forward(lambda m, x: F.sigmoid(x)),
    Forward(lambda m, x: x.tanh()),
    Forward(lambda m, x: F.tanh(x)),
    Forward(lambda m, x: F.gelu(x)),
    Forward(lambda m, x: F.gelu(x, approximate="tanh")),
    Forward(lambda m, x: F.silu(x)),
    Forward(lambda m, x: F.mish(x)),
    Forward(lambda m, x: F.elu(x, 2.5)),
    Forward(lambda m, x: F.celu(x, 0.3)),
    Forward(lambda m, x: F.selu(x)),
    Forward(lambda m, x: F.softsign(x)),
    Forward(lambda m, x: F.hardsigmoid(x)),
    Forward(lambda m, x: F.hardswish(x)),
    # in place, on a tensor of their own
    nn.Sequential(nn.Identity(), Forward(lambda m, x: F.relu(x, inplace=True))),
    Forward(lambda m, x: (-x).relu_()),
    Forward(lambda m, x: torch.relu_(-x)),
    Forward(lambda m, x: F.leaky_relu_(-x, 3.0)),
    Forward(lambda m, x: (-x).clamp_(0, 1)),
    Forward(lambda m, x: F.elu(-x, 2.0, inplace=True)),
    Forward(lambda m, x: F.dropout(x, 0.3, m.training)),
    nn.Dropout(0.3),
    nn.AlphaDropout(0.3),
]


def largest_slope(activation: nn.Module) -> float:
    """The largest difference quotient on a grid that closes in on it, good to 1e-7: torch's derivatives are not all
    those of its functions (Hardsigmoid's is a float32 number).
    """
    centre, width, largest = 0.0, 30.0, 0.0
    for _ in range(3):
        x = centre + width * torch.linspace(-1, 1, 20001, dtype=torch.float64)
        with torch.no_grad():
            y = activation(x[:, None].clone())[:, 0]
        quotients = (y.diff() / x.diff()).abs()
        best = int(quotients.argmax())
        largest, centre, width = max(largest, quotients[best].item()), x[best].item(), width / 100
    return largest


@pytest.mark.parametrize("activation", SCALAR, ids=lambda value: type(value).__name__)
def test_activations_get_their_largest_slope(activation):
    bound = lipschitz_bound(activation, (1,))
    assert bound - 1e-6 <= largest_slope(activation.double().eval()) <= bound + 1e-7


# from mpmath, 30 digits: a decimal constant that is not rounded up is below its function's slope
SUPREMA = [
    (nn.SiLU(), "1.099839320128866916958184924320"),
    (nn.Mish(), "1.088498161251727861228293627392"),
    (nn.GELU(), "1.128904145185154786340744442261"),
    (nn.GELU("tanh"), "1.128993068658771765455904470399"),
    (nn.SELU(), "1.758099340847376859940217520812"),
    (nn.Hardsigmoid(), "0.166666666666666666666666666666"),
]


@pytest.mark.parametrize(("activation", "supremum"), SUPREMA, ids=str)
def test_constants_are_rounded_up(activation, supremum):
    bound = trace(activation, (1,)).steps[-1].effect.lipschitz[0]
    assert 0 <= Fraction(bound) - Fraction(supremum) < Fraction(1, 10**11)


VECTORS = [  # activation, shape, its constant
    (torchlip.GroupSort2(), (6,), 1),
    (torchlip.GroupSort2(), (4, 2, 2), 1),
    (torchlip.GroupSort(3), (6,), 1),
    (torchlip.FullSort(), (5,), 1),
    (torchlip.GroupSort2(k_coef_lip=3.0), (4,), 3),
    (torchlip.MaxMin(), (5,), 1),
    (torchlip.MaxMin(k_coef_lip=0.5), (2, 3, 3), 0.5),
    (torchlip.HouseHolder(4, theta_initializer="normal"), (4, 2, 2), 1),
    (torchlip.HouseHolder(2, theta_initializer=0.3), (8,), 1),  # one angle for all pairs
    (Forward(lambda m, x: torch.sort(x, dim=1)[0]), (5,), 1),
    (Forward(lambda m, x: x.sort(-1, descending=True).values), (2, 4), 1),
    (Forward(lambda m, x: torch.max(x, 1)[0]), (5,), 1),
    (Forward(lambda m, x: torch.max(x, dim=2, keepdim=True).values), (2, 4), 1),
    (Forward(lambda m, x: x.amin((2, 3))), (2, 3, 3), 1),
    (Forward(lambda m, x: x.min(-1)[0]), (2, 4), 1),
    (Forward(lambda m, x: torch.maximum(x, -x)), (3,), math.sqrt(2)),
    (Forward(lambda m, x: torch.min(2 * x[:, :2], 3 * x[:, 2:])), (4,), 3),  # parts that share no number
    # broadcasting repeats numbers
    (Forward(lambda m, x: torch.maximum(x[:, :1], m.low), low=-torch.full((1, 9), 99.0)), (2,), 3),
    (Forward(lambda m, x: torch.clamp(x[:, :1], min=m.low), low=-torch.full((1, 9), 99.0)), (2,), 3),
    (Forward(lambda m, x: torch.maximum(0.01 * x, x[:, :1] + 99)), (4,), math.sqrt(4 + 1e-4)),
]


@pytest.mark.parametrize(("activation", "shape", "constant"), VECTORS, ids=lambda value: str(value)[:40])
def test_activations_of_several_numbers(activation, shape, constant):
    bound = lipschitz_bound(activation, shape)
    assert bound == pytest.approx(constant, rel=1e-12)
    assert largest_jacobian(activation, points(shape, 10)) <= bound
    torch.manual_seed(0)
    x, y = torch.randn(2, 1000, *shape, dtype=torch.float64)
    moved = (activation.double()(x) - activation(y)).reshape(len(x), -1).norm(dim=1)
    assert (moved <= bound * (x - y).flatten(1).norm(dim=1) * (1 + 1e-12)).all()


REFUSED = [
    (nn.Softmax(1), (3,), "Softmax"),
    (nn.Softplus(), (3,), "Softplus"),  # torch's has a step at its threshold
    (nn.Hardshrink(), (3,), "Hardshrink"),
    (nn.CELU(-1.0), (3,), "alpha"),  # grows exponentially
    (Forward(lambda m, x: F.celu(x, -1.0)), (3,), "alpha"),
    (torchlip.HouseHolder(8), (2, 4, 4), "angles"),  # its angles would repeat the channels
    (Forward(lambda m, x: torch.msort(x)), (3,), "msort"),  # sorts the batch
    (Forward(lambda m, x: torch.sort(x, 0)[0]), (3,), "batch"),
    (Forward(lambda m, x: x.sort()[0]), (), "batch"),
    (Forward(lambda m, x: x.max()), (3,), "batch"),
    (Forward(lambda m, x: x.amax(0)), (3,), "batch"),
    (Forward(lambda m, x: x.amax((0, 1), keepdim=True)), (3,), "batch"),
    (Forward(lambda m, x: torch.max(x, 1)[1]), (3,), "real numbers"),
    (Forward(lambda m, x: x.argmax(1)), (3,), "argmax"),
    (Forward(lambda m, x: x.sign()), (3,), "sign"),
    (Forward(lambda m, x: x.clamp(max=-x)), (3,), "clamp"),
    (Forward(lambda m, x: torch.exp(x)), (3,), "torch.exp"),
    (Forward(lambda m, x: x**2), (3,), "pow"),
    (Forward(lambda m, x: F.dropout(x, 0.3)), (3,), "dropout"),
    (Forward(lambda m, x: F.leaky_relu(x, float("nan"))), (3,), "finite"),
]


@pytest.mark.parametrize(("activation", "shape", "message"), REFUSED, ids=lambda value: str(value)[:40])
def test_activations_without_a_constant_are_refused(activation, shape, message):
    with pytest.raises(LipbenchError, match=message):
        lipschitz_bound(activation, shape)


def test_dropout_that_stays_active_is_refused():
    class MonteCarlo(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop = nn.Dropout(0.5)

        def train(self, mode=True):
            return super().train(True)

        def forward(self, x):
            return self.drop(x)

    with pytest.raises(UnsupportedError, match="training mode"):
        lipschitz_bound(MonteCarlo(), (3,))
