"""The list of architectures, with parameters and gradient norms."""

import sys

import pytest
import torch
from torch import nn

from lipbench import cli
from lipbench._internal.registry import ARCHITECTURES
from lipbench.errors import LipbenchError
from lipbench.models.architectures import build, layers_of, summary

pytest.importorskip("orthogonium")


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
