"""Images that Square's L2 form can tile: the image itself, or one that is padded with zeros."""

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from lipbench.attacks.network import Network
from lipbench.attacks.norm import Norm


def tiles(height: int, width: int) -> bool:
    """Whether Square's L2 start can tile the image; it indexes past the border for 12, 13, 14, 18, 19 or 24
    rows.

    It lays h // s rows of w // s tiles of side s = h // 5, from an offset of (h - 5 s) // 2 in both
    directions; a tile that is cut off at the border is an error unless it has side 1 (pyautoattack/square.py,
    attack_single_run).
    """
    side = height // 5
    if side <= 1:
        return side == 1
    offset = (height - side * 5) // 2
    return offset + height // side * side <= height and offset + width // side * side <= width


@dataclass(frozen=True)
class Canvas:
    """What Square is shown for images of (height, width): themselves, or a square of ``side`` that holds them.

    Perturbations of the padding are dropped, which only shortens the rest. An image under five pixels high or
    wide has no two-dimensional structure to speak of: it is folded, row after row, so that little padding is
    needed.
    """

    height: int
    width: int
    side: int = 0  # 0: no padding
    folds: bool = False

    @property
    def padded(self) -> bool:
        """Whether the canvas is larger than the image."""
        return self.side > 0

    def pad(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to (n, c, side, side), or x itself."""
        if not self.padded:
            return x
        if self.folds:
            rows = F.pad(x.flatten(2), (0, self.side**2 - self.height * self.width))
            return rows.unflatten(2, (self.side, self.side))
        return F.pad(x, (0, self.side - self.width, 0, self.side - self.height))

    def crop(self, image: Tensor) -> Tensor:
        """The inverse of ``pad``."""
        if not self.padded:
            return image
        if self.folds:
            return image.flatten(2)[:, :, : self.height * self.width].unflatten(2, (self.height, self.width))
        return image[:, :, : self.height, : self.width]


def canvas(size: tuple[int, ...], norm: Norm) -> Canvas:
    """The canvas for images of ``size``: (height, width). L_inf needs no tiles, and so no padding."""
    height, width = size
    if norm is Norm.Linf or tiles(height, width):
        return Canvas(height, width)
    folds = min(height, width) < 5
    side = math.isqrt(height * width - 1) + 1 if folds else max(height, width)
    while not tiles(side, side):
        side += 1
    return Canvas(height, width, side, folds)


class PaddedSquare:
    """The library's Square on a padded canvas."""

    def __init__(self, square: Any, network: Network, shown: Canvas):
        self.square, self.network, self.shown = square, network, shown
        self.seed: int = square.seed  # set again by AutoAttack before each batch

    def perturb(self, x: Tensor, labels: Tensor) -> Tensor:
        """Candidates for x: float32 (n, c, h, w)."""
        self.square.predict = lambda image: self.network(self.shown.crop(image))
        self.square.seed = self.seed
        return self.shown.crop(self.square.perturb(self.shown.pad(x), labels))
