import pytest
import torch
from torch import nn

from lipbench.attacks import guard
from lipbench.attacks.autoattack import library
from lipbench.attacks.autoattack.canvas import PaddedSquare, canvas, tiles
from lipbench.attacks.network import Network
from lipbench.attacks.norm import Norm
from lipbench.attacks.suites import AttackSpec


def pixels_network(height, width):
    torch.manual_seed(0)
    body = nn.Sequential(nn.Flatten(), nn.Linear(height * width, 3))
    return Network(body, (1, height, width))


@pytest.mark.parametrize("size", [*range(1, 36), 64, 224])
def test_tiles_says_where_square_runs(size):
    from pyautoattack.square import SquareAttack

    network = pixels_network(size, size)
    x = torch.rand(2, 1, size, size, generator=torch.Generator().manual_seed(0))
    labels = network.predict(x).argmax(1)
    square = SquareAttack(network, norm="L2", n_queries=3, eps=1e-6, seed=0, resc_schedule=False)
    if tiles(size, size):
        square.perturb(x, labels)
    else:
        with pytest.raises((RuntimeError, ZeroDivisionError)):
            square.perturb(x, labels)


@pytest.mark.parametrize(("height", "width"), [(1, 2), (4, 4), (1, 20), (3, 30), (14, 14), (28, 25), (24, 24)])
def test_square_runs_padded_where_it_cannot_tile(height, width):
    assert not tiles(height, width)
    network = pixels_network(height, width)
    x = 0.3 + 0.4 * torch.rand(30, 1, height, width, generator=torch.Generator().manual_seed(0))
    labels = network.predict(x).argmax(1)
    spec = AttackSpec(name="autoattack/square", args={"n_queries": 300})
    found = guard.search(spec, network, x, labels, norm=Norm.L2, eps=0.5, seed=0)
    adversarial, distance, _ = guard.check_candidates(network, x, labels, found, Norm.L2)
    assert adversarial.any()
    assert (distance[adversarial] <= 0.5).all()


@pytest.mark.parametrize(("height", "width"), [(1, 2), (4, 4), (3, 30), (14, 14), (28, 25)])
def test_padding_is_undone_by_cropping(height, width):
    shown = canvas((height, width), Norm.L2)
    x = torch.rand(2, 3, height, width)
    assert shown.padded
    assert shown.pad(x).shape == (2, 3, shown.side, shown.side)
    assert tiles(shown.side, shown.side)
    assert torch.equal(shown.crop(shown.pad(x)), x)


@pytest.mark.parametrize(("size", "norm"), [((8, 8), Norm.L2), ((28, 28), Norm.L2), ((4, 4), Norm.Linf)])
def test_images_that_need_no_padding_are_shown_as_they_are(size, norm):
    shown = canvas(size, norm)
    x = torch.rand(2, 3, *size)
    assert not shown.padded
    assert shown.pad(x) is shown.crop(x) is x


@pytest.mark.parametrize(("height", "width"), [(3, 30), (14, 14), (28, 25)])
def test_the_ensembles_square_runs_on_the_padded_image(height, width):
    """What it returns has the image's shape and lies within eps: padding only takes from a perturbation."""
    network = pixels_network(height, width)
    x = 0.3 + 0.4 * torch.rand(30, 1, height, width, generator=torch.Generator().manual_seed(0))
    labels = network.predict(x).argmax(1)
    options = {"norm": Norm.L2, "eps": 0.5, "seed": 0, "attacks": ("square",)}
    square = library.configured(network, {"n_queries": 300}, **options).square
    assert isinstance(square, PaddedSquare)
    found = square.perturb(x, labels)
    adversarial, distance, _ = guard.check_candidates(network, x, labels, found, Norm.L2)
    assert adversarial.any()
    assert (distance[adversarial] <= 0.5 * (1 + 1e-6)).all()
