"""Our loop of Square: the library's own with its random stream; when rows are given up, and when they are run again."""

from collections import Counter

import pytest
import torch
from attacking import attack
from torch import nn

from lipbench.attacks.autoattack import square
from lipbench.attacks.autoattack.canvas import canvas
from lipbench.attacks.base import AttackCall
from lipbench.attacks.batch import AttackBatch
from lipbench.attacks.network import Network
from lipbench.attacks.norm import Norm
from tests.attacks.conftest import Case


class LibraryDraws:
    """torch's global stream, read as pyautoattack reads it (``random_choice`` and ``random_int``)."""

    def signs(self, active, shape):
        return self.sign((len(active), *shape))

    def sign(self, shape):
        return torch.sign(2 * torch.rand(shape) - 1)

    def below(self, high):
        return int((high * torch.rand(1)).long())

    def coin(self):
        return bool(torch.rand(1) > 0.5)


def images(channels: int, height: int, width: int, count: int = 24) -> Case:
    """A random network of four classes, and what it classifies."""
    torch.manual_seed(0)
    layers = [nn.Linear(channels * height * width, 16), nn.ReLU(), nn.Linear(16, 4)]
    network = Network(nn.Sequential(nn.Flatten(), *layers), (channels, height, width))
    x = 0.2 + 0.6 * torch.rand(count, channels, height, width)
    return Case(network, x, network.predict(x).argmax(1))


@pytest.mark.parametrize(
    ("shape", "norm", "eps"),
    [
        ((1, 8, 8), Norm.L2, 0.6),
        ((1, 8, 8), Norm.Linf, 0.1),
        ((3, 10, 11), Norm.L2, 2.5),  # tiles of two pixels, cut off at the right
        ((3, 9, 7), Norm.Linf, 0.05),
        ((2, 5, 23), Norm.L2, 0.8),  # windows as high as the image
        ((2, 14, 14), Norm.L2, 2.5),  # padded to 15 x 15
        ((1, 3, 30), Norm.L2, 0.5),  # folded
    ],
)
def test_square_is_the_librarys_bit_for_bit(case, shape, norm, eps):
    from pyautoattack.square import SquareAttack

    digits = case(10, 24) if shape == (1, 8, 8) else images(*shape)
    network, x, labels = digits.network, digits.x, digits.labels
    shown = canvas(shape[1:], norm)
    library = SquareAttack(
        lambda image: network(shown.crop(image)), norm.value, n_queries=260, eps=eps, seed=0, resc_schedule=False
    )
    library.init_hyperparam(x)
    torch.manual_seed(3)
    queries, expected = library.attack_single_run(shown.pad(x), labels)
    batch, args = AttackBatch.alone(len(x)), {"n_queries": 260, "patience": True}
    call = AttackCall(network, x, labels, norm, torch.full((len(x),), eps), 0, args, batch)
    torch.manual_seed(3)
    found = square.search(call, LibraryDraws())
    assert torch.equal(found, shown.crop(expected))
    assert batch.forward.tolist() == queries.tolist()
    assert batch.backward.sum() == 0
    assert len(queries.unique()) > 3  # some were broken on the way
    assert queries.max() == 261  # and some never


def test_the_signs_of_a_shard():
    batch = AttackBatch(torch.tensor([6, 0, 3]), 8, seed=1)
    drawn = square.ShardDraws(batch, torch.device("cpu")).signs(torch.tensor([0, 1, 2]), (400, 1, 1))
    assert drawn.dtype == torch.float32
    assert drawn.shape == (3, 400, 1, 1)
    assert set(drawn.flatten().tolist()) == {-1.0, 1.0}
    assert drawn.mean().abs() < 0.1
    # the second row alone, as when the others are done
    alone = square.ShardDraws(batch, torch.device("cpu")).signs(torch.tensor([1]), (400, 1, 1))
    assert torch.equal(alone[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[1])


def test_what_all_rows_share():
    draws = square.ShardDraws(AttackBatch.alone(3), torch.device("cpu"))
    places = Counter(draws.below(5) for _ in range(500))
    assert set(places) == {0, 1, 2, 3, 4}
    assert min(places.values()) > 50
    assert [draws.below(0) for _ in range(5)] == [0] * 5
    assert 50 < sum(draws.coin() for _ in range(200)) < 150
    signs = draws.sign((500, 1, 1))
    assert signs.shape == (500, 1, 1)
    assert set(signs.flatten().tolist()) == {-1.0, 1.0}


@pytest.mark.parametrize(
    ("before", "now", "query", "queries", "expected"),
    [
        # one more doubling, which may bring three times the last: 2 - 3 * 1 < 0
        (3.0, 2.0, 2500, 5000, False),
        (3.0, 2.25, 2500, 5000, False),  # it would just arrive
        (3.0, 2.26, 2500, 5000, True),
        (3.0, 3.0, 312, 5000, True),  # no progress
        # two doublings: 2.5 - 3 * 2 * 0.5 < 0, 2.6 - 3 * 2 * 0.4 > 0
        (3.0, 2.5, 1250, 5000, False),
        (3.0, 2.6, 1250, 5000, True),
        (3.0, 1e-3, 5000, 5000, True),  # no queries left
    ],
)
def test_a_row_is_hopeless_if_three_times_its_progress_falls_short(before, now, query, queries, expected):
    values = (torch.tensor([value], dtype=torch.float32) for value in (before, now))
    assert square.hopeless(*values, query, queries).tolist() == [expected]


@pytest.mark.parametrize(("norm", "eps", "queries"), [(Norm.L2, 0.6, 900), (Norm.Linf, 0.09, 1300)])
def test_giving_up_saves_queries_and_loses_next_to_nothing(case, norm, eps, queries, monkeypatch):
    """Queries enough for two checkpoints, or three; no row is run again."""
    monkeypatch.setattr(square, "MASKED", 1.0)
    digits = case(10, 30)
    patient, hasty = (attack(digits, "square", norm, eps, n_queries=queries, patience=flag) for flag in (True, False))
    assert not (hasty.adversarial & ~patient.adversarial).any()
    assert patient.adversarial.sum() > 6
    assert hasty.adversarial.sum() >= 0.9 * patient.adversarial.sum()
    assert hasty.batch.forward.sum() < 0.85 * patient.batch.forward.sum()
    # the random numbers are the same: what both find is the same
    both = torch.from_numpy(hasty.adversarial)
    assert torch.allclose(hasty.candidates[both], patient.candidates[both], atol=1e-5)


class Steps(nn.Module):
    """Logits in steps: no gradient says where to go, and most proposals of Square change nothing."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, x):
        return torch.floor(10 * self.module(x)) / 10


@pytest.mark.parametrize("norm", list(Norm))
def test_with_masked_gradients_no_row_is_lost_by_giving_up(case, norm, monkeypatch):
    """Square breaks more than MASKED of the shard there, so that the rows given up are run again."""
    monkeypatch.setattr(square, "CHECKPOINTS", (10, 20))
    digits = case(10, 30)
    network = Network(Steps(digits.network.module), (1, 8, 8))
    masked, eps = Case(network, digits.x, digits.labels), 0.9 if norm is Norm.L2 else 0.12
    patient = attack(masked, "square", norm, eps, n_queries=250, patience=True)
    found = attack(masked, "square", norm, eps, n_queries=250)
    assert found.adversarial.tolist() == patient.adversarial.tolist()
    assert torch.allclose(found.candidates, patient.candidates, atol=1e-5)
    assert attack(masked, "apgd-ce", norm, eps, n_iter=20).adversarial.sum() < patient.adversarial.sum()
    monkeypatch.setattr(square, "MASKED", 1.0)
    assert attack(masked, "square", norm, eps, n_queries=250).adversarial.sum() < patient.adversarial.sum()


@pytest.mark.parametrize(
    ("broken", "again"),
    [
        ([], False),
        ([0, 1], False),  # 2 of 1,000 are no more than 0.2 %
        ([0, 1, 1], False),  # one sample at two eps
        ([0, 1, 2], True),
    ],
)
@pytest.mark.parametrize("batch_size", [None, 2])
def test_rows_are_run_again_where_more_than_two_in_a_thousand_samples_break(broken, again, batch_size, monkeypatch):
    monkeypatch.setattr(square, "CHECKPOINTS", (10, 20))
    network = Network(nn.Sequential(nn.Flatten(), nn.Linear(25, 2)), (1, 5, 5))
    with torch.no_grad():
        network.module[1].weight.copy_(torch.tensor([[1.0], [-1.0]]).expand(2, 25) / 25)
        network.module[1].bias.copy_(torch.tensor([-0.45, 0.45]))
    if batch_size is not None:
        network.__dict__["batch_size"] = batch_size
    # the mean pixel is 0.5, the boundary at 0.45: within reach of 0.4, not of 1e-3
    index = torch.tensor([500, *broken])
    x, labels = torch.full((len(index), 1, 5, 5), 0.5), torch.zeros(len(index), dtype=torch.int64)
    eps = torch.tensor([1e-3, *[0.4] * len(broken)])
    hasty, patient = AttackBatch(index, 1000), AttackBatch(index, 1000)

    def search(batch: AttackBatch, patience: bool) -> torch.Tensor:
        args = {"n_queries": 100, "patience": patience}
        return square.search(AttackCall(network, x, labels, Norm.Linf, eps, 0, args, batch))

    found = search(hasty, False)
    search(patient, True)
    assert network.predict(found).argmax(1).tolist() == [0, *[1] * len(broken)]
    # one query at the start, 20 up to the second checkpoint; all of them the second time
    assert patient.forward[0] == 101
    assert hasty.forward[0] == 21 + again * 101
    assert hasty.forward[1:].tolist() == patient.forward[1:].tolist()  # only what was given up is run again
