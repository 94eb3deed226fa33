"""The mutation suite: every way to be wrong in ``mutants`` is caught, and no right model is flagged."""

import copy
import math

import mutants
import pytest
import torch
from deel import torchlip
from torch import nn

from lipbench.certification.lipschitz import frozen, lipschitz_bound, trace
from lipbench.verification.verify import examine


@pytest.mark.parametrize("check", mutants.FILES, ids=lambda check: check.__name__)
def test_a_spoilt_folder_is_refused(check, tmp_path):
    assert check(tmp_path).by == ("load",)


@pytest.mark.parametrize("case", mutants.MUTANTS, ids=lambda case: case.name)
def test_a_mutant_is_caught(case, tmp_path):
    assert mutants.run(case, tmp_path).by


@pytest.mark.parametrize("case", mutants.CONTROLS, ids=lambda case: case.name)
def test_a_right_model_is_not_flagged(case, tmp_path):
    caught = mutants.run(case, tmp_path)
    assert caught.by == (), caught.says


def test_there_are_enough():
    assert len(mutants.MUTANTS) + len(mutants.FILES) >= 25
    assert len(mutants.CONTROLS) >= 10


# --- layers of libraries that users assume to be 1-Lipschitz ----------------------------------------------------------


def reflect():
    net = torchlip.Sequential(torchlip.SpectralConv2d(1, 1, 3, padding=1, padding_mode="reflect"), nn.Flatten())
    with torch.no_grad():
        net[0].parametrizations.weight.original.fill_(1.0)
    net(mutants.inputs())
    return net.eval()


def frobenius():
    torch.manual_seed(0)
    net = torchlip.Sequential(nn.Flatten(), torchlip.FrobeniusLinear(64, 10))
    with torch.no_grad():
        net[1].parametrizations.weight.original.uniform_(0, 1)
    net(mutants.inputs())
    return net.eval()


def aoc():
    from orthogonium.layers import AdaptiveOrthoConv2d

    torch.manual_seed(0)
    net = nn.Sequential(AdaptiveOrthoConv2d(1, 4, 3, padding=1, padding_mode="reflect"), nn.Flatten()).eval()
    net(mutants.inputs())
    return net


def ceil_mode():
    return nn.Sequential(torchlip.ScaledAvgPool2d(3, ceil_mode=True), nn.Flatten()).eval()


@torch.no_grad()
def dense_norm(module, shape):
    """The norm of an affine map by SVD of its dense matrix, float64."""
    module, size = copy.deepcopy(module).double(), math.prod(shape)
    images = module(torch.eye(size, dtype=torch.float64).view(size, *shape))
    origin = module(torch.zeros(1, *shape, dtype=torch.float64))
    return torch.linalg.matrix_norm((images - origin).reshape(size, -1), ord=2).item()


@pytest.mark.parametrize("build", [reflect, frobenius, aoc, ceil_mode])
def test_layers_taken_for_1_lipschitz(build, tmp_path):
    """Each gets its true constant, from its dense matrix, and a claim of 1 is refuted by a pair of inputs."""
    net = build()
    true = dense_norm(frozen(net), mutants.SHAPE)
    assert true > 1.05
    assert true <= lipschitz_bound(net, mutants.SHAPE) <= 1.05 * true
    card = mutants.card(classes=net(mutants.inputs()).shape[1])
    x = mutants.inputs()
    found = examine(net, card, x, net(x).argmax(dim=1), tmp_path)
    assert not found.holds
    assert found.constant.claim_witness is not None
    assert 0.99 * true < found.constant.steepest <= true * (1 + 1e-9)


def test_aoc_layers_get_their_true_constant():
    """Circular padding, strides, dense: orthogonal, so that each constant is 1."""
    graph = trace(mutants.aoc_net(), mutants.SHAPE)
    checked = 0
    for step in graph.steps:
        if isinstance(step.layer, nn.Conv2d | nn.Linear):
            shape = graph.steps[step.inputs[0]].shape
            assert 1 - 1e-5 < dense_norm(step.layer, shape) <= step.effect.lipschitz[0] <= 1 + 1e-5
            checked += 1
    assert checked == 3
