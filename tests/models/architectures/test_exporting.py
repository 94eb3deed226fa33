"""The plain torch form of a trained network."""

import copy

import pytest
import torch
from chains import CASES, SETS, SHAPE, trained
from deel import torchlip
from torch import nn

from lipbench.errors import LipbenchError
from lipbench.models.architectures import (
    CONSTRAINED,
    EXPORTED,
    UNCONSTRAINED,
    build,
    export,
    layers_of,
)

pytest.importorskip("orthogonium")


@pytest.mark.parametrize("layers", SETS)
@pytest.mark.parametrize(("name", "args"), CASES)
def test_export_equals_the_trained_network(name, args, layers):
    model, x = trained(name, layers_of(layers, True), args), torch.rand(7, *SHAPE)
    latest = copy.deepcopy(model)(x)
    plain = export(model, x)
    assert not plain.training
    assert not model.training
    slack = 0.0 if layers == "torchlip" else 5e-6 * plain(x).abs().max().item()
    assert torch.allclose(plain(x), model(x), rtol=0, atol=slack)
    # its weights are those of the last step; deel-torchlip's eval mode would have shown the ones before it
    assert torch.allclose(plain(x), latest, rtol=0, atol=2e-3)
    rebuilt = build(name, EXPORTED, SHAPE, 10, args)
    rebuilt.load_state_dict(plain.state_dict())
    assert torch.equal(rebuilt(x), plain(x))
    assert [type(layer) for layer in plain.modules()] == [type(layer) for layer in rebuilt.modules()]


@pytest.mark.parametrize("layers", SETS)
def test_the_plain_form_has_nothing_in_common_with_the_model(layers):
    model, x = trained("resnet", layers_of(layers, True), {"channels": [4], "pool": "average"}), torch.rand(7, *SHAPE)
    plain = export(model, x)
    expected = plain(x)
    assert not {id(layer) for layer in plain.modules()} & {id(layer) for layer in model.modules()}
    with torch.no_grad():
        for parameter in (*model.parameters(), *model.buffers()):
            parameter.add_(1.0)
    assert torch.equal(plain(x), expected)


def test_an_unconstrained_network_is_its_own_plain_form():
    model, x = trained("cnn", UNCONSTRAINED, {"channels": [4], "batch_norm": True}), torch.rand(7, *SHAPE)
    before = copy.deepcopy(model.state_dict())
    plain = export(model, x)
    assert torch.equal(plain(x), model(x))
    assert all(torch.equal(value, before[key]) for key, value in plain.state_dict().items())  # no step of batch norm's


def test_export_refuses_a_network_that_differs(monkeypatch):
    model = build("mlp", CONSTRAINED, SHAPE, 10, {"widths": [4]})
    monkeypatch.setattr(
        torchlip.SpectralLinear, "vanilla_export", lambda self: nn.Linear(self.in_features, self.out_features)
    )
    with pytest.raises(LipbenchError, match="differs"):
        export(model, torch.rand(2, *SHAPE))


def test_layers_of_plugins_are_exported():
    """Strided orthogonal convolutions compute their weight by a property; containers of any kind are opened, also such
    as hold one layer twice.
    """
    from orthogonium.layers import AdaptiveOrthoConv2d

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.ModuleList([AdaptiveOrthoConv2d(1, 4, 4, stride=2, padding=1), torchlip.GroupSort2()])

        def forward(self, x):
            return self.inner[1](self.inner[0](x))

    torch.manual_seed(0)
    sort = torchlip.GroupSort2()
    head = torchlip.Sequential(nn.Flatten(), sort, torchlip.SpectralLinear(64, 4), sort)
    model, x = nn.Sequential(Block(), head), torch.rand(5, *SHAPE)
    for _ in range(10):
        model.train()(x)
    plain = export(model, x)
    assert torch.allclose(plain(x), model(x), atol=1e-5)
    assert type(plain[0].inner[0]) is nn.Conv2d
    assert [type(layer) for layer in plain[1]] == [nn.Flatten, torchlip.GroupSort2, nn.Linear, torchlip.GroupSort2]
