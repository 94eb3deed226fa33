import copy
import importlib.metadata
import sys

import pytest
import safetensors.torch
import torch
from deel import torchlip
from torch import nn

from lipbench import cli
from lipbench._internal import files
from lipbench._internal.registry import ARCHITECTURES
from lipbench.certification.certificate import certificate
from lipbench.certification.lipschitz import lipschitz_bound
from lipbench.errors import LipbenchError
from lipbench.models import architectures, cards
from lipbench.models import stored as zoo
from lipbench.models.architectures import (
    CONSTRAINED,
    EXPORTED,
    UNCONSTRAINED,
    ConvexCombination,
    Layers,
    Normalize,
    build,
    export,
    layers_of,
    summary,
)
from lipbench.models.architectures.bjorck import BjorckBy
from lipbench.models.cards import Architecture, Card, Loss
from lipbench.models.stored import load_model, serialize

pytest.importorskip("orthogonium")
SETS = ("torchlip", "orthogonium")
SHAPE = (1, 8, 8)
CASES = [
    ("mlp", {"widths": [16, 8]}),
    ("cnn", {"channels": [4, 6], "widths": [8]}),
    ("cnn", {"channels": [4, 6], "pool": "average", "padding": "circular"}),
    ("vgg", {"blocks": [[4, 4], [6, 6]], "widths": [8]}),
    ("resnet", {"channels": [4, 6], "blocks": 2, "widths": [8]}),
    ("resnet", {"channels": [4], "widths": [], "pool": "average", "padding": "circular"}),
]


def trained(name, layers: Layers, args, num_classes: int = 10, shape=SHAPE) -> nn.Sequential:
    """A network after three steps, in training mode: without them, its weights in both modes would be the same."""
    torch.manual_seed(0)
    model, x = build(name, layers, shape, num_classes, args), torch.rand(32, *shape)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(3):
        optimizer.zero_grad()
        (model(x) - torch.randn(32, num_classes)).square().mean().backward()
        optimizer.step()
    return model


# --- the plain form --------------------------------------------------------------------------------------------------


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
    with pytest.raises(RuntimeError, match="differs"):
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


# --- what it is certified with ---------------------------------------------------------------------------------------


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


# --- shapes ----------------------------------------------------------------------------------------------------------


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


def test_a_residual_block_computes_what_it_says():
    block = build("resnet", EXPORTED, (4, 8, 8), 10, {"channels": [4]})[2]
    block.shortcut.weight.data.fill_(0.25)
    x = torch.rand(2, 4, 8, 8)
    first, activation, second = block.branch
    expected = 0.25 * x + 0.75 * second(activation(first(x)))
    assert torch.allclose(block(x), expected)
    twin = build("resnet", UNCONSTRAINED, (4, 8, 8), 10, {"channels": [4]})[2]
    assert torch.allclose(twin(x), x + twin.branch(x))


def test_normalize():
    x = torch.rand(2, 3, 4, 4)
    got = Normalize([0.1, 0.2, 0.3], [0.5, 0.25, 1.0])(x)
    assert torch.allclose(got[:, 1], (x[:, 1] - 0.2) / 0.25)
    assert got.dtype == x.dtype


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0, 1.5, -0.5])
def test_a_combination_of_two_multiples(weight):
    """w x + (1 - w) (-3 x) has the constant |w - 3 (1 - w)|, at most |w| + 3 |1 - w|."""
    block = architectures.Residual(nn.Linear(4, 4, bias=False), ConvexCombination())
    block.branch.weight.data = -3 * torch.eye(4)
    block.shortcut.weight.data.fill_(weight)
    assert lipschitz_bound(block, (4,)) == pytest.approx(abs(weight) + 3 * abs(1 - weight), rel=1e-6)


def test_a_combination_of_two_shapes_is_refused():
    block = architectures.Residual(nn.Linear(4, 1), ConvexCombination())
    with pytest.raises(LipbenchError, match="one shape"):
        lipschitz_bound(block, (4,))


# --- on disk ---------------------------------------------------------------------------------------------------------


def card(name, args, data: bytes, **fields) -> Card:
    return Card(
        name="model", data="digits", input_shape=SHAPE, num_classes=10, seed=0, loss=Loss(name="cross_entropy"),
        weights_sha256=files.sha256_bytes(data), architecture=Architecture(name=name, args=args, **fields),
    )  # fmt: skip


def stored(folder, module, name, args, **fields) -> zoo.Model:
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


# --- wrong use -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "args", "named"),
    [
        ("mpl", {}, "did you mean 'mlp'"),
        ("mlp", {"width": [8]}, "width"),
        ("mlp", {"widths": [7]}, "even"),
        ("mlp", {"widths": "wide"}, "widths|build"),
        ("mlp", {"batch_norm": "yes"}, "true or false, got 'yes'"),
        ("mlp", {"pool": "average"}, "no argument 'pool'"),
        ("cnn", {"pool": "max"}, "pool 'max'.*average, l2norm"),
        ("cnn", {"padding": "reflect"}, "padding 'reflect'.*circular, zeros"),
        ("cnn", {"channels": [4, 4, 4, 4]}, "too many"),
        ("vgg", {"blocks": [[2]] * 5}, "too many pools of 2x2 for inputs of 8x8"),
        ("vgg", {"blocks": [[4, 3]]}, "even"),
        ("vgg", {"blocks": [4, 4]}, "cannot be built"),
        ("resnet", {"channels": [3]}, "even"),
        ("resnet", {"blocks": "two"}, "cannot be built"),
    ],
)
def test_wrong_arguments(name, args, named):
    with pytest.raises(LipbenchError, match=named) as caught:
        build(name, UNCONSTRAINED, SHAPE, 10, args)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("layers", [*SETS, "exported"])
@pytest.mark.parametrize("name", ["mlp", "cnn", "vgg", "resnet"])
def test_batch_norm_is_for_unconstrained_twins_only(name, layers):
    chosen = EXPORTED if layers == "exported" else layers_of(layers, True)
    with pytest.raises(LipbenchError, match="unconstrained twins only"):
        build(name, chosen, SHAPE, 10, {"batch_norm": True})


def test_sets_of_layers_by_name(monkeypatch):
    assert layers_of("torchlip", True) is CONSTRAINED
    assert layers_of("torchlip", False) is layers_of("orthogonium", False) is UNCONSTRAINED
    layer = layers_of("orthogonium", True).linear(4, 4)
    assert type(layer).__bases__[0].__name__ == "OrthoLinear"
    assert any(isinstance(part, BjorckBy) for part in layer.parametrizations.weight)
    with pytest.raises(LipbenchError, match="did you mean 'torchlip'"):
        layers_of("torchlib", True)
    monkeypatch.setitem(sys.modules, "orthogonium.layers", None)
    with pytest.raises(LipbenchError, match=r"pip install 'lipbench\[orthogonium\]'"):
        layers_of("orthogonium", True)
    extras = importlib.metadata.metadata("lipbench").get_all("Provides-Extra")
    assert "orthogonium" in extras


# --- lipbench list architectures -------------------------------------------------------------------------------------


def test_the_gradient_norm_of_networks_that_keep_it_and_of_one_that_does_not():
    """Orthogonal convolutions with as many channels out as in, on a torus, and L2 norm pools; halves of the inputs."""
    torch.manual_seed(0)
    layers, args = layers_of("orthogonium", True), {"channels": [4, 4], "padding": "circular", "widths": [8]}
    assert summary.gradient_norm(build("cnn", layers, (4, 8, 8), 3, args), torch.rand(6, 4, 8, 8)) == pytest.approx(1)
    zeros = build("cnn", layers, (4, 8, 8), 3, {**args, "padding": "zeros"})
    assert summary.gradient_norm(zeros, torch.rand(6, 4, 8, 8)) < 0.99  # lost at the border
    halved = nn.Linear(32, 32)
    halved.weight.data = 0.5 * torch.eye(32)
    assert summary.gradient_norm(halved, torch.rand(6, 32)) == pytest.approx(0.5)


def test_list_tells_parameters_and_gradient_norms(capsys):
    assert cli.run(["list", "architectures"]) == 0
    rows = {row.split()[0]: row for row in capsys.readouterr().out.splitlines()}
    assert "402,250 parameters (3x32x32, 10 classes)" in rows["mlp"]
    assert "torchlip preserved, orthogonium preserved" in rows["mlp"]
    assert "489,322 parameters" in rows["vgg"]
    for name in ("cnn", "vgg", "resnet"):
        assert "torchlip not preserved (0.0" in rows[name] or "torchlip not preserved (0.1" in rows[name]
        assert "orthogonium not preserved" in rows[name]
    assert "blocks, widths, pool, padding, batch_norm" in rows["vgg"]


def test_list_where_orthogonium_is_missing_or_an_architecture_is_a_plugins(monkeypatch, capsys):
    def picky(layers, input_shape, num_classes, *, size=1):
        """Digits only."""
        raise LipbenchError("inputs of 1x8x8 only")

    known = ARCHITECTURES.get
    monkeypatch.setattr(ARCHITECTURES, "names", lambda: ["mlp", "picky"])
    monkeypatch.setattr(ARCHITECTURES, "get", lambda name: picky if name == "picky" else known(name))
    monkeypatch.setitem(sys.modules, "orthogonium.layers", None)
    assert cli.run(["list", "architectures"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert "torchlip preserved, orthogonium not available" in first
    assert second.split() == ["picky", "-", "-", "size", "Digits", "only."]
