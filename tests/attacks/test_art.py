import numpy as np
import pytest
import torch
from torch import nn

from lipbench.attacks import art, guard
from lipbench.attacks.network import Network
from lipbench.attacks.norm import Norm
from lipbench.attacks.suites import AttackSpec
from lipbench.errors import LipbenchError, UnsupportedError


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # ART divides by zero on tiles of one pixel
@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("size", [*range(1, 20), 28, 32])
def test_square_is_refused_where_art_fails_and_only_there(norm, size):
    network = Network(nn.Sequential(nn.Flatten(), nn.Linear(size * size, 3)), (1, size, size))
    x = torch.rand(3, 1, size, size, generator=torch.Generator().manual_seed(0))
    labels = network.predict(x).argmax(1)
    spec = AttackSpec(backend="art", name="square", args={"max_iter": 30})
    args = {"max_iter": 30, "p_init": 0.8, "restarts": 1, "batch_size": 3}
    library = art.configured("square", art.classifier(network), norm=norm, eps=1e-4, args=args)
    try:
        guard.check(spec, 3, network.input_shape, norm)
    except UnsupportedError:
        with pytest.raises((ValueError, IndexError)):
            library.generate(x=x.numpy(), y=labels.numpy())
    else:
        library.generate(x=x.numpy(), y=labels.numpy())


def test_a_misspelt_loss_is_explained():
    spec = AttackSpec(backend="art", name="auto_pgd", args={"loss_type": "crossentropy"})
    with pytest.raises(LipbenchError, match="did you mean 'cross_entropy'"):
        guard.check(spec, 10, (1, 8, 8), Norm.L2)


def test_the_logits_ratio_sees_through_a_large_scale_where_cross_entropy_does_not(case):
    digits = case(10, 60, scale=1e4)
    broken = {}
    for loss in ("cross_entropy", "difference_logits_ratio"):
        spec = AttackSpec(backend="art", name="auto_pgd", args={"loss_type": loss, "max_iter": 30})
        found = guard.search(spec, digits.network, digits.x, digits.labels, norm=Norm.L2, eps=0.5, seed=0)
        adversarial, _, _ = guard.check_candidates(digits.network, digits.x, digits.labels, found, Norm.L2)
        broken[loss] = adversarial.sum()
    assert broken["difference_logits_ratio"] > broken["cross_entropy"]


def test_deepfools_overshoot_finds_every_sample_and_is_not_wasted(case):
    digits = case(10, 60)
    spec = AttackSpec(backend="art", name="deepfool")
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
        spec = AttackSpec(backend="art", name="deepfool")
        found = guard.search(spec, network, one, label, norm=Norm.L2, eps=None, seed=0)
        _, distance, _ = guard.check_candidates(network, one, label, found, Norm.L2)
        assert distance[0] == pytest.approx(nearest[row].item(), rel=2e-3)


@pytest.mark.parametrize("restarts", [0, 3])
def test_restarts_of_pgd(case, restarts):
    """Without a random start the seed is of no consequence."""
    digits = case(10, 30)
    spec = AttackSpec(backend="art", name="pgd", args={"restarts": restarts, "max_iter": 5})
    options = {"norm": Norm.L2, "eps": 0.5}
    first, second = (
        guard.search(spec, digits.network, digits.x, digits.labels, seed=seed, **options) for seed in (0, 1)
    )
    assert torch.equal(first, second) == (restarts == 0)
