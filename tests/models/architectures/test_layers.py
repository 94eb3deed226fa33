"""Sets of layers, and the modules of our own in them."""

import importlib.metadata
import sys

import pytest
import torch
from torch import nn

from lipbench.certification.lipschitz import lipschitz_bound
from lipbench.errors import LipbenchError
from lipbench.models import architectures
from lipbench.models.architectures import (
    CONSTRAINED,
    EXPORTED,
    UNCONSTRAINED,
    ConvexCombination,
    Normalize,
    build,
    layers_of,
)
from lipbench.models.architectures.bjorck import BjorckBy

pytest.importorskip("orthogonium")


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
    for shape in ((3, 4, 4), (3, 4), (3, 3), (3,)):
        x = torch.rand(2, *shape)
        got = Normalize([0.1, 0.2, 0.3], [0.5, 0.25, 1.0])(x)
        assert torch.allclose(got[:, 1], (x[:, 1] - 0.2) / 0.25)
        assert (got.shape, got.dtype) == (x.shape, x.dtype)


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


@pytest.mark.parametrize(("name", "group"), [("groupsort8", 8), ("fullsort", 16)])
def test_groups_are_sorted_in_training_and_as_stored(name, group):
    layers, x = layers_of(name, True), torch.rand(3, 16)
    for activation in (layers.activation(), layers.exported.activation()):
        assert torch.equal(activation(x), x.view(3, -1, group).sort(dim=2).values.view(3, 16))


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
