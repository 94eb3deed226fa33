"""What the input range does to distances, on linear networks, whose distances are known with and without it."""

import math

import numpy as np
import pytest
import torch
from bundled import TAU4
from running import SMALL, decoded, run
from torch import nn

from lipbench.attacks.gradient import box
from lipbench.attacks.network import Network
from lipbench.attacks.norm import Norm

DIMENSION = 12
SETTLED = 0.02  # of a distance: what bisection leaves, and float32 inputs


def linear(seed: int = 0, push: float = 0.0) -> tuple[nn.Module, np.ndarray, float]:
    """A single-logit network, its weights and its bias."""
    rng = np.random.default_rng(seed)
    weight, bias = rng.standard_normal(DIMENSION), push
    layer = nn.Linear(DIMENSION, 1)
    layer.weight.data, layer.bias.data = torch.tensor(weight[None]).float(), torch.tensor([bias]).float()
    return nn.Sequential(nn.Flatten(), layer).eval(), layer.weight.data[0].double().numpy(), bias


def within(x: np.ndarray, weight: np.ndarray, margin: float, norm: Norm) -> float:
    """The distance within [0, 1] of the plane w (x + d) = w x - margin, by bisection over how far each entry moves.

    In L2 the nearest point of a box on a plane moves each entry by lambda w, cut to the box; in L_inf by eps, likewise.
    """
    low, high = 0.0, 1e4
    for _ in range(200):
        middle = (low + high) / 2
        step = -middle * (weight if norm is Norm.L2 else np.sign(weight))
        delta = np.clip(x + step, 0, 1) - x
        low, high = (middle, high) if weight @ delta > -margin else (low, middle)
    if weight @ (np.clip(x - 1e9 * np.sign(weight), 0, 1) - x) > -margin:
        return math.inf
    return float(np.linalg.norm(delta, 2 if norm is Norm.L2 else np.inf))


@pytest.mark.parametrize("norm", list(Norm))
def test_distances_of_a_linear_network(norm):
    """Without the range m / |w|, by the dual norm; within it by brute force."""
    module, weight, _ = linear()
    rng = np.random.default_rng(1)
    x = rng.random((60, DIMENSION)).astype(np.float32)
    x = np.where(rng.random(x.shape) < 0.8, x.round(), x)  # images have pixels of 0 and 1
    f = x.astype(float) @ weight
    labels = (f > 0).astype(int)
    network = Network(module, (1, 3, 4))
    inputs = torch.tensor(x).view(60, 1, 3, 4)
    found, without = box.distances(network, inputs, torch.tensor(labels), norm)
    dual = np.linalg.norm(weight, 2 if norm is Norm.L2 else 1)
    assert without == pytest.approx(np.abs(f) / dual, rel=SETTLED)
    sign = np.where(labels == 1, 1, -1)
    expected = np.array(
        [within(row.astype(float), weight * s, abs(m), norm) for row, s, m in zip(x, sign, f, strict=True)]
    )
    assert np.isfinite(expected).sum() > 40
    assert found == pytest.approx(expected, rel=SETTLED)
    assert (without <= found * (1 + SETTLED)).all()
    assert (without < 0.9 * found).sum() > 10  # the range matters


def test_a_boundary_outside_of_the_range_is_found_without_it_alone():
    """f = sum x + 1 is above 0 everywhere in [0, 1]."""
    layer = nn.Linear(2, 1)
    layer.weight.data, layer.bias.data = torch.ones(1, 2), torch.tensor([0.5])
    network = Network(nn.Sequential(nn.Flatten(), layer).eval(), (1, 1, 2))
    x = torch.tensor([[[[0.1, 0.2]]]])
    found, without = box.distances(network, x, torch.tensor([1]), Norm.L2)
    assert found.tolist() == [math.inf]
    assert without == pytest.approx([0.8 / math.sqrt(2)], rel=SETTLED)


def test_no_samples():
    module, _, _ = linear()
    found, without = box.distances(
        Network(module, (1, 3, 4)), torch.zeros(0, 1, 3, 4), torch.zeros(0, dtype=torch.int64), Norm.L2
    )
    assert len(found) == len(without) == 0


def test_what_lies_outside_of_the_range_is_nobodys_adversarial_distance(zoo_of, tmp_path, digits, monkeypatch):
    """A measurement that finds everything at no distance at all changes no other record."""
    zoo = zoo_of(TAU4)
    whole = decoded(run(zoo, tmp_path / "a", digits, suite=SMALL, samples=30))

    def nothing(network, x, labels, norm):
        network.evaluations.forward += 10 * len(x)
        network.evaluations.backward += 10 * len(x)
        return np.full(len(x), 1e-9), np.full(len(x), 1e-10)

    monkeypatch.setattr(box, "distances", nothing)
    folder = run(zoo, tmp_path / "b", digits, suite=SMALL, samples=30)
    kinds = {unit.name: unit.kind for unit in folder.read().units()}
    for name, (frame, info) in decoded(folder).items():
        assert (frame.equals(whole[name][0]) and info == whole[name][1]) == (kinds[name] != "box")
