"""Layers of deel-torchlip and orthogonium, as they are trained and as they are exported."""

import copy

import pytest
import torch
from deel import torchlip
from measured import Forward, dense_norm, largest_jacobian, points
from torch import nn

from lipbench.certification.lipschitz import lipschitz_bound
from lipbench.errors import LipbenchError, UnsupportedError

layers = pytest.importorskip("orthogonium.layers")
aol = pytest.importorskip("orthogonium.layers.conv.AOL")
soc = pytest.importorskip("orthogonium.layers.conv.adaptiveSOC")
sll = pytest.importorskip("orthogonium.layers.conv.SLL.sll_layer")
residual = pytest.importorskip("orthogonium.layers.residual")


def served(make) -> nn.Module:
    """A layer or network after one forward in training mode, which computes its weights, in eval mode."""
    torch.manual_seed(0)
    module, shape = make()
    module.train()(torch.randn(2, *shape))
    for name, parameter in module.named_parameters():
        if name.endswith("bias"):
            parameter.data.normal_()
    return module.eval(), shape


TORCHLIP = [
    lambda: (torchlip.SpectralLinear(6, 4), (6,)),
    lambda: (torchlip.SpectralLinear(6, 4, k_coef_lip=3.0), (6,)),
    lambda: (torchlip.FrobeniusLinear(6, 1), (6,)),
    lambda: (torchlip.FrobeniusLinear(6, 4, disjoint_neurons=True), (6,)),  # 1 per row: more for all of them
    lambda: (torchlip.SpectralConv2d(2, 3, 3, padding=1), (2, 6, 6)),
    lambda: (torchlip.SpectralConv2d(2, 3, 3, stride=2, padding=1), (2, 6, 6)),
    lambda: (torchlip.SpectralConv2d(2, 3, 3, padding=1, padding_mode="reflect"), (2, 6, 6)),
    lambda: (torchlip.SpectralConv2d(2, 3, 5, padding=2, padding_mode="replicate"), (2, 6, 6)),
    lambda: (torchlip.SpectralConv2d(2, 3, 3, padding=1, padding_mode="circular"), (2, 6, 6)),
    lambda: (torchlip.SpectralConv2d(2, 3, 3, padding=1, padding_mode="symmetric"), (2, 6, 6)),
    lambda: (torchlip.SpectralConv2d(2, 3, 5, padding=2, padding_mode="symmetric"), (2, 6, 6)),
    lambda: (torchlip.SpectralConv1d(2, 3, 3, padding=1, padding_mode="symmetric"), (2, 6)),
    lambda: (torchlip.SpectralConv1d(2, 3, 3, padding=1), (2, 6)),
    lambda: (torchlip.SpectralConvTranspose2d(3, 2, 3, stride=2), (3, 4, 4)),
    lambda: (torchlip.FrobeniusConv2d(2, 1, 3, padding=1), (2, 6, 6)),
    lambda: (torchlip.InvertibleDownSampling(2), (2, 6, 6)),
    lambda: (torchlip.InvertibleUpSampling(2), (4, 3, 3)),
]


@pytest.mark.parametrize("make", TORCHLIP)
def test_torchlip_layers_get_their_dense_norm_and_that_of_their_export(make):
    layer, shape = served(make)
    true, bound = dense_norm(layer, shape), lipschitz_bound(layer, shape)
    assert true <= bound <= true * (1 + 1e-6)
    assert lipschitz_bound(layer.vanilla_export(), shape) == bound


def test_a_torchlip_network_and_its_export():
    model, shape = served(
        lambda: (
            torchlip.Sequential(
                torchlip.SpectralConv2d(1, 4, 3, padding=1),
                torchlip.GroupSort2(),
                torchlip.ScaledL2NormPool2d(2),
                nn.Flatten(),
                torchlip.SpectralLinear(36, 10),
            ),
            (1, 6, 6),
        )
    )
    exported = lipschitz_bound(model.vanilla_export(), shape)
    assert lipschitz_bound(model, shape) == pytest.approx(exported, rel=1e-12)
    assert 0.5 < exported < 1.0001


def test_a_claimed_coefficient_is_not_believed():
    """Sequential(k_coef_lip=8) only reaches the layers that read their coefficient late."""
    model = torchlip.Sequential(torchlip.SpectralLinear(4, 4), torchlip.GroupSort2(), k_coef_lip=8)
    model(torch.randn(2, 4))
    bound = lipschitz_bound(model.eval(), (4,))
    assert largest_jacobian(model, points((4,))) <= bound < 4


CONVOLUTIONS = [
    lambda: (layers.AdaptiveOrthoConv2d(4, 4, 3, padding=1), (4, 6, 6)),  # circular by default
    lambda: (layers.AdaptiveOrthoConv2d(4, 6, 3, padding=1, padding_mode="zeros"), (4, 6, 6)),
    lambda: (layers.AdaptiveOrthoConv2d(4, 4, 3), (4, 6, 6)),  # padding="same"
    lambda: (layers.AdaptiveOrthoConv2d(4, 8, 2, stride=2, padding=0), (4, 6, 6)),
    lambda: (layers.AdaptiveOrthoConv2d(4, 8, 4, stride=2, padding=1), (4, 6, 6)),
    lambda: (layers.AdaptiveOrthoConv2d(4, 8, 4, stride=2, padding=1, padding_mode="zeros"), (4, 6, 6)),
    lambda: (layers.AdaptiveOrthoConv2d(8, 8, 3, padding=1, groups=2, bias=False), (8, 4, 4)),
    lambda: (layers.AdaptiveOrthoConvTranspose2d(8, 4, 2, stride=2), (8, 3, 3)),
    lambda: (layers.AdaptiveOrthoConvTranspose2d(8, 4, 4, stride=2, padding=1), (8, 3, 3)),
    lambda: (layers.AdaptiveOrthoConvTranspose2d(4, 4, 3, padding=1), (4, 4, 4)),
    lambda: (aol.AOLConv2D(3, 5, 3, padding=1), (3, 5, 5)),
    lambda: (aol.AOLConv2D(3, 5, 3, padding=1, stride=2, padding_mode="reflect", niter=3), (3, 5, 5)),
    lambda: (aol.AOLConvTranspose2D(5, 3, 3, stride=2), (5, 3, 3)),
    lambda: (soc.AdaptiveSOCConv2d(4, 4, 3, padding=2), (4, 6, 6)),
    lambda: (layers.OrthoLinear(6, 4), (6,)),
    lambda: (layers.OrthoLinear(4, 6), (4,)),
    lambda: (layers.UnitNormLinear(6, 4), (6,)),
]


@pytest.mark.parametrize("make", CONVOLUTIONS)
def test_orthogonium_layers_get_their_dense_norm_and_that_of_their_export(make):
    layer, shape = served(make)
    network = nn.Sequential(layer)  # vanilla_model replaces the children of a module
    true, bound = dense_norm(network, shape), lipschitz_bound(network, shape)
    assert bound == pytest.approx(true, rel=1e-5)
    assert bound >= true * (1 - 1e-6)  # each computation of the weights moves the power iteration's buffers
    exported = torchlip.vanilla_model(network, in_place=False)
    assert type(exported[0]).__module__.startswith("torch.nn.modules")
    assert dense_norm(exported, shape) <= lipschitz_bound(exported, shape)
    assert lipschitz_bound(exported, shape) == pytest.approx(bound, rel=1e-6)


ACTIVATIONS = [
    (layers.MaxMin(), (6, 3, 3), 1),
    (layers.MaxMin(), (4,), 1),
    (layers.Abs(), (4,), 1),
    (layers.HouseHolder(4), (4, 3, 3), 2**-0.5),
    (layers.ChannelShuffle(2, 3), (6, 2, 2), 1),
    (layers.LayerCentering2D(3), (3, 4, 4), 1),
    (layers.BatchCentering2D(3), (3, 4, 4), 1),
    (pytest.importorskip("orthogonium.layers.custom_activations").SoftHuber(0.05), (4,), 1),
]


@pytest.mark.parametrize(("layer", "shape", "constant"), ACTIVATIONS, ids=lambda value: str(value)[:30])
def test_other_orthogonium_layers(layer, shape, constant):
    torch.manual_seed(0)
    for parameter in layer.parameters():
        parameter.data.normal_()
    bound = lipschitz_bound(layer, shape)
    assert bound == pytest.approx(constant, rel=1e-9)
    found = largest_jacobian(layer, points(shape, 4))
    assert 0.99 * constant <= found <= bound * (1 + 1e-9)


def test_batch_centering_after_training():
    layer, shape = served(lambda: (layers.BatchCentering2D(3), (3, 4, 4)))
    assert lipschitz_bound(layer, shape) == pytest.approx(dense_norm(layer, shape), rel=1e-9)


def convolution():
    return layers.AdaptiveOrthoConv2d(4, 4, 3, padding=1, bias=False)


RESIDUALS = [  # the block, and its constant for a function of constant 1
    (lambda: residual.ConcatResidual(layers.AdaptiveOrthoConv2d(2, 2, 3, padding=1)), 1.0),
    (lambda: residual.AdditiveResidual(convolution(), 0.7), 1.0),
    (lambda: residual.PrescaledAdditiveResidual(convolution(), -1.7), 1.0),
    (lambda: residual.AdditiveResidual(nn.Sequential(convolution(), layers.MaxMin(), convolution())), 1.0),
]


@pytest.mark.parametrize(("make", "constant"), RESIDUALS)
def test_residual_blocks_are_opened(make, constant):
    network, shape = served(lambda: (nn.Sequential(make(), layers.MaxMin()), (4, 4, 4)))
    bound = lipschitz_bound(network, shape)
    assert bound == pytest.approx(constant, rel=1e-5)
    assert largest_jacobian(network, points(shape, 2)) <= bound
    assert lipschitz_bound(torchlip.vanilla_model(network, in_place=False), shape) == pytest.approx(bound, rel=1e-6)


def test_the_residual_weight_is_that_of_the_network():
    block = residual.PrescaledAdditiveResidual(nn.Linear(3, 3, bias=False), 2.0)
    block.fn.weight.data = 5 * torch.eye(3)
    assert lipschitz_bound(block, (3,)) == pytest.approx((1 + 2 * 5) / 3, rel=1e-6)
    block = residual.AdditiveResidual(block.fn, 0.0)
    assert lipschitz_bound(block, (3,)) == pytest.approx(3.0, rel=1e-6)


def test_lip_residual():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.join = nn.Linear(3, 3, bias=False), torchlip.LipResidual()
            self.linear.weight.data = -5 * torch.eye(3)
            self.join.alpha.data.fill_(1.0)

        def forward(self, x):
            return self.join(x, y=self.linear(input=x))

    share = torch.sigmoid(torch.tensor(1.0)).item()
    assert lipschitz_bound(Block(), (3,)) == pytest.approx(share + 5 * (1 - share), rel=1e-6)
    broadcast = Forward(lambda m, x: m.join(x, x[:, :1]), join=torchlip.LipResidual())
    with pytest.raises(LipbenchError, match="one shape"):
        lipschitz_bound(broadcast, (3,))


SLL = [
    lambda: (sll.SDPBasedLipschitzResBlock(2, 2), (2, 5, 5)),
    lambda: (sll.SDPBasedLipschitzResBlock(2, 1, kernel_size=2), (2, 5, 5)),
    lambda: (sll.SDPBasedLipschitzResBlock(4, 2, groups=2), (4, 4, 4)),
    lambda: (sll.SDPBasedLipschitzDense(6, 6, 9), (6,)),
]


@pytest.mark.parametrize("make", SLL)
def test_sll_blocks_are_one(make):
    block, shape = served(make)
    bound = lipschitz_bound(nn.Sequential(block), shape)
    assert 1.0 <= bound <= 1 + 1e-6
    assert largest_jacobian(block, points(shape, 4)) <= bound


def test_sll_blocks_of_large_weights_are_above_one():
    """1 follows from the normalisation of the weights; with others the block reflects."""
    block = sll.SDPBasedLipschitzDense(3, 3, 3)
    block.compute_t = lambda: torch.full((3,), 4.0)
    block.weight.data = torch.eye(3)
    block.bias.data.fill_(9.0)
    assert dense_norm(block, (3,)) == pytest.approx(7.0)
    assert lipschitz_bound(block, (3,)) == pytest.approx(7.0, rel=1e-9)


def test_sll_blocks_with_another_activation_are_refused():
    for block, shape in ((sll.SDPBasedLipschitzResBlock(2, 2), (2, 5, 5)), (sll.SDPBasedLipschitzDense(4, 4, 4), (4,))):
        block.activation = torchlip.GroupSort2()
        with pytest.raises(UnsupportedError, match="ReLU"):
            lipschitz_bound(block, shape)


def test_blocks_without_a_rule_are_refused_by_name():
    with pytest.raises(UnsupportedError, match=r"sqrt|pow"):
        lipschitz_bound(residual.L2NormResidual(nn.Linear(3, 3)), (3,))
    with pytest.raises(UnsupportedError, match="atan2"):
        lipschitz_bound(layers.HouseHolder_Order_2(4), (4, 3, 3))


@pytest.mark.parametrize(
    "make",
    [
        lambda: (nn.Sequential(torchlip.SpectralConv2d(1, 2, 3, padding=1)), (1, 5, 5)),  # not torch's own forward
        lambda: (nn.Sequential(torchlip.SpectralLinear(3, 3)), (3,)),
        lambda: (nn.Sequential(sll.SDPBasedLipschitzResBlock(2, 2)), (2, 5, 5)),
        lambda: (nn.Sequential(convolution(), torchlip.BatchLipNorm(4)), (4, 4, 4)),
    ],
)
def test_the_network_that_was_given_is_not_changed(make):
    """torch's remove_parametrizations spoils the class that a copy shares with its original."""
    network, shape = served(make)
    x = torch.randn(2, *shape)
    expected = network(x)
    before = copy.deepcopy(network.state_dict())
    bound = lipschitz_bound(network.train(), shape)
    after = network.state_dict()
    assert network.training
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert torch.allclose(network.eval()(x), expected, atol=1e-6)
    assert lipschitz_bound(network, shape) == pytest.approx(bound, rel=1e-6)


class Scaled(nn.Module):
    """A parametrisation with a parametrised layer of its own."""

    def __init__(self):
        super().__init__()
        self.factor = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4, bias=False))

    def forward(self, weight):
        return self.factor(weight)


def test_parametrisations_within_parametrisations():
    network = nn.Sequential(nn.Linear(4, 4))
    nn.utils.parametrize.register_parametrization(network[0], "weight", Scaled())
    assert lipschitz_bound(network, (4,)) == pytest.approx(dense_norm(network, (4,)), rel=1e-9)
    expected = torch.linalg.matrix_norm(network[0].weight.detach().double(), ord=2).item()
    assert lipschitz_bound(network, (4,)) == pytest.approx(expected, rel=1e-6)


def test_weights_that_cannot_be_computed_are_refused():
    class Broken(nn.Module):
        broken = False

        def forward(self, weight):
            if self.broken:
                raise OSError("no such device")
            return weight

    layer = nn.Linear(4, 4)
    nn.utils.parametrize.register_parametrization(layer, "weight", Broken())
    Broken.broken = True
    with pytest.raises(LipbenchError, match="no such device"):
        lipschitz_bound(layer, (4,))


@pytest.mark.parametrize("name", ["weight_norm", "spectral_norm", "orthogonal"])
def test_parametrisations_of_torch(name):
    layer = getattr(nn.utils.parametrizations, name)(nn.Linear(4, 4)).eval()
    assert lipschitz_bound(layer, (4,)) == pytest.approx(
        torch.linalg.matrix_norm(layer.weight.detach().double(), ord=2).item(), rel=1e-9
    )
