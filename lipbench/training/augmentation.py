"""Augmentation of a batch of images, on the device that holds it, each image with its own draws."""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from lipbench.errors import LipbenchError
from lipbench.training.recipes import Augmentation

RED, GREEN, BLUE = 0.299, 0.587, 0.114  # their parts of the luma, ITU-R BT.601


def check_fits(how: Augmentation, input_shape: tuple[int, ...]) -> None:
    """Raise LipbenchError where inputs other than images would be augmented."""
    if how != Augmentation() and len(input_shape) != 3:
        raise LipbenchError(f"augmentation is for images (c, h, w), the inputs are of shape {input_shape}: remove it")


def augment(x: Tensor, how: Augmentation, generator: Generator) -> Tensor:
    """x: float32 (n, c, h, w) in [0, 1], same shape and range out; the generator is of x's device."""

    def uniform(low: float, high: float) -> Tensor:
        draws = torch.rand(len(x), 1, 1, 1, device=x.device, generator=generator)
        return low + (high - low) * draws

    if how.flip:
        x = torch.where(uniform(0, 1) < 0.5, x.flip(3), x)
    if how.resized_crop < 1:
        x = _resized_crop(x, uniform(how.resized_crop, 1), uniform(-1, 1), uniform(-1, 1))
    if how.crop:
        x = _shifted(x, how.crop, generator)
    if how.brightness:
        x = (x * uniform(1 - how.brightness, 1 + how.brightness)).clamp(0, 1)
    if how.contrast:
        mean = _grey(x).mean(dim=(1, 2, 3), keepdim=True)
        x = torch.lerp(mean, x, uniform(1 - how.contrast, 1 + how.contrast)).clamp(0, 1)
    if how.saturation:
        x = torch.lerp(_grey(x), x, uniform(1 - how.saturation, 1 + how.saturation)).clamp(0, 1)
    return x


def _grey(x: Tensor) -> Tensor:
    if x.shape[1] != 3:
        return x.mean(dim=1, keepdim=True)
    red, green, blue = x.split(1, dim=1)
    return RED * red + GREEN * green + BLUE * blue


def _shifted(x: Tensor, pixels: int, generator: Generator) -> Tensor:
    """Each image moved by up to ``pixels`` in both directions."""
    n, _, h, w = x.shape
    padded = F.pad(x, (pixels,) * 4)
    top, left = torch.randint(2 * pixels + 1, (2, n, 1), device=x.device, generator=generator)
    rows = top + torch.arange(h, device=x.device)
    columns = left + torch.arange(w, device=x.device)
    image = torch.arange(n, device=x.device)[:, None, None]
    return padded.movedim(1, 3)[image, rows[:, :, None], columns[:, None, :]].movedim(3, 1).contiguous()


def _resized_crop(x: Tensor, area: Tensor, right: Tensor, down: Tensor) -> Tensor:
    """The part of each image that holds a share ``area`` of it, enlarged to its size, bilinear.

    right, down: (n, 1, 1, 1) in [-1, 1], where it lies; 0: in the middle.
    """
    side = area.sqrt()
    free = 1 - side  # the centre may move by so much, half of the image being 1
    theta = torch.zeros(len(x), 2, 3, device=x.device)
    theta[:, 0, 0] = theta[:, 1, 1] = side.flatten()
    theta[:, 0, 2], theta[:, 1, 2] = (free * right).flatten(), (free * down).flatten()
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False).clamp(0, 1)
