"""Layers of a graph: built from what the file says, they compute the same; what the file cannot say is refused."""

import pytest
import torch
from deel import torchlip
from torch import nn

from lipbench.models.architectures import ConvexCombination, Normalize
from lipbench.models.fast_layers import L2Pool, SortPairs
from lipbench.models.graphs import layers
from lipbench.models.weights import load_into

orthogonium = pytest.importorskip("orthogonium.layers.custom_activations")
centering = pytest.importorskip("orthogonium.layers.normalization")
shuffle = pytest.importorskip("orthogonium.layers.channel_shuffle")

IMAGE, LINE, VECTOR = (4, 6, 6), (4, 8), (8,)
# one or more of each type in the table, with settings that are not the defaults, and the inputs that it takes
EXAMPLES = [
    (lambda: nn.Linear(8, 3), VECTOR), (lambda: nn.Linear(8, 3, bias=False), VECTOR),
    (lambda: nn.Conv1d(4, 6, 3, 2, 1, 2, 2, padding_mode="circular"), LINE),
    (lambda: nn.Conv2d(4, 6, (3, 1), (1, 2), (2, 0), 1, 2, bias=False, padding_mode="reflect"), IMAGE),
    (lambda: nn.Conv2d(4, 6, 3, padding="same"), IMAGE),
    (lambda: nn.ConvTranspose1d(4, 6, 3, 2, 1, 1, 2), LINE),
    (lambda: nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, 2, False, 2), IMAGE),
    (lambda: nn.BatchNorm1d(4, 1e-3, 0.2), LINE), (lambda: nn.BatchNorm2d(4, affine=False), IMAGE),
    (nn.ReLU, VECTOR), (lambda: nn.ReLU(inplace=True), VECTOR), (nn.ReLU6, VECTOR),
    (lambda: nn.Hardtanh(-0.3, 0.2), VECTOR), (lambda: nn.LeakyReLU(0.3), VECTOR), (lambda: nn.RReLU(0.1, 0.5), VECTOR),
    (lambda: nn.PReLU(4, 0.7), IMAGE), (nn.Sigmoid, VECTOR), (nn.Tanh, VECTOR), (nn.Tanhshrink, VECTOR),
    (nn.LogSigmoid, VECTOR), (nn.Softsign, VECTOR), (lambda: nn.Softshrink(0.1), VECTOR), (nn.SELU, VECTOR),
    (nn.SiLU, VECTOR), (nn.Mish, VECTOR), (nn.Hardsigmoid, VECTOR), (nn.Hardswish, VECTOR),
    (lambda: nn.GELU("tanh"), VECTOR), (lambda: nn.ELU(0.5), VECTOR), (lambda: nn.CELU(0.5), VECTOR),
    (lambda: nn.AvgPool2d(3, 2, 1, True, False, 5), IMAGE), (lambda: nn.AdaptiveAvgPool2d((2, None)), IMAGE),
    (lambda: nn.AdaptiveMaxPool2d(4), IMAGE), (lambda: nn.LPPool2d(2, 2, 1, True), IMAGE),
    (lambda: nn.MaxPool2d(3, 2, 1, 1, ceil_mode=True), IMAGE), (lambda: nn.Flatten(2), IMAGE),
    (lambda: nn.Unflatten(1, (2, 4)), VECTOR), (nn.Identity, VECTOR), (lambda: nn.Dropout(0.3), VECTOR),
    (lambda: nn.Dropout1d(0.3), LINE), (lambda: nn.Dropout2d(0.3), IMAGE), (lambda: nn.Dropout3d(0.3), (2, 2, 2, 2)),
    (lambda: nn.AlphaDropout(0.3), VECTOR), (lambda: nn.PixelShuffle(2), IMAGE), (lambda: nn.PixelUnshuffle(3), IMAGE),
    (lambda: nn.ChannelShuffle(2), IMAGE), (lambda: nn.ReflectionPad1d((1, 2)), LINE),
    (lambda: nn.ReflectionPad2d((1, 2, 3, 4)), IMAGE), (lambda: nn.ReplicationPad1d((1, 2)), LINE),
    (lambda: nn.ReplicationPad2d((1, 2, 3, 4)), IMAGE), (lambda: nn.ZeroPad1d((1, 2)), LINE),
    (lambda: nn.ZeroPad2d((1, 2, 3, 4)), IMAGE), (lambda: nn.CircularPad1d((1, 2)), LINE),
    (lambda: nn.CircularPad2d((1, 2, 3, 4)), IMAGE), (lambda: nn.Unfold(2, 2, 1, 2), IMAGE),
    (lambda: torchlip.GroupSort(4, 0.5), IMAGE), (lambda: torchlip.GroupSort2(0.5), IMAGE),
    (lambda: torchlip.FullSort(0.5), VECTOR), (lambda: torchlip.MaxMin(2, 0.5), IMAGE),
    (lambda: torchlip.LPReLU(4, 0.7, 0.5), IMAGE), (lambda: torchlip.HouseHolder(4, 1.0), IMAGE),
    (lambda: torchlip.ScaledAvgPool2d((2, 3), k_coef_lip=0.5), IMAGE),
    (lambda: torchlip.ScaledAdaptiveAvgPool2d((1, 1), 0.5), IMAGE),
    (lambda: torchlip.ScaledL2NormPool2d(2, k_coef_lip=0.5), IMAGE),
    (lambda: torchlip.ScaledAdaptativeL2NormPool2d((1, 1), 0.5), IMAGE), (torchlip.LipResidual, (VECTOR, VECTOR)),
    (lambda: torchlip.ScaleBiasLayer(0.3, 4), IMAGE), (lambda: torchlip.ScaleBiasLayer(0.3, 4, bias=False), IMAGE),
    (lambda: torchlip.LayerCentering(4, (-1,)), IMAGE), (lambda: torchlip.LayerCentering(4, bias=False), IMAGE),
    (lambda: torchlip.InvertibleDownSampling(3), IMAGE), (lambda: torchlip.InvertibleUpSampling(2), IMAGE),
    (lambda: torchlip.PadConv1d(4, 6, 5, padding=2, padding_mode="symmetric"), LINE),
    (lambda: torchlip.PadConv2d(4, 6, 5, 2, 2, padding_mode="symmetric"), IMAGE),
    (lambda: torchlip.PadConv2d(4, 6, 3, padding=1, padding_mode="circular"), IMAGE),
    (orthogonium.Abs, IMAGE), (lambda: orthogonium.MaxMin(2), IMAGE), (lambda: orthogonium.SoftHuber(0.2), IMAGE),
    (lambda: orthogonium.HouseHolder(4), IMAGE), (lambda: shuffle.ChannelShuffle(2, 2), IMAGE),
    (lambda: centering.LayerCentering2D(4), IMAGE), (lambda: Normalize((0.1, 0.2, 0.3, 0.4), (1, 2, 3, 4)), IMAGE),
    (ConvexCombination, (VECTOR, VECTOR)), (SortPairs, IMAGE), (lambda: L2Pool(nn.LPPool2d(2, (2, 3))), IMAGE),
]  # fmt: skip


def filled(layer: nn.Module) -> nn.Module:
    """The layer with weights that are not those of a new one."""
    torch.manual_seed(0)
    for tensor in (*layer.parameters(), *layer.buffers()):
        if tensor.is_floating_point():
            tensor.data.uniform_(0.1, 0.9)
    return layer.eval()


def built(spec, layer: nn.Module) -> nn.Module:
    again = layers.build(layers.LayerSpec.model_validate_json(spec.model_dump_json()))
    load_into(again, layer.state_dict(), "test", assign=True)
    return again


@pytest.mark.parametrize(("make", "shape"), EXAMPLES)
def test_a_layer_comes_back_the_same(make, shape):
    layer = filled(make())
    again = built(layers.layer_spec(layer, "name"), layer)
    assert not again.training
    shapes = shape if isinstance(shape[0], tuple) else [shape]
    x = [torch.randn(3, *one) for one in shapes]
    assert torch.equal(again(*(one.clone() for one in x)), layer(*x))
    assert layers.layer_spec(again, "name") == layers.layer_spec(layer, "name")


def test_the_examples_are_of_all_types():
    assert {layers.layer_spec(make(), "name").type for make, _ in EXAMPLES} == set(layers.LAYERS)


class Scaled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


@pytest.mark.parametrize("layer", [Scaled(2, 2), nn.LayerNorm(2), torchlip.BatchCentering(2)])
def test_other_layers_have_no_form(layer):
    assert layers.layer_spec(layer, "name") is None


def changed(layer, **attributes):
    for name, value in attributes.items():
        setattr(layer, name, value)
    return layer


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (lambda: changed(torchlip.ScaledAvgPool2d(2), scalingFactor=5.0), "scalingFactor was changed to 5"),
        (lambda: nn.Hardtanh(0.0, float("inf")), "inf"),
        (lambda: changed(nn.Conv2d(1, 1, 3), _reversed_padding_repeated_twice=(1, 1, 1, 1)), "was changed"),
    ],
)
def test_a_setting_that_the_file_cannot_say_is_refused(layer, message):
    with pytest.raises(ValueError, match=message):
        layers.layer_spec(layer(), "name")
