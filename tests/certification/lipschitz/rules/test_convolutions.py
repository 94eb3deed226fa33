import itertools
import math

import pytest
import torch
from deel import torchlip
from measured import Forward, dense_norm
from torch import nn
from torch.nn import functional as F

from lipbench.certification.lipschitz import layer_effect, lipschitz_bound, norms
from lipbench.certification.lipschitz.norms import FREQUENCIES, spectral_norm, torus_norm
from lipbench.errors import LipbenchError

ROUNDING = 1 + 1e-10  # of the bound and of the dense norm that it is compared with


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def on_a_torus(monkeypatch):
    """Dense matrices are only for small layers: without them, as for large ones."""
    monkeypatch.setattr(norms, "CHEAP", 0)
    monkeypatch.setattr(norms, "COSTLY", 0)


MODES = ["zeros", "circular", "reflect", "replicate", "symmetric"]
SETTINGS = [  # kernel, stride, padding, dilation, groups, all of (height, width)
    ((3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((3, 2), (2, 1), (2, 1), (1, 1), 1),
    ((2, 3), (3, 2), (1, 2), (1, 2), 1),
    ((3, 3), (1, 1), (2, 2), (2, 2), 2),
    ((1, 2), (3, 4), (0, 1), (1, 3), 1),  # strides above the kernel
    ((5, 4), (1, 2), (3, 2), (1, 1), 2),
]


def conv2d(mode, setting, size=(7, 8)):
    kernel, stride, padding, dilation, groups = setting
    kind = torchlip.PadConv2d if mode == "symmetric" else nn.Conv2d
    layer = kind(2 * groups, 2 * groups, kernel, stride, padding, dilation, groups, padding_mode=mode)
    return layer, (2 * groups, *size)


def conv1d(mode, setting, size=(8,)):
    kernel, stride, padding, dilation, groups = setting
    kind = torchlip.PadConv1d if mode == "symmetric" else nn.Conv1d
    layer = kind(2 * groups, 3 * groups, kernel[1], stride[1], padding[1], dilation[1], groups, padding_mode=mode)
    return layer, (2 * groups, *size)


@pytest.mark.parametrize("make", [conv2d, conv1d])
@pytest.mark.parametrize(("mode", "setting"), list(itertools.product(MODES, SETTINGS)), ids=str)
def test_convolutions_get_their_dense_norm(make, mode, setting):
    layer, shape = make(mode, setting)
    true = dense_norm(layer, shape)
    assert true <= lipschitz_bound(layer, shape) <= true * ROUNDING


@pytest.mark.parametrize("make", [conv2d, conv1d])
@pytest.mark.parametrize(("mode", "setting"), list(itertools.product(MODES, SETTINGS)), ids=str)
def test_large_convolutions_are_never_below_it(make, mode, setting, on_a_torus):
    layer, shape = make(mode, setting)
    assert lipschitz_bound(layer, shape) >= dense_norm(layer, shape)


@pytest.mark.parametrize("size", [(12, 12), (16, 16)])
def test_zero_padding_costs_little_on_a_torus(size, on_a_torus):
    layer = nn.Conv2d(3, 4, 3, padding=1)
    true = dense_norm(layer, (3, *size))
    assert true <= lipschitz_bound(layer, (3, *size)) <= 1.09 * true


def test_a_kernel_larger_than_its_torus_wraps_around(on_a_torus):
    for layer in (
        nn.Conv2d(1, 1, 5, padding=2, padding_mode="circular"),
        nn.Conv2d(2, 2, 3, padding=4, dilation=4, padding_mode="circular"),
        nn.Conv2d(2, 2, 2, padding=1, dilation=2, groups=2, padding_mode="circular"),
    ):
        shape = (layer.in_channels, 4, 4)
        assert dense_norm(layer, shape) <= lipschitz_bound(layer, shape) <= dense_norm(layer, shape) * ROUNDING


def test_a_torus_that_the_stride_does_not_divide(on_a_torus):
    """Its frequencies are not those of a torus cut short: 0 and 2 pi / 3 miss the peak of 1 - e^(i w) at pi."""
    layer = nn.Conv1d(1, 1, 3, stride=2, padding_mode="circular", bias=False)
    layer.weight.data = torch.tensor([[[1.0, 0.0, -1.0]]])
    assert lipschitz_bound(layer, (1, 7)) >= dense_norm(layer, (1, 7)) == pytest.approx(math.sqrt(2 + math.sqrt(2)))


@pytest.mark.parametrize("layer", [nn.Conv1d(2, 3, 5, padding=2), nn.Conv1d(1, 2, 3, stride=2, dilation=3)], ids=str)
def test_frequencies_of_a_long_torus_are_sampled(layer, on_a_torus):
    """Ehlich and Zeller's factor must cover what lies between the sampled frequencies."""
    length = 2 * FREQUENCIES * layer.stride[0] + 10
    true = dense_norm(layer, (layer.in_channels, length))
    assert true <= lipschitz_bound(layer, (layer.in_channels, length)) <= 1.01 * true


def test_a_peak_between_two_sampled_frequencies_is_covered():
    """|1 + e^(i a) e^(i w)| is largest at w = -a: put between two samples, they alone would be below."""
    places, size = FREQUENCIES, 4 * FREQUENCIES
    angle = math.pi / places
    rotation = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    weight = torch.stack([torch.eye(2), rotation], dim=-1)[:, :, None].double()
    frequencies = 2 * math.pi * torch.arange(size) / size
    blocks = torch.eye(2) + torch.exp(1j * frequencies)[:, None, None] * rotation.to(torch.complex128)
    true = torch.linalg.matrix_norm(blocks, ord=2).max().item()
    sampled = torch.linalg.matrix_norm(blocks[:: size // places], ord=2).max().item()
    assert sampled < true * (1 - 1e-6)
    assert true <= torus_norm(weight, (1, size)) <= true * 1.001


TRANSPOSED = [  # kernel, stride, padding, output_padding, groups, dilation
    ((3, 3), (1, 1), (0, 0), (0, 0), 1, (1, 1)),
    ((3, 2), (2, 3), (1, 0), (1, 2), 1, (1, 1)),
    ((2, 3), (2, 2), (1, 2), (1, 0), 2, (2, 1)),
    ((2, 2), (3, 3), (0, 0), (2, 1), 1, (1, 3)),  # strides above the kernel
    ((4, 3), (2, 1), (3, 3), (0, 1), 1, (2, 2)),
]


@pytest.mark.parametrize("setting", TRANSPOSED, ids=str)
@pytest.mark.parametrize("dimensions", [1, 2])
@pytest.mark.parametrize("dense", [True, False])
def test_transposed_convolutions(setting, dimensions, dense, request):
    if not dense:
        request.getfixturevalue("on_a_torus")
    kernel, stride, padding, output_padding, groups, dilation = setting
    if dimensions == 1:
        layer = nn.ConvTranspose1d(
            2 * groups, groups, kernel[1], stride[1], padding[1], output_padding[1], groups, True, dilation[1]
        )
    else:
        layer = nn.ConvTranspose2d(2 * groups, groups, kernel, stride, padding, output_padding, groups, True, dilation)
    shape = (2 * groups, *(5, 6)[:dimensions])
    true = dense_norm(layer, shape)
    assert true <= lipschitz_bound(layer, shape)
    if dense:
        assert lipschitz_bound(layer, shape) <= true * ROUNDING


def symmetric(padding, stride=1):
    return torchlip.PadConv2d(1, 2, 3, stride, padding, padding_mode="symmetric")


ODD_PADDINGS = [
    (nn.Conv2d(1, 2, (2, 4), padding="same"), (1, 6, 6)),
    (nn.Conv2d(1, 2, (2, 4), padding="same", padding_mode="circular"), (1, 6, 6)),
    (nn.Conv2d(1, 2, 3, padding="same", dilation=2, padding_mode="replicate"), (1, 6, 6)),
    (nn.Conv2d(1, 2, 3, padding="valid"), (1, 6, 6)),
    (nn.Conv1d(1, 2, 4, padding="same", dilation=3), (1, 7)),
    (nn.Conv2d(1, 2, 3, padding=1, stride=2, padding_mode="circular"), (1, 5, 5)),  # does not divide the torus
    (nn.Conv2d(1, 2, 3, stride=2, padding_mode="circular"), (1, 5, 5)),
    (nn.Conv2d(1, 2, 3, padding=(4, 5), padding_mode="circular"), (1, 4, 5)),  # as much padding as there is input
    (symmetric(4), (1, 4, 4)),
    (symmetric(7), (1, 4, 4)),  # more padding than there is input: deel-torchlip takes what is there
    (symmetric(7, stride=3), (1, 4, 4)),
    (symmetric((2, 0)), (1, 5, 5)),  # deel-torchlip repeats the whole axis that has no padding
    (torchlip.PadConv1d(1, 2, 3, padding=1, padding_mode="symmetric"), (1, 5)),
]


@pytest.mark.parametrize(("layer", "shape"), ODD_PADDINGS, ids=str)
@pytest.mark.parametrize("dense", [True, False])
def test_odd_paddings(layer, shape, dense, request):
    if not dense:
        request.getfixturevalue("on_a_torus")
    assert dense_norm(layer, shape) <= lipschitz_bound(layer, shape)


def test_padding_that_repeats_inputs_has_a_norm_above_that_of_the_kernel():
    """With reflect padding a kernel of norm 1 has norm above 1: 361 of 500 points were broken under a claim of 1."""
    layer = nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect", bias=False)
    layer.weight.data.fill_(1 / 9)
    assert lipschitz_bound(layer, (1, 6, 6)) > 1.07


@pytest.mark.parametrize("padding", [(1, 1), (0, 2)])
def test_padding_that_was_changed_after_construction_counts(padding):
    """torch reads ``padding`` at each forward; the sides that it computed at construction are for other modes."""
    layer = nn.Conv2d(1, 1, 3, bias=False)
    layer.padding = padding
    layer.weight.data = torch.arange(9.0).view(1, 1, 3, 3)
    assert lipschitz_bound(layer, (1, 3, 3)) == pytest.approx(dense_norm(layer, (1, 3, 3)), rel=1e-9)


FUNCTIONS = [
    (lambda m, x: F.linear(x, m.matrix), (3, 4)),  # on the last dimension
    (lambda m, x: F.linear(x, m.matrix, m.bias), (4,)),
    (lambda m, x: F.linear(weight=m.matrix, input=x), (4,)),
    (lambda m, x: F.linear(x, m.matrix[0]), (2, 4)),  # a vector
    (lambda m, x: x @ m.matrix.T, (4,)),
    (lambda m, x: x @ m.matrix[0], (4,)),
    (lambda m, x: torch.matmul(x, m.matrix.T), (2, 4)),
    (lambda m, x: x.matmul(other=m.matrix.T), (2, 4)),
    (lambda m, x: torch.mm(x, m.matrix.T), (4,)),
    (lambda m, x: torch.mm(x, mat2=m.matrix.T), (4,)),
    (lambda m, x: F.conv2d(x, m.kernel), (2, 5, 5)),
    (lambda m, x: F.conv2d(input=x, weight=m.kernel, stride=(2,), padding="valid", dilation=(1, 2)), (2, 6, 6)),
    (lambda m, x: F.conv2d(x, m.kernel, None, 2, (1, 2)), (2, 5, 5)),
    (lambda m, x: F.conv2d(x, m.kernel, padding="same"), (2, 5, 5)),
    (lambda m, x: F.conv1d(x, m.kernel[..., 0], stride=2, padding=1, dilation=2), (2, 7)),
    (lambda m, x: F.conv1d(x, m.kernel[..., 0], padding="same"), (2, 7)),
    (lambda m, x: F.conv_transpose2d(x, m.kernel, stride=2, output_padding=1), (3, 3, 3)),
    (lambda m, x: F.conv_transpose1d(x, m.kernel[..., 0], padding=1, groups=3), (3, 4)),
    (lambda m, x: F.pad(x, (1, 2, 0, 1)), (1, 3, 3)),
    (lambda m, x: F.pad(x, (-1, 2), value=5.0), (1, 3, 3)),
    (lambda m, x: F.pad(x, (1, 1), mode="reflect"), (2, 4)),
    (lambda m, x: F.pad(x, (2, 1, 1, 1), mode="replicate"), (1, 3, 3)),
    (lambda m, x: F.pad(x, (3, 3, 1, 1), "circular"), (1, 3, 3)),
    (nn.ReflectionPad2d((2, 1, 0, 1)), (1, 4, 4)),
    (nn.ReplicationPad1d(3), (2, 4)),
    (nn.CircularPad2d(2), (1, 3, 4)),
    (nn.ZeroPad2d((-1, 2, 3, 0)), (1, 4, 4)),
]


@pytest.mark.parametrize(("function", "shape"), FUNCTIONS)
def test_functions_and_paddings_get_their_dense_norm(function, shape):
    network = function
    if not isinstance(function, nn.Module):
        network = Forward(function, matrix=torch.randn(3, 4), bias=torch.randn(3), kernel=torch.randn(3, 2, 3, 2))
    true = dense_norm(network, shape)
    assert true <= lipschitz_bound(network, shape) <= true * ROUNDING


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_types_are_taken_as_they_are(dtype):
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(18, 2)).to(dtype)
    assert lipschitz_bound(network, (1, 5, 5)) >= dense_norm(network, (1, 5, 5))


@pytest.mark.parametrize("scale", [1e-200, 1e-170, 1e170])
@pytest.mark.parametrize("dense", [True, False])
def test_squares_of_weights_may_overflow_or_vanish(scale, dense, request):
    if not dense:
        request.getfixturevalue("on_a_torus")
    for layer, shape in (
        (nn.Linear(3, 2, bias=False), (3,)),
        (nn.Linear(3, 1, bias=False), (3,)),
        (nn.Conv2d(2, 2, 3, bias=False), (2, 4, 4)),
        (nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect", bias=False), (2, 4, 4)),
    ):
        true = dense_norm(layer, shape)
        layer.double().weight.data *= scale
        assert true * scale * (1 - 1e-12) <= lipschitz_bound(layer, shape) < 10 * true * scale


def test_spectral_norm_is_rounded_up():
    for matrix in (torch.full((5, 5), 0.1, dtype=torch.float64), torch.full((1, 7), 0.1, dtype=torch.float64)):
        exact = math.sqrt(matrix.numel()) * 0.1  # rank 1: good to two roundings
        assert exact < spectral_norm(matrix) < exact * (1 + 1e-12)


@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (2, 2), (2, 3), (3, 6)])
def test_gains_bound_the_norm_of_the_absolute_weights(stride, dilation):
    """The error analysis is read off them: with stride and dilation 2, all taps have one phase."""
    for layer, shape in (
        (nn.Conv2d(2, 3, 3, stride=stride, dilation=dilation, padding=2, bias=False), (2, 14, 14)),
        (nn.ConvTranspose2d(3, 2, 3, stride=stride, dilation=dilation, bias=False), (3, 5, 5)),
        (nn.Conv2d(2, 3, 3, stride, 2, dilation, padding_mode="reflect", bias=False), (2, 14, 14)),
    ):
        (gain,) = layer_effect(layer, shape).rounding.gains
        layer.weight.data.abs_()
        assert dense_norm(layer, shape) <= gain


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (nn.Conv2d(3, 3, 1, groups=3), (5, 5), r"\(c, h, w\)"),  # torch would take the batch of 3 for channels
        (nn.Conv1d(3, 3, 1), (5,), r"\(c, l\)"),
        (nn.ConvTranspose2d(3, 3, 1), (5, 5), r"\(c, h, w\)"),
        (nn.Conv2d(3, 3, 1), (2, 5, 5), "does not accept"),
        (nn.Conv2d(1, 1, 9), (1, 5, 5), "does not accept"),
        (nn.Linear(3, 3), (4,), "does not accept"),
        (Forward(lambda m, x: F.linear(x[:, 0], m.w), w=torch.randn(3, 3)), (1,), "batch dimension"),
        (Forward(lambda m, x: x.squeeze(1) @ m.w, w=torch.randn(3, 3)), (1,), "batch dimension"),
        (Forward(lambda m, x: m.w @ x, w=torch.randn(3, 3)), (3,), "matrix product"),
        (Forward(lambda m, x: torch.matmul(x, m.w), w=torch.randn(3, 4, 4)), (3, 4), "matrix product"),
        (Forward(lambda m, x: F.linear(x, x)), (3,), "product of two"),
        (Forward(lambda m, x: F.conv2d(x, x.transpose(0, 1))), (1, 3, 3), "batch"),
        (Forward(lambda m, x: F.pad(x, (0, 0, 0, 0))), (3,), "batch"),
    ],
)
def test_inputs_that_torch_would_take_otherwise_are_refused(layer, shape, message):
    with pytest.raises(LipbenchError, match=message):
        lipschitz_bound(layer, shape)


def test_weights_that_are_not_finite_are_refused():
    for layer in (nn.Linear(3, 2), nn.Sequential(nn.Linear(3, 2))):
        next(layer.parameters()).data[0, 0] = float("nan")
        with pytest.raises(LipbenchError, match="NaN"):
            lipschitz_bound(layer, (3,))
    with pytest.raises(LipbenchError):
        lipschitz_bound(Forward(lambda m, x: F.linear(x, m.w), w=torch.full((2, 3), float("nan"))), (3,))
