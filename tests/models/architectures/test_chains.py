"""Every architecture: its bound, its shape, and that of its unconstrained twin."""

import pytest
import torch
from chains import CASES, SETS, SHAPE, trained
from deel import torchlip
from torch import nn

from lipbench.certification.certificate import certificate
from lipbench.certification.lipschitz import lipschitz_bound
from lipbench.errors import LipbenchError
from lipbench.models.architectures import EXPORTED, UNCONSTRAINED, build, export, layers_of

pytest.importorskip("orthogonium")


@pytest.mark.parametrize("layers", SETS)
@pytest.mark.parametrize(("name", "args"), CASES)
def test_the_bound_is_at_most_one_and_that_of_the_trained_network(name, args, layers):
    model, x = trained(name, layers_of(layers, True), args), torch.rand(20, *SHAPE)
    plain = export(model, x)
    proof = certificate(plain, SHAPE)
    assert proof.bound <= 1 + 1e-5
    if layers == "orthogonium":  # orthogonal layers reach 1; spectral convolutions do not
        assert proof.bound >= 1 - 1e-5
    assert lipschitz_bound(model, SHAPE) == pytest.approx(proof.bound, rel=1e-5)
    assert certificate(plain, SHAPE, dtype=torch.float32).not_analysed is None
    y = x + 0.1 * torch.randn_like(x)
    assert ((plain(y) - plain(x)).norm(dim=1) <= proof.bound * (y - x).flatten(1).norm(dim=1)).all()


def test_the_twin_with_batch_norm_is_certified():
    model = trained("resnet", UNCONSTRAINED, {"channels": [4], "widths": [8], "batch_norm": True})
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in model.modules()) == 3
    assert sum(isinstance(layer, nn.BatchNorm1d) for layer in model.modules()) == 1
    proof, x = certificate(export(model, torch.rand(2, *SHAPE)), SHAPE), torch.rand(20, *SHAPE)
    assert proof.not_analysed is None
    y = x + 0.1 * torch.randn_like(x)
    ratio = (model(y) - model(x)).norm(dim=1) / (y - x).flatten(1).norm(dim=1)
    assert 0 < ratio.max() <= proof.bound


@pytest.mark.parametrize(("name", "args"), CASES)
def test_the_twin_has_the_same_shape(name, args):
    chains = [build(name, layers, SHAPE, 10, args) for layers in (EXPORTED, UNCONSTRAINED)]
    weights, twins = ({key: value.shape for key, value in chain.state_dict().items()} for chain in chains)
    assert {key for key in weights if "shortcut" not in key} == twins.keys()  # x + g(x) has no weight
    assert all(weights[key] == twins[key] for key in twins)
    assert sum(isinstance(layer, nn.ReLU) for layer in chains[1].modules()) == sum(
        isinstance(layer, torchlip.GroupSort2) for layer in chains[0].modules()
    )
    assert not any(isinstance(layer, torchlip.GroupSort2) for layer in chains[1].modules())


@pytest.mark.parametrize("layers", SETS)
@pytest.mark.parametrize("name", ["mlp", "cnn", "vgg", "resnet"])
def test_heads_of_one_logit_and_planes_that_are_not_square(name, layers):
    model = build(name, layers_of(layers, True), (3, 9, 12), 1, {"widths": [8]})
    assert export(model, torch.rand(2, 3, 9, 12)).eval()(torch.rand(5, 3, 9, 12)).shape == (5, 1)


def test_vgg_is_the_papers():
    """The paper speaks of 0.4 M parameters: 471,520 in its convolutions, 17,802 in its dense layers."""
    chain = build("vgg", EXPORTED, (3, 32, 32), 10, {})
    kinds = [type(layer).__name__ for layer in chain if not isinstance(layer, torchlip.GroupSort2)]
    convolutions = [kind for count in (2, 3, 3) for kind in ["Conv2d"] * count + ["LPPool2d"]]
    assert kinds == [*convolutions, "Flatten", "Linear", "Linear"]
    assert [layer.kernel_size for layer in chain if isinstance(layer, nn.LPPool2d)] == [2, 2, (8, 8)]
    assert sum(parameter.numel() for parameter in chain.parameters()) == 471_520 + 17_802


@pytest.mark.parametrize("layers", [*SETS, "exported"])
@pytest.mark.parametrize("name", ["mlp", "cnn", "vgg", "resnet"])
def test_batch_norm_is_for_unconstrained_twins_only(name, layers):
    chosen = EXPORTED if layers == "exported" else layers_of(layers, True)
    with pytest.raises(LipbenchError, match="unconstrained twins only"):
        build(name, chosen, SHAPE, 10, {"batch_norm": True})
