import pytest
import torch

from lipbench.training.augmentation import augment
from lipbench.training.recipes import Augmentation

ALL = {"flip": True, "crop": 2, "resized_crop": 0.5, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4}


@pytest.fixture
def x():
    return torch.rand(64, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def draw(x, seed=0, **how):
    return augment(x, Augmentation(**how), torch.Generator().manual_seed(seed))


def test_nothing_is_nothing(x):
    assert torch.equal(draw(x), x)


@pytest.mark.parametrize("how", [*({name: value} for name, value in ALL.items()), ALL])
@pytest.mark.parametrize("channels", [1, 3])
def test_shape_range_and_seed(x, how, channels):
    before = x[:, :channels].clone()
    out = draw(before, **how)
    assert out.shape == before.shape
    assert out.dtype == torch.float32
    assert out.min() >= 0
    assert out.max() <= 1
    assert torch.equal(out, draw(before, **how))
    assert torch.equal(before, x[:, :channels])  # not in place
    if channels == 3 or how.keys() != {"saturation"}:  # grey images have no saturation
        assert not torch.equal(out, draw(before, seed=1, **how))
        assert (out != before).flatten(1).any(1).float().mean() > 0.3


def test_half_are_flipped(x):
    out = draw(x.repeat(20, 1, 1, 1), flip=True)
    same = (out == x.repeat(20, 1, 1, 1)).flatten(1).all(1)
    flipped = (out == x.repeat(20, 1, 1, 1).flip(3)).flatten(1).all(1)
    assert (same ^ flipped).all()
    assert same.float().mean() == pytest.approx(0.5, abs=0.05)


def test_a_crop_moves_the_image_and_lets_zeros_in():
    x = torch.zeros(400, 1, 5, 5)
    x[:, :, 2, 2] = 1
    out = draw(x, crop=2)
    places = out.flatten(1).argmax(1)
    assert (out.sum(dim=(1, 2, 3)) == 1).all()
    assert torch.bincount(places, minlength=25).float().div(400).min() > 0.01  # each of the 5 x 5 moves occurs
    corner = draw(torch.ones(50, 1, 5, 5), crop=2)
    assert ((corner == 0) | (corner == 1)).all()
    assert (corner == 0).any()


def test_a_resized_crop_enlarges_a_part():
    """Of a ramp along x it keeps a piece of length sqrt(area): the slope falls to that share."""
    ramp = torch.linspace(0, 1, 32).expand(500, 1, 32, 32).contiguous()
    out = draw(ramp, resized_crop=0.25)
    slope = (out[:, 0, 16, 20] - out[:, 0, 16, 11]) / (ramp[0, 0, 16, 20] - ramp[0, 0, 16, 11])
    assert slope.min() >= 0.5 - 1e-3
    assert slope.max() <= 1 + 1e-3
    assert slope.std() > 0.05
    middle = out[:, 0, 16, 15:17].mean(1)
    assert middle.std() > 0.05  # the pieces lie at different places
    assert middle.mean() == pytest.approx(0.5, abs=0.05)


def test_jitter_by_the_formula():
    """Brightness multiplies; contrast moves away from the mean grey of the image, saturation from that of the pixel."""
    x = torch.full((200, 3, 2, 2), 0.4)
    x[:, 0] = 0.5
    bright = draw(x, brightness=0.3) / x
    assert bright.flatten(1).std(1).max() < 1e-6  # one factor for an image
    assert bright.min() >= 0.7
    assert bright.max() <= 1.3
    assert bright.std() > 0.1
    grey = 0.299 * 0.5 + 0.701 * 0.4
    for how in ("contrast", "saturation"):  # all pixels are alike here, so that both have the same grey
        factor = (draw(x, **{how: 0.3}) - grey) / (x - grey)
        assert factor.flatten(1).std(1).max() < 1e-4
        assert factor.min() >= 0.69
        assert factor.max() <= 1.31
        assert factor.std() > 0.1
