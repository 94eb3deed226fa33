import pytest
import torch
from deel import torchlip
from measured import Forward, dense_norm, largest_jacobian, points
from torch import nn
from torch.nn import functional as F

from lipbench.certification.lipschitz import lipschitz_bound
from lipbench.errors import LipbenchError
from lipbench.models.architectures import Normalize


def trained(layer: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """A layer with running statistics, weights and biases that are not those of its initialisation."""
    torch.manual_seed(0)
    for parameter in layer.parameters():
        parameter.data.normal_()
    layer.train()
    for _ in range(3):
        layer(3 * torch.randn(16, *shape) * torch.linspace(1, 2, shape[0]).view(-1, *[1] * (len(shape) - 1)) + 1)
    return layer.eval()


LAYERS = [
    (Normalize([0.1, 0.2, 0.3], [0.5, 0.25, 0.4]), (3, 4, 4)),
    (Normalize([0.1], [-0.3]), (3, 4, 4)),
    (Normalize([0.1, 0.2, 0.3], [0.5, 0.25, 0.4]), (3, 5)),
    (Normalize([0.1, 0.2, 0.3], [0.5, 0.25, 0.4]), (3,)),
    (Normalize([0.1], [-0.3]), (4,)),
    (trained(nn.BatchNorm2d(3), (3, 4, 4)), (3, 4, 4)),
    (trained(nn.BatchNorm2d(3, affine=False, eps=0.5), (3, 4, 4)), (3, 4, 4)),
    (trained(nn.BatchNorm1d(4), (4,)), (4,)),
    (trained(nn.BatchNorm1d(4), (4, 5)), (4, 5)),
    (trained(torchlip.BatchLipNorm(3), (3, 4, 4)), (3, 4, 4)),
    (trained(torchlip.BatchLipNorm(3, normalize=False), (3, 4, 4)), (3, 4, 4)),
    (trained(torchlip.BatchLipNorm(3, centering=False, bias=False), (3,)), (3,)),
    (trained(torchlip.BatchCentering(3), (3, 4, 4)), (3, 4, 4)),
    (trained(torchlip.LayerCentering(3), (3, 4, 4)), (3, 4, 4)),
    (torchlip.LayerCentering(2, dim=-1, bias=False), (2, 5)),
    (torchlip.ScaleBiasLayer(-1.7, 3), (3, 4, 4)),
    (
        Forward(
            lambda m, x: F.batch_norm(x, m.mean, m.variance, m.scale, m.scale, m.training, 0.1, 1e-2),
            mean=torch.randn(3),
            variance=torch.rand(3),
            scale=torch.randn(3),
        ),
        (3, 4, 4),
    ),
]


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=lambda value: str(value)[:40])
def test_layers_get_their_dense_norm(layer, shape):
    true = dense_norm(layer, shape)
    assert true * (1 - 1e-12) <= lipschitz_bound(layer, shape) <= true * (1 + 1e-6)


@pytest.mark.parametrize("make", [torchlip.BatchLipNorm, torchlip.BatchCentering])
def test_running_statistics_are_read_as_the_network_serves_them(make):
    layer = trained(make(2), (2, 3, 3))
    assert largest_jacobian(layer, points((2, 3, 3), 1)) <= lipschitz_bound(layer, (2, 3, 3)) * (1 + 1e-7)
    exported = lipschitz_bound(layer.vanilla_export(), (2, 3, 3))
    assert exported == pytest.approx(lipschitz_bound(layer, (2, 3, 3)), rel=1e-6)


class Refreshed(nn.Module):
    """Keeps its batch norm in training mode."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.norm.running_var.fill_(100.0)

    def train(self, mode=True):
        super().train(mode)
        self.norm.train()
        return self

    def forward(self, x):
        return self.norm(x)


REFUSED = [
    (nn.BatchNorm2d(1, track_running_stats=False), (1, 4, 4), "samples of a batch depend"),
    (Refreshed(), (1, 4, 4), "training mode"),
    (Forward(lambda m, x: F.batch_norm(x, None, None, training=True)), (1, 4, 4), "samples of a batch depend"),
    (Forward(lambda m, x: x - x.mean(0)), (3,), "batch"),
    (nn.LayerNorm(4), (4,), "LayerNorm"),
    (nn.InstanceNorm2d(1), (1, 4, 4), "InstanceNorm2d"),
    (torchlip.LayerCentering(3), (3,), "batch"),  # the last two dimensions of (n, c)
    (Normalize([0.0] * 3, [1.0] * 3), (1, 4, 4), "Normalize"),
    (Normalize([0.0] * 3, [1.0] * 3), (1,), "Normalize"),
    (Normalize([0.0] * 3, [1.0] * 3), (1, 4), "Normalize"),
    (Normalize([0.0], [0.0]), (1, 4, 4), "std of 0"),
    # four channels of numbers would turn one channel of inputs into four
    (torchlip.ScaleBiasLayer(1.0, 4), (1, 4, 4), "4 channels"),
    (torchlip.BatchLipNorm(4), (1, 4, 4), "4 channels"),
    (torchlip.BatchLipNorm(4, bias=False), (1, 4, 4), "4 channels"),
    (torchlip.LayerCentering(4), (1, 4, 4), "4 channels"),
]


@pytest.mark.parametrize(("layer", "shape", "message"), REFUSED, ids=lambda value: str(value)[:40])
def test_layers_without_a_constant_are_refused(layer, shape, message):
    with pytest.raises(LipbenchError, match=message):
        lipschitz_bound(layer, shape)


def test_a_variance_below_zero_is_refused():
    layer = nn.BatchNorm2d(1)
    layer.running_var.fill_(-1.0)
    with pytest.raises(LipbenchError, match="variance"):
        lipschitz_bound(layer, (1, 4, 4))
