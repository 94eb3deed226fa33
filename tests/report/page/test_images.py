import base64
import io

import numpy as np
import pytest
from PIL import Image

from lipbench.report.page import images


def read(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,")))))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_has_the_pixels_of_the_input(channels):
    x = np.random.default_rng(0).random((channels, 8, 6), dtype=np.float32)
    pixels = read(images.uri(x))
    expected = np.rint(x * 255).astype(np.uint8)
    assert (pixels == (expected[0] if channels == 1 else np.moveaxis(expected, 0, -1))).all()


def test_a_large_picture_is_made_smaller():
    assert read(images.uri(np.zeros((3, 224, 112), np.float32))).shape == (64, 32, 3)


@pytest.mark.parametrize(
    ("largest", "factor"), [(0.5, 1), (0.2, 2), (0.09, 5), (0.049, 10), (0.013, 20), (0.0009, 500)]
)
def test_a_change_is_magnified_as_far_as_nothing_is_cut(largest, factor):
    x = np.full((1, 2, 2), 0.5, np.float64)
    change = largest * np.array([[[1.0, -1.0], [0.5, 0.0]]])
    shown, found = images.magnified(x, x + change)
    assert found == pytest.approx(factor)
    assert shown == pytest.approx(0.5 + factor * change)
    assert shown.min() >= -1e-9
    assert shown.max() <= 1 + 1e-9


def test_no_change_is_grey():
    shown, factor = images.magnified(np.ones((1, 2, 2), np.float32), np.ones((1, 2, 2), np.float32))
    assert (factor, shown.tolist()) == (1.0, [[[0.5, 0.5], [0.5, 0.5]]])


@pytest.mark.parametrize(
    ("shape", "is_one"), [((1, 8, 8), True), ((3, 4, 5), True), ((2, 4, 5), False), ((1, 8), False), ((9,), False)]
)
def test_which_inputs_are_pictures(shape, is_one):
    assert images.is_image(shape) is is_one
