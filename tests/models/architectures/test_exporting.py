"""The plain torch form of a trained network."""

import copy

import pytest
import torch
from chains import CASES, SETS, SHAPE, trained
from deel import torchlip
from torch import nn
from torch.nn.utils import parametrize

from lipbench.errors import LipbenchError
from lipbench.models.architectures import (
    CONSTRAINED,
    EXPORTED,
    UNCONSTRAINED,
    build,
    export,
    layers_of,
    plain_form,
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


class Halved(nn.Module):
    """A parametrisation that is no linear layer's."""

    def forward(self, weight):
        return weight / 2


class Own(nn.Module):
    """A layer of no library, with a parametrised parameter and a parametrised buffer."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(3.0))
        self.register_buffer("shift", torch.tensor(1.0))
        for name in ("scale", "shift"):
            parametrize.register_parametrization(self, name, Halved())

    def forward(self, x):
        return self.scale * x + self.shift


class Computed(nn.Module):
    """A layer whose weight is a property, and no parametrisation."""

    def __init__(self):
        super().__init__()
        self.raw = nn.Parameter(torch.tensor(3.0))

    @property
    def weight(self):
        return self.raw / 2

    def forward(self, x):
        return self.weight * x


def test_a_parametrised_layer_of_its_own_type_is_frozen_and_the_model_stays_as_it_is():
    model, x = nn.Sequential(Own(), Own()), torch.rand(3, 4)
    expected = model(x)
    plain = export(model, x)
    assert [type(layer) for layer in plain] == [Own, Own]
    assert {key: float(value) for key, value in plain[0].state_dict().items()} == {"scale": 1.5, "shift": 0.5}
    assert isinstance(plain[0].scale, nn.Parameter)
    assert dict(plain[0].named_buffers()).keys() == {"shift"}
    assert torch.equal(plain(x), expected)
    assert torch.equal(model(x), expected)  # both share a class with their copies
    assert parametrize.is_parametrized(model[0], "scale")
    again = plain_form(plain)
    assert torch.equal(again(x), expected)
    assert again.state_dict().keys() == plain.state_dict().keys()


@pytest.mark.parametrize(
    ("layer", "shape", "kind"),
    [
        (lambda: nn.Linear(4, 3), (4,), nn.Linear),
        (lambda: nn.Conv1d(2, 3, 3, padding=1, stride=2), (2, 6), nn.Conv1d),
        (lambda: nn.Conv2d(2, 4, 3, dilation=2, groups=2, padding_mode="circular", padding=1), (2, 6, 6), nn.Conv2d),
        (
            lambda: nn.ConvTranspose2d(2, 4, 3, stride=2, padding=1, output_padding=1, groups=2, dilation=2),
            (2, 5, 5),
            nn.ConvTranspose2d,
        ),
        (lambda: nn.ConvTranspose1d(2, 4, 3, stride=2), (2, 5), nn.ConvTranspose1d),
        (lambda: nn.Embedding(3, 4), None, nn.Embedding),
    ],
)
def test_a_parametrised_layer_of_torch_becomes_that_layer(layer, shape, kind):
    torch.manual_seed(0)
    made = parametrize.register_parametrization(layer(), "weight", Halved())
    x = torch.tensor([0, 2]) if shape is None else torch.rand(3, *shape)
    plain = export(nn.Sequential(made), x)
    assert type(plain[0]) is kind
    assert torch.equal(plain(x), made(x))
    assert not parametrize.is_parametrized(plain[0])


def test_a_set_of_layers_may_give_a_plain_form():
    model, x = nn.Sequential(Computed()), torch.rand(3, 4)
    with pytest.raises(LipbenchError, match="the layer Computed computes its weight and has no plain form"):
        export(model, x)

    def plain_of(layer):
        own = nn.Linear(4, 4, bias=False)
        own.weight.copy_(layer.weight * torch.eye(4))
        return own

    plain = export(model, x, {Computed: plain_of})
    assert type(plain[0]) is nn.Linear
    assert torch.equal(plain(x), model(x))
    with pytest.raises(LipbenchError, match="the plain form of Computed must be a module, got int"):
        export(model, x, {Computed: lambda layer: 3})
    with pytest.raises(LipbenchError, match="the plain form of Computed failed: ZeroDivisionError: division by zero"):
        export(model, x, {Computed: lambda layer: 1 / 0})
