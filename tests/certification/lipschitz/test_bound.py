"""The bound of a whole network, and shapes of inputs."""

import math

import pytest
import torch
from deel import torchlip
from measured import Forward, largest_jacobian, points
from torch import nn
from torch.nn import functional as F

from lipbench.certification.lipschitz import lipschitz_bound
from lipbench.errors import LipbenchError


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


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


@pytest.mark.parametrize("shape", [4, None, "four", (0,), (-1,), (4.0,), (4, 0), (True, 4)], ids=str)
def test_shapes_that_are_none_are_refused(shape):
    with pytest.raises(LipbenchError, match="the shape of one input"):
        lipschitz_bound(nn.Linear(4, 4), shape)


def test_unknown_devices_are_refused():
    with pytest.raises(LipbenchError):
        lipschitz_bound(nn.Linear(4, 4, device="meta"), (4,))
