"""Models on disk: a card and weights, written and read."""

import sys

import pytest
import safetensors.torch
import torch
from chains import CASES, SETS, SHAPE, trained
from deel import torchlip
from torch import nn

from lipbench._internal import files
from lipbench._internal.registry import ARCHITECTURES
from lipbench.errors import LipbenchError
from lipbench.models import cards
from lipbench.models.architectures import EXPORTED, UNCONSTRAINED, build, export, layers_of
from lipbench.models.cards import Architecture, Card, Loss
from lipbench.models.stored import LoadedModel, load_model, serialize

pytest.importorskip("orthogonium")


def card(name, args, data: bytes, **fields) -> Card:
    return Card(
        name="model", data="digits", input_shape=SHAPE, num_classes=10, seed=0, loss=Loss(name="cross_entropy"),
        weights_sha256=files.sha256_bytes(data), architecture=Architecture(name=name, args=args, **fields),
    )  # fmt: skip


def stored(folder, module, name, args, **fields) -> LoadedModel:
    data = serialize(module)
    (folder / cards.WEIGHTS).write_bytes(data)
    cards.write(folder, card(name, args, data, **fields))
    return load_model(folder)


@pytest.mark.parametrize(("name", "args"), CASES)
def test_a_model_survives_the_disk_without_the_library_that_trained_it(name, args, tmp_path, monkeypatch):
    x = torch.rand(5, *SHAPE)
    plain = export(trained(name, layers_of("orthogonium", True), args), x)
    for module in [name for name in sys.modules if name.startswith("orthogonium")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "orthogonium", None)
    model = stored(tmp_path, plain, name, args, constrained=True, layers="orthogonium")
    assert torch.equal(model.module(x), plain(x))
    assert model.card.architecture.layers == "orthogonium"


@pytest.mark.parametrize("name", ["mlp", "cnn", "vgg", "resnet"])
def test_a_twin_with_batch_norm_survives_the_disk(name, tmp_path):
    args, x = {"widths": [8], "batch_norm": True}, torch.rand(5, *SHAPE)
    plain = export(trained(name, UNCONSTRAINED, args), x)
    module = stored(tmp_path, plain, name, args, constrained=False).module
    assert torch.equal(module(x), plain(x))
    counters = [value for key, value in module.state_dict().items() if key.endswith("num_batches_tracked")]
    assert counters
    assert all(value.dtype == torch.int64 and value == 3 for value in counters)


def with_own_layers(layers, input_shape, num_classes):
    """An architecture whose layers compute their weights: one of each library."""
    from orthogonium.layers import AdaptiveOrthoConv2d

    normed = nn.utils.parametrizations.weight_norm(nn.Conv2d(1, 4, 3))
    return [normed, AdaptiveOrthoConv2d(4, 4, 3), nn.Flatten(), torchlip.SpectralLinear(144, num_classes)]


def test_an_architecture_with_layers_of_its_own_survives_the_disk(tmp_path, monkeypatch):
    monkeypatch.setitem(ARCHITECTURES.given, "own", with_own_layers)
    x = torch.rand(5, *SHAPE)
    plain = export(trained("own", layers_of("torchlip", True), {}), x)
    module = stored(tmp_path, plain, "own", {}, constrained=True).module
    assert torch.equal(module(x), plain(x))
    assert [type(layer) for layer in module] == [nn.Conv2d, nn.Conv2d, nn.Flatten, nn.Linear]


def test_weights_of_another_type_are_refused(tmp_path):
    plain = build("mlp", EXPORTED, SHAPE, 10, {}).double()
    with pytest.raises(LipbenchError, match=r"float64, expected torch\.float32"):
        stored(tmp_path, plain, "mlp", {}, constrained=True)
    counted = build("mlp", UNCONSTRAINED, SHAPE, 10, {"batch_norm": True}).state_dict()
    (tmp_path / cards.WEIGHTS).write_bytes(data := safetensors.torch.save({k: v.float() for k, v in counted.items()}))
    cards.write(tmp_path, card("mlp", {"batch_norm": True}, data, constrained=False))
    with pytest.raises(LipbenchError, match=r"float32, expected torch\.int64"):
        load_model(tmp_path)


def test_a_card_says_which_layers_only_where_they_are_not_torchlips(tmp_path):
    """So that the digests of models that are there already stay what they are."""
    default, other = (card("mlp", {}, b"", constrained=True, layers=layers) for layers in SETS)
    assert default.plain()["architecture"] == {"name": "mlp", "constrained": True, "args": {}}
    assert other.plain()["architecture"]["layers"] == "orthogonium"
    for one in (default, other):
        cards.write(tmp_path, one)
        assert cards.read(tmp_path) == one
