import math

import pytest
import torch
from deel import torchlip
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from lipbench.architectures import Normalize
from lipbench.errors import LipbenchError, UnsupportedError
from lipbench.lipschitz import lipschitz_bound, rule


def true_norm(module: nn.Module, input_shape: tuple[int, ...]) -> float:
    """Norm of an affine map from its dense matrix, by SVD: an independent way to the constant."""
    module = module.double().eval()
    size = math.prod(input_shape)
    with torch.no_grad():
        images = module(torch.eye(size, dtype=torch.float64).view(size, *input_shape))
        origin = module(torch.zeros(1, *input_shape, dtype=torch.float64))
    return torch.linalg.matrix_norm((images - origin).reshape(size, -1), ord=2).item()


@st.composite
def convolutions(draw):
    """A convolution and the shape of its input."""
    height, width = draw(st.integers(4, 8)), draw(st.integers(4, 8))
    groups = draw(st.sampled_from([1, 1, 2]))
    kernel = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    dilation = draw(st.sampled_from([1, 1, 2]))
    padding = (draw(st.integers(0, 2)), draw(st.integers(0, 2)))
    mode = draw(st.sampled_from(["zeros", "circular"]))
    stride = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    for k, p, size in zip(kernel, padding, (height, width), strict=True):
        if dilation * (k - 1) + 1 > size + 2 * p:
            kernel = (1, 1)
    torch.manual_seed(draw(st.integers(0, 2**31)))
    layer = nn.Conv2d(
        2 * groups,
        4,
        kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        padding_mode=mode,
    )
    return layer, (2 * groups, height, width)


@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(convolutions())
def test_convolution_is_never_below_its_dense_norm(case):
    layer, shape = case
    assert lipschitz_bound(layer, shape) >= true_norm(layer, shape)


@pytest.mark.parametrize("seed", range(40))
def test_linear_parts_of_small_nets(seed, record_property):
    """Chains of convolutions with strides, average pools and dense layers, without their activations."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)

    def pick(*values):
        return values[torch.randint(len(values), (1,), generator=generator).item()]

    channels, size = pick(1, 3), pick(8, 9, 11)
    chain, c = [], channels
    for _ in range(pick(1, 2)):
        out = pick(2, 4, 6)
        chain.append(nn.Conv2d(c, out, 3, stride=pick(1, 2), padding=pick(0, 1)))
        c = out
    if pick(True, False):
        chain.append(nn.AvgPool2d(2, padding=pick(0, 1)))
    body = nn.Sequential(*chain, nn.Flatten())
    with torch.no_grad():
        features = body(torch.zeros(1, channels, size, size)).shape[1]
    width = pick(5, 10)
    net = nn.Sequential(*body, nn.Linear(features, width), nn.Linear(width, 3))
    bound, true = lipschitz_bound(net, (channels, size, size)), true_norm(net, (channels, size, size))
    record_property("excess", bound / true)
    assert bound >= true
    single = nn.Sequential(net[0])
    assert lipschitz_bound(single, (channels, size, size)) <= 1.5 * true_norm(single, (channels, size, size))


TIGHT = [  # layer, shape of an input, its true constant
    (nn.Linear(3, 2), (3,), None),
    (nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"), (2, 6, 6), None),
    (nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular", stride=2), (2, 6, 6), None),
    (nn.Conv2d(2, 3, 3, stride=3), (2, 9, 9), None),
    (
        nn.Conv2d(1, 1, 5, padding=2, padding_mode="circular"),
        (1, 4, 4),
        None,
    ),  # the kernel is larger than the torus
    (nn.Conv2d(2, 2, 2, padding="same"), (2, 16, 16), None),
    (nn.AvgPool2d(2), (3, 6, 6), 0.5),
    (nn.AvgPool2d((1, 3)), (3, 6, 6), 1 / math.sqrt(3)),
    (nn.AvgPool2d(3, stride=2), (1, 9, 9), None),
    (nn.AvgPool2d(2, divisor_override=1), (1, 4, 4), 2.0),
    (torchlip.ScaledAvgPool2d(2), (3, 6, 6), 1.0),
    (nn.LPPool2d(2, 2), (3, 6, 6), 1.0),
    (torchlip.ScaledL2NormPool2d(2), (3, 6, 6), 1.0),
    (nn.ReLU(), (3, 6, 6), 1.0),
    (nn.Flatten(), (3, 6, 6), 1.0),
    (torchlip.GroupSort2(), (4,), 1.0),
    (torchlip.GroupSort2(k_coef_lip=3.0), (4,), 3.0),
    (torchlip.FullSort(), (4,), 1.0),
    (torchlip.MaxMin(), (4,), 1.0),
    (Normalize([0.1, 0.2, 0.3], [0.5, 0.25, 0.4]), (3, 4, 4), 4.0),
]


@pytest.mark.parametrize(("layer", "shape", "constant"), TIGHT, ids=lambda value: str(value)[:50])
def test_layers_get_their_true_constant(layer, shape, constant):
    true = true_norm(layer, shape) if constant is None else constant
    slack = 1.09 if isinstance(layer, nn.Conv2d | nn.AvgPool2d) and constant is None else 1 + 1e-9
    assert true <= lipschitz_bound(layer, shape) <= true * slack


NONLINEAR = [  # overlapping windows: the constant is not that of the non-overlapping pool
    (nn.LPPool2d(2, 3, stride=1), (1, 5, 5)),
    (nn.LPPool2d(2, 2), (1, 4, 4)),
    (torchlip.MaxMin(), (6,)),
    (torchlip.GroupSort2(), (6,)),
]


@pytest.mark.parametrize(("layer", "shape"), NONLINEAR, ids=str)
def test_nonlinear_layers_against_the_largest_jacobian_found(layer, shape):
    torch.manual_seed(0)
    largest = 0.0
    ramp = 1 + 0.01 * torch.arange(math.prod(shape)).view(1, *shape)  # near-constant, without the ties of sorting
    for x in [ramp, *torch.randn(20, 1, *shape)]:
        jacobian = torch.autograd.functional.jacobian(layer, x.double())
        largest = max(largest, torch.linalg.matrix_norm(jacobian.reshape(-1, x.numel()), ord=2).item())
    assert largest <= lipschitz_bound(layer, shape) * (1 + 1e-12)


def test_overlapping_l2_pool_is_above_one():
    """Nine overlapping windows share the centre pixel; with a constant 1 this would be unsound."""
    layer = nn.LPPool2d(2, 3, stride=1)
    x = torch.zeros(1, 1, 5, 5, dtype=torch.float64)
    x[0, 0, 2, 2] = 1
    moved = layer(x).norm() / x.norm()
    assert moved > 2.9
    assert lipschitz_bound(layer, (1, 5, 5)) >= moved


class Unknown(nn.Module):
    def forward(self, x):
        return 2 * x


class DoubledLinear(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


REFUSED = [
    (Unknown(), (4,), "Unknown"),
    (
        DoubledLinear(4, 4),
        (4,),
        "DoubledLinear",
    ),  # a subclass computes something else: its parent's rule is no bound
    (nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"), (1, 6, 6), "reflect"),
    (nn.Conv2d(1, 1, 3, padding=1, padding_mode="replicate"), (1, 6, 6), "replicate"),
    (torchlip.SpectralConv2d(1, 2, 3, padding=1, padding_mode="reflect"), (1, 6, 6), "reflect"),
    (torchlip.SpectralConv2d(1, 2, 5, padding=2, padding_mode="symmetric"), (1, 6, 6), "symmetric"),
    (nn.AvgPool2d(2, ceil_mode=True), (1, 5, 5), "ceil_mode"),
    (nn.LPPool2d(2, 2, ceil_mode=True), (1, 5, 5), "ceil_mode"),
    (nn.LPPool2d(3, 2), (1, 4, 4), "norm_type"),
    (nn.AvgPool2d(3, padding=1, count_include_pad=False), (1, 6, 6), "count_include_pad"),
    (nn.BatchNorm2d(1), (1, 6, 6), "BatchNorm2d"),
]


@pytest.mark.parametrize(("layer", "shape", "named"), REFUSED, ids=lambda value: str(value)[:40])
def test_layers_without_a_rule_are_errors(layer, shape, named):
    with pytest.raises(UnsupportedError, match=named):
        lipschitz_bound(nn.Sequential(layer), shape)


def test_a_rule_is_registered_in_one_line():
    class Tripled(nn.Module):
        def forward(self, x):
            return 3 * x

    rule(Tripled)(lambda layer, input_shape: 3.0)
    assert lipschitz_bound(nn.Sequential(Tripled(), Tripled()), (4,)) == pytest.approx(9.0, rel=1e-12)


def test_weights_that_are_not_finite_are_refused():
    layer = nn.Linear(3, 2)
    layer.weight.data[0, 0] = float("nan")
    with pytest.raises(LipbenchError, match="NaN"):
        lipschitz_bound(layer, (3,))


def test_parametrised_and_exported_layers_get_the_same_bound():
    torch.manual_seed(0)
    model = torchlip.Sequential(
        torchlip.SpectralConv2d(1, 4, 3, padding=1),
        torchlip.GroupSort2(),
        nn.Flatten(),
        torchlip.SpectralLinear(64, 10),
    )
    model(torch.rand(2, 1, 4, 4))
    model.eval()
    exported = lipschitz_bound(model.vanilla_export(), (1, 4, 4))
    assert lipschitz_bound(model, (1, 4, 4)) == exported
    assert 0.5 < exported < 1.0001


def test_a_layer_used_twice_counts_twice():
    """``nn.Module.children`` leaves out the second use, ``forward`` does not."""
    shared = nn.Linear(4, 4, bias=False)
    shared.weight.data = 3 * torch.eye(4)
    sort = torchlip.GroupSort2()
    net = nn.Sequential(shared, sort, shared, sort)
    assert lipschitz_bound(net, (4,)) == pytest.approx(9.0, rel=1e-9)


def test_normalize_that_would_broadcast_is_refused():
    for layer in (Normalize([0.0] * 3, [1.0] * 3), Normalize([0.0], [0.0])):
        with pytest.raises(LipbenchError, match="Normalize"):
            lipschitz_bound(layer, (1, 4, 4))


def test_hooks_and_replaced_forwards_are_refused():
    hooked, replaced = nn.Linear(3, 2), nn.Linear(3, 2)
    hooked.register_forward_hook(lambda module, args, output: 10 * output)
    original = replaced.forward
    replaced.forward = lambda x: 10 * original(x)
    for layer in (hooked, replaced):
        with pytest.raises(UnsupportedError, match="hook"):
            lipschitz_bound(nn.Sequential(layer), (3,))


def test_each_layer_keeps_its_mode():
    net = nn.Sequential(nn.Linear(3, 2), nn.ReLU()).train()
    net[1].eval()
    lipschitz_bound(net, (3,))
    assert (net.training, net[0].training, net[1].training) == (True, True, False)
