"""Layers that change nothing of what passes through them, and take the gradient from the attacks."""

import torch
from torch import nn


class _Spoilt(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, value, pixels):
        ctx.value, ctx.pixels = value, pixels
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        spoilt = gradient.clone()
        spoilt.flatten(1)[:, ctx.pixels] = ctx.value
        return spoilt, None, None


class Spoilt(nn.Module):
    """The same logits; some entries of the gradient at the input are ``value``."""

    def __init__(self, value, pixels=slice(None)):
        super().__init__()
        self.value, self.pixels = value, pixels

    def forward(self, x):
        return _Spoilt.apply(x, self.value, self.pixels)


class Root(nn.Module):
    """The same logits; 0 times a square root, whose slope at 0 is infinite, makes NaN of the gradient there."""

    def forward(self, x):
        return x + 0 * torch.sqrt(x * 0)


class Guarded(nn.Module):
    """A branch that is not taken, and whose gradient torch multiplies with 0: NaN where a pixel is 0."""

    def forward(self, x):
        return x + torch.where(x > 0, torch.sqrt(x), 0) - torch.where(x > 0, torch.sqrt(x), 0).detach()


class Detached(nn.Module):
    """No gradient for some entries."""

    def __init__(self, pixels=slice(None)):
        super().__init__()
        self.pixels = pixels

    def forward(self, x):
        kept = torch.ones_like(x)
        kept.flatten(1)[:, self.pixels] = 0
        return x.detach() + kept * (x - x.detach())
