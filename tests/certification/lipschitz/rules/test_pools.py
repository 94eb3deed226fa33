import math

import pytest
import torch
from deel import torchlip
from measured import Forward, dense_norm, largest_jacobian, points
from torch import nn
from torch.nn import functional as F

from lipbench.certification.lipschitz import lipschitz_bound
from lipbench.errors import LipbenchError

AVERAGES = [
    (nn.AvgPool2d(2), (3, 6, 6)),
    (nn.AvgPool2d((1, 3)), (3, 6, 6)),
    (nn.AvgPool2d(3, stride=2), (1, 9, 9)),
    (nn.AvgPool2d(3, stride=(1, 2), padding=1), (1, 6, 7)),
    (nn.AvgPool2d(3, padding=1, count_include_pad=False), (1, 6, 6)),
    (nn.AvgPool2d(2, ceil_mode=True), (1, 5, 5)),
    (nn.AvgPool2d((3, 2), 2, 1, ceil_mode=True, count_include_pad=False), (1, 6, 7)),
    (nn.AvgPool2d((3, 2), 2, 1, ceil_mode=True), (1, 6, 7)),
    (nn.AvgPool2d(2, divisor_override=1), (1, 4, 4)),
    (nn.AvgPool2d(3, 2, 1, divisor_override=-2), (1, 6, 6)),
    (nn.AvgPool2d(2, stride=3), (1, 7, 7)),  # leaves gaps
    (nn.AdaptiveAvgPool2d(1), (2, 5, 4)),
    (nn.AdaptiveAvgPool2d((3, None)), (1, 7, 4)),
    (nn.AdaptiveAvgPool2d((5, 6)), (1, 3, 4)),  # more outputs than inputs
    (torchlip.ScaledAvgPool2d(2), (3, 6, 6)),
    (torchlip.ScaledAvgPool2d((2, 3), ceil_mode=True, k_coef_lip=2.0), (1, 5, 7)),
    (torchlip.ScaledAdaptiveAvgPool2d((1, 1)), (2, 5, 4)),
    (Forward(lambda m, x: F.avg_pool2d(x, 3, 1, padding=1)), (1, 5, 5)),
    (Forward(lambda m, x: F.avg_pool2d(kernel_size=(2, 3), input=x, ceil_mode=True)), (1, 5, 5)),
    (Forward(lambda m, x: F.adaptive_avg_pool2d(x, (2, 3))), (1, 5, 5)),
]


@pytest.mark.parametrize(("pool", "shape"), AVERAGES, ids=str)
def test_averages_get_their_dense_norm(pool, shape):
    true = dense_norm(pool, shape)
    assert true <= lipschitz_bound(pool, shape) <= true * (1 + 1e-10)


NONLINEAR = [  # pool, shape, its constant: reached at a point that is 0 but for one number, near which others are small
    (nn.MaxPool2d(2), (1, 4, 4), 1),
    (nn.MaxPool2d(3, stride=1), (1, 5, 5), 3),  # nine windows hold the centre
    (nn.MaxPool2d(3, stride=2, padding=1), (1, 6, 6), 2),
    (nn.MaxPool2d(2, stride=1, dilation=2), (1, 5, 5), 2),
    (nn.MaxPool2d(2, stride=2, dilation=2), (1, 6, 6), 2),
    (nn.MaxPool2d((3, 1), stride=2, ceil_mode=True), (1, 6, 6), math.sqrt(2)),
    (nn.MaxPool2d(2, stride=3), (1, 6, 6), 1),
    (nn.AdaptiveMaxPool2d(3), (1, 5, 5), 2),
    (nn.AdaptiveMaxPool2d((1, None)), (1, 5, 5), 1),
    (nn.AdaptiveMaxPool2d(4), (1, 2, 2), 2),
    (nn.LPPool2d(2, 2), (1, 4, 4), 1),
    (nn.LPPool2d(2, 3, stride=1), (1, 5, 5), 3),
    (nn.LPPool2d(2, 3, stride=2), (1, 7, 7), 2),
    (nn.LPPool2d(2, 2, ceil_mode=True), (1, 5, 5), 2),  # a window of one pixel counts it fourfold
    (nn.LPPool2d(2.0, (3, 2), stride=(2, 1), ceil_mode=True), (1, 6, 3), math.sqrt(5)),
    (torchlip.ScaledL2NormPool2d(2), (2, 6, 6), 1),
    (torchlip.ScaledL2NormPool2d(2, ceil_mode=True, k_coef_lip=0.5), (1, 5, 5), 1),
    (torchlip.ScaledAdaptativeL2NormPool2d((1, 1), k_coef_lip=2.0), (2, 3, 4), 2),
    (Forward(lambda m, x: F.max_pool2d(x, 3, 1)), (1, 5, 5), 3),
    (Forward(lambda m, x: F.max_pool2d(kernel_size=2, input=x)), (1, 4, 4), 1),
    (Forward(lambda m, x: F.adaptive_max_pool2d(x, 3)), (1, 5, 5), 2),
    (Forward(lambda m, x: F.lp_pool2d(x, 2, 3, 1)), (1, 5, 5), 3),
]


@pytest.mark.parametrize(("pool", "shape", "constant"), NONLINEAR, ids=str)
def test_other_pools_get_their_true_constant(pool, shape, constant):
    bound = lipschitz_bound(pool, shape)
    assert bound == pytest.approx(constant, rel=1e-12)
    assert largest_jacobian(pool, points(shape, 3)) <= bound
    spikes = torch.eye(math.prod(shape)).view(-1, *shape) + 1e-7 * points(shape, 1)
    assert largest_jacobian(pool, spikes) == pytest.approx(constant, rel=1e-5)


REFUSED = [
    (nn.LPPool2d(3, 2), (1, 4, 4), "norm_type"),
    (Forward(lambda m, x: F.lp_pool2d(x, 1, 2)), (1, 4, 4), "norm_type"),
    (nn.MaxPool2d(2, return_indices=True), (1, 4, 4), "one tensor"),
    (nn.AvgPool3d(2), (1, 4, 4, 4), "AvgPool3d"),
    (nn.MaxPool2d(9), (1, 4, 4), "does not accept"),
]


@pytest.mark.parametrize(("pool", "shape", "message"), REFUSED, ids=str)
def test_pools_without_a_rule_are_refused(pool, shape, message):
    with pytest.raises(LipbenchError, match=message):
        lipschitz_bound(pool, shape)


@pytest.mark.parametrize("shape", [(), (3,), (4, 4), (1, 2, 4, 4)], ids=str)
@pytest.mark.parametrize(
    "pool",
    [nn.MaxPool2d(2), nn.AvgPool2d(2), nn.LPPool2d(2, 2), nn.AdaptiveAvgPool2d(1), nn.AdaptiveMaxPool2d(1),
     torchlip.ScaledL2NormPool2d(2), torchlip.ScaledAdaptiveAvgPool2d((1, 1))],
    ids=str,
)  # fmt: skip
def test_inputs_without_channels_and_planes_are_refused(pool, shape):
    """torch takes (n, h, w) for one sample of n channels."""
    with pytest.raises(LipbenchError):
        lipschitz_bound(pool, shape)
