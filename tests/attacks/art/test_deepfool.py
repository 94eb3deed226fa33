import numpy as np
import pytest
import torch
from torch import nn

from lipbench.attacks import guard
from lipbench.attacks.network import Network
from lipbench.attacks.norm import Norm
from lipbench.attacks.suites import AttackSpec


def test_deepfools_overshoot_finds_every_sample_and_is_not_wasted(case):
    digits = case(10, 60)
    spec = AttackSpec(name="art/deepfool")
    found = guard.search(spec, digits.network, digits.x, digits.labels, norm=Norm.L2, eps=None, seed=0)
    adversarial, distance, _ = guard.check_candidates(digits.network, digits.x, digits.labels, found, Norm.L2)
    assert adversarial.all()
    assert np.median(distance) < 2


def test_deepfool_finds_the_nearest_of_many_classes():
    """A linear network, where the distance is known; each sample alone, so that few classes have large logits."""
    torch.manual_seed(0)
    network = Network(nn.Sequential(nn.Flatten(), nn.Linear(64, 30)), (1, 8, 8))
    x = torch.full((10, 1, 8, 8), 0.5) + 0.1 * torch.rand(10, 1, 8, 8)
    logits, weight = network.predict(x), network.module[1].weight.double()
    labels = logits.argmax(1)
    gaps = logits.gather(1, labels[:, None]) - logits
    nearest = (gaps / (weight[labels][:, None] - weight).norm(dim=2)).scatter(1, labels[:, None], np.inf).amin(1)
    for row in range(len(x)):
        one, label = x[row : row + 1], labels[row : row + 1]
        spec = AttackSpec(name="art/deepfool")
        found = guard.search(spec, network, one, label, norm=Norm.L2, eps=None, seed=0)
        _, distance, _ = guard.check_candidates(network, one, label, found, Norm.L2)
        assert distance[0] == pytest.approx(nearest[row].item(), rel=2e-3)
