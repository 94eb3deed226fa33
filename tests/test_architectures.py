import pytest
import torch
from deel import torchlip
from torch import nn

from lipbench import architectures
from lipbench.architectures import CONSTRAINED, EXPORTED, UNCONSTRAINED, Normalize, build, export
from lipbench.errors import LipbenchError

SHAPE = (1, 8, 8)
CASES = [
    ("mlp", {"widths": [16, 8]}),
    ("cnn", {"channels": [4, 6], "widths": [8]}),
    ("cnn", {"pool": "average"}),
]


@pytest.mark.parametrize(("name", "args"), CASES)
def test_export_equals_the_trained_network_bit_for_bit(name, args):
    torch.manual_seed(0)
    model, x = build(name, CONSTRAINED, SHAPE, 10, args), torch.rand(7, *SHAPE)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(3):  # without training, the weights of train and eval mode would be the same anyway
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
    plain = export(model, x)
    model.eval()
    assert torch.equal(plain(x), model(x))
    assert not plain.training
    assert not any(isinstance(layer, torchlip.SpectralLinear | torchlip.SpectralConv2d) for layer in plain.modules())
    rebuilt = build(name, EXPORTED, SHAPE, 10, args)
    rebuilt.load_state_dict(plain.state_dict())
    assert torch.equal(rebuilt(x), plain(x))


@pytest.mark.parametrize(("name", "args"), CASES)
def test_the_twin_has_the_same_shape(name, args):
    chains = [build(name, layers, SHAPE, 10, args) for layers in (EXPORTED, UNCONSTRAINED)]
    shapes = [{key: value.shape for key, value in chain.state_dict().items()} for chain in chains]
    assert shapes[0] == shapes[1]
    assert any(isinstance(layer, nn.ReLU) for layer in chains[1])
    assert not any(isinstance(layer, torchlip.GroupSort2) for layer in chains[1])


def test_normalize():
    x = torch.rand(2, 3, 4, 4)
    got = Normalize([0.1, 0.2, 0.3], [0.5, 0.25, 1.0])(x)
    assert torch.allclose(got[:, 1], (x[:, 1] - 0.2) / 0.25)
    assert got.dtype == x.dtype


def test_export_refuses_a_network_that_differs(monkeypatch):
    model = build("mlp", CONSTRAINED, SHAPE, 10, {"widths": [4]})
    monkeypatch.setattr(
        torchlip.SpectralLinear, "vanilla_export", lambda self: nn.Linear(self.in_features, self.out_features)
    )
    with pytest.raises(RuntimeError, match="differs"):
        export(model, torch.rand(2, *SHAPE))


@pytest.mark.parametrize(
    ("name", "args", "named"),
    [
        ("mpl", {}, "did you mean 'mlp'"),
        ("mlp", {"width": [8]}, "width"),
        ("mlp", {"widths": [7]}, "even"),
        ("mlp", {"widths": "wide"}, "widths|build"),
        ("cnn", {"pool": "max"}, "pool"),
        ("cnn", {"channels": [4, 4, 4, 4]}, "too many"),
    ],
)
def test_wrong_arguments(name, args, named):
    with pytest.raises(LipbenchError, match=named):
        architectures.build(name, UNCONSTRAINED, SHAPE, 10, args)
