"""Steps that only move or repeat numbers get the root of how often they repeat one."""

import math

import pytest
import torch
from measured import Forward, dense_norm
from torch import nn
from torch.nn import functional as F

from lipbench.certification.lipschitz import lipschitz_bound, selects

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


def test_a_layer_can_be_declared_a_selection():
    class Reversed(nn.Module):
        def forward(self, x):
            return torch.cat([x[:, -1:].expand(-1, 4), x], 1) if torch.is_tensor(x) else None

    selects(Reversed)
    assert lipschitz_bound(nn.Sequential(Reversed()), (4,)) == pytest.approx(math.sqrt(5))
