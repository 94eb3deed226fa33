"""Slopes, margins and norms of networks whose figures are known."""

import math

import pytest
import torch
from torch import nn

import lipbench
from lipbench.experiments import slopes


def test_the_jacobian_of_a_linear_map_is_its_matrix():
    torch.manual_seed(0)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(6, 4))
    norm = float(torch.linalg.matrix_norm(linear[1].weight.double(), ord=2).detach())
    assert slopes.largest_jacobian(linear, torch.rand(3, 1, 2, 3)) == pytest.approx(norm)


def test_margins_are_those_of_correct_inputs_and_over_their_slopes():
    linear = nn.Linear(2, 2, bias=False)
    linear.weight.data = torch.tensor([[3.0, 0.0], [0.0, 4.0]])  # the margin's gradient is (3, -4), of norm 5
    x = torch.tensor([[1.0, 0.0], [0.5, 0.0], [0.8, 0.0], [0.0, 1.0]])
    found = slopes.margins(linear, x, torch.tensor([0, 0, 0, 0]))  # the last is misclassified
    assert found == pytest.approx({"margin": 2.4, "linear": 0.48})


def test_norms_of_layers_are_the_largest_over_layers():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3))
    network[0].weight.data *= 10
    norms = slopes.layer_norms(network, torch.rand(1, 1, 4, 4))
    assert norms["frobenius"] == pytest.approx(math.sqrt(float((network[0].weight.detach().double() ** 2).sum())))
    assert norms["spectral"] == lipbench.lipschitz_bound(network[0], (1, 4, 4))
