"""Small pictures of inputs, as data URIs that the page embeds."""

import base64
import io
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LARGEST = 64  # pixels a side
GREY, COLOURS = 1, 3  # channels
FACTORS = (1, 2, 5)  # times a power of ten


def is_image(shape: tuple[int, ...]) -> bool:
    """Whether inputs of this shape are pictures: (1, h, w) or (3, h, w)."""
    return len(shape) == 3 and shape[0] in (GREY, COLOURS)


def uri(x: NDArray[np.float32]) -> str:
    """An input float32 (c, h, w) in [0, 1] as a PNG of at most ``LARGEST`` pixels a side."""
    pixels = np.rint(np.clip(x, 0, 1) * 255).astype(np.uint8)
    picture = Image.fromarray(pixels[0] if len(pixels) == GREY else np.moveaxis(pixels, 0, -1))
    if max(picture.size) > LARGEST:
        picture.thumbnail((LARGEST, LARGEST), Image.Resampling.BOX)
    buffer = io.BytesIO()
    picture.save(buffer, "png", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def magnified(x: NDArray[np.float32], adversarial: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """The perturbation (c, h, w) about mid-grey, and the factor by which it was magnified: 1, 2 or 5 times 10^k.

    The largest change of an entry becomes at most 0.5, so that nothing is cut.
    """
    change = adversarial - x
    largest = float(np.abs(change).max())
    if largest == 0:
        return np.full_like(x, 0.5), 1.0
    power = 10.0 ** math.floor(math.log10(0.5 / largest))
    factor = max(step * power for step in FACTORS if step * power * largest <= 0.5 or step == 1)
    return 0.5 + factor * change, factor
