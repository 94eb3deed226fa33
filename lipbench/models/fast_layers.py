"""Faster forms of slow layers, for training and for the copy of a network that attacks run through."""

from typing import Any

import torch
from deel import torchlip
from torch import Tensor, nn
from torch.nn import functional as F

from lipbench.errors import LipbenchError


class _SortPairs(torch.autograd.Function):
    """Minimum and maximum of neighbouring channels; the gradient needs one mask only."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        first, second = x[:, 0::2], x[:, 1::2]
        out = torch.empty_like(x)
        torch.minimum(first, second, out=out[:, 0::2])
        torch.maximum(first, second, out=out[:, 1::2])
        ctx.save_for_backward(first <= second)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (ordered,), gradient = ctx.saved_tensors, gradients[0]
        low, high = gradient[:, 0::2], gradient[:, 1::2]
        out = torch.empty_like(gradient)
        # lerp by 0 and 1 is where, and faster: exact but for the sign of 0, unless a difference of gradients overflows
        kept = ordered.to(gradient.dtype)
        if torch.is_grad_enabled():  # a second derivative is asked for, which ``out`` does not allow (nor does vmap)
            out[:, 0::2], out[:, 1::2] = torch.lerp(high, low, kept), torch.lerp(low, high, kept)
        else:
            torch.lerp(high, low, kept, out=out[:, 0::2])
            torch.lerp(low, high, kept, out=out[:, 1::2])
        return out


class SortPairs(nn.Module):
    """GroupSort2 (Anil, Lucas, Grosse 2019): the same values bit for bit, and the same gradients except at ties.

    torchlip's takes five to seven times as long, forward and backward, on a CPU.
    """

    def forward(self, x: Tensor) -> Tensor:
        """x: (n, c, ...), same shape out. Raises LipbenchError unless c is even."""
        if x.ndim < 2 or x.shape[1] % 2:
            raise LipbenchError(
                f"GroupSort2 sorts pairs of channels: expected inputs (n, c, ...) with an even c, got {tuple(x.shape)}"
            )
        out: Tensor = _SortPairs.apply(x)
        return out


class _L2Pool(torch.autograd.Function):
    """sqrt(sum x_i^2) over each window o; the gradient of x_i is x_i times the sum of g_o / out_o over its windows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, size: int, window: list[int], stride: list[int], ceil_mode: bool) -> Tensor:
        out = (F.avg_pool2d(x * x, window, stride, 0, ceil_mode) * size).sqrt()
        ctx.save_for_backward(x, out)
        ctx.size, ctx.pool = size, (window, stride, [0, 0], ceil_mode, True, None)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, out = ctx.saved_tensors
        slope = gradients[0] / out.clamp_min(torch.finfo(x.dtype).tiny ** 0.5) * ctx.size
        return x * torch.ops.aten.avg_pool2d_backward(slope, x, *ctx.pool), None, None, None, None


class L2Pool(nn.Module):
    """torch's LPPool2d of norm 2: the same values bit for bit, the same gradients up to roundings; half the time.

    torch's also computes the signs that odd powers need.
    """

    def __init__(self, pool: nn.LPPool2d):
        super().__init__()
        self.window, self.stride, self.ceil_mode = pool.kernel_size, pool.stride, pool.ceil_mode

    def forward(self, x: Tensor) -> Tensor:
        """x: (n, c, h, w); (n, c, h', w') out."""
        window = _pair(self.window)
        stride = window if self.stride is None else _pair(self.stride)
        out: Tensor = _L2Pool.apply(x, window[0] * window[1], window, stride, self.ceil_mode)
        return out


def _pair(size: int | tuple[int, ...]) -> list[int]:
    return [size, size] if isinstance(size, int) else list(size)


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
