"""Faster forms of slow layers, for the copy of a network that attacks run through."""

from typing import Any

import torch
from deel import torchlip
from torch import Tensor, nn
from torch.nn import functional as F


class _SortPairs(torch.autograd.Function):
    """Minimum and maximum of neighbouring channels; one mask is all that the gradient needs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        first, second = x[:, 0::2], x[:, 1::2]
        out = torch.empty_like(x)
        out[:, 0::2], out[:, 1::2] = torch.minimum(first, second), torch.maximum(first, second)
        ctx.save_for_backward(first <= second)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (ordered,), gradient = ctx.saved_tensors, gradients[0]
        low, high = gradient[:, 0::2], gradient[:, 1::2]
        out = torch.empty_like(gradient)
        out[:, 0::2], out[:, 1::2] = torch.where(ordered, low, high), torch.where(ordered, high, low)
        return out


class SortPairs(nn.Module):
    """GroupSort2 (Anil, Lucas, Grosse 2019): the same values bit for bit, the same gradients but for ties.

    torchlip's takes seven times as long, forward and backward, in float32 on a CPU, twelve times in float64.
    """

    def forward(self, x: Tensor) -> Tensor:
        """x: (n, c, ...), c even; same shape out."""
        out: Tensor = _SortPairs.apply(x)
        return out


class L2Pool(nn.Module):
    """The L2 norm of each window, without the signs that torch's LPPool2d also computes for odd powers.

    Its gradient where a window is all zeros is 0, torch's is NaN.
    """

    def __init__(self, pool: nn.LPPool2d):
        super().__init__()
        self.window, self.stride, self.ceil_mode = pool.kernel_size, pool.stride, pool.ceil_mode
        height, width = pool.kernel_size if isinstance(pool.kernel_size, tuple) else (pool.kernel_size,) * 2
        self.size = int(height) * int(width)

    def forward(self, x: Tensor) -> Tensor:
        """x: (n, c, h, w); (n, c, h', w') out."""
        squares = F.avg_pool2d(x * x, self.window, self.stride, 0, self.ceil_mode)
        return (squares * self.size).clamp_min(torch.finfo(x.dtype).tiny).sqrt()


def quickened(module: nn.Module) -> nn.Module:
    """The module with its slow layers exchanged, in place."""
    if type(module) is torchlip.GroupSort2 and module._coefficient_lip == 1.0:
        return SortPairs()
    if type(module) is nn.LPPool2d and module.norm_type == 2:
        return L2Pool(module)
    for name, child in module._modules.items():
        if child is not None:
            module._modules[name] = quickened(child)
    return module
