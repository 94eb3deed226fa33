"""Rules of layers that shift and scale: preprocessing, batch norm in eval mode, centering."""

import math
from typing import Any

import torch
from deel import torchlip
from torch import Tensor, nn
from torch.nn import functional as F

from lipbench.certification.lipschitz.effects import Effect, Flow, Rounding, Shape, is_moderate
from lipbench.certification.lipschitz.norms import norms_of, rounded_up
from lipbench.certification.lipschitz.table import rule
from lipbench.errors import LipbenchError, UnsupportedError
from lipbench.models.architectures import Normalize

# --- preprocessing ---------------------------------------------------------------------------------------------------


@rule(Normalize)
def _normalize(layer: Normalize, input_shape: Shape) -> Effect:
    """1 / min std, where each channel has its own mean and std, or all share one: else it would broadcast."""
    channels = {layer.mean.numel(), layer.std.numel()}
    if not input_shape or channels not in ({1}, {input_shape[0]}):
        raise LipbenchError(
            "Normalize needs one mean and std, or one per channel, and inputs (c, ...); "
            f"got {layer.mean.numel()} means and {layer.std.numel()} stds for inputs of shape {input_shape}"
        )
    mean, std = layer.mean.detach().double().flatten(), layer.std.detach().double().flatten()
    if std.abs().min() == 0:
        raise LipbenchError("Normalize has a std of 0: no bound exists")
    return channelwise(1 / std, -mean / std, input_shape, operations=4)


def channelwise(scale: Tensor, shift: Tensor, shape: Shape, operations: int) -> Effect:
    """x * scale + shift per channel; scale, shift: float64 (c,) or (1,), themselves good to a few roundings."""
    _check_channels(scale, shape)
    _check_channels(shift, shape)
    positions = math.prod(shape) // shift.numel()
    largest = rounded_up(scale.abs().max().item(), 8)
    offset = rounded_up(math.sqrt(positions) * shift.norm().item(), shift.numel() + 10)
    view = (1, -1, *[1] * (len(shape) - 1))

    def magnitude(h: Tensor) -> Tensor:
        slopes, shifts = scale.abs().view(view).to(h.device), shift.abs().view(view).to(h.device)
        return norms_of(h.abs() * slopes + shifts) * (1 + 2.0**-48)

    rounding = Rounding(operations, (largest,), offset, 2 * math.sqrt(math.prod(shape)), magnitude)
    # so that neither x - mean, nor the numbers that the scale is computed from, overflow or vanish
    moderate = is_moderate(scale) and is_moderate(shift) and is_moderate(shift / scale.where(scale != 0, 1.0))
    return Effect((largest,), rounding if moderate else None)


def _check_channels(values: Tensor | None, shape: Shape) -> None:
    """Raise LipbenchError unless there is one number, or one per channel: other shapes would repeat the inputs."""
    if values is not None and values.numel() not in (1, shape[0]):
        raise LipbenchError(f"the layer has numbers for {values.numel()} channels, its inputs are of shape {shape}")


# --- batch norm, in eval mode ----------------------------------------------------------------------------------------


@rule(nn.BatchNorm1d, nn.BatchNorm2d)
def _batch_norm_layer(layer: nn.BatchNorm2d, input_shape: Shape) -> Effect:
    if layer.running_mean is None or layer.training:
        raise UnsupportedError(
            "batch norm without running statistics makes the samples of a batch depend on each other"
        )
    return _batch_norm(
        Flow(input_shape), layer.running_mean, layer.running_var, layer.weight, layer.bias, False, 0.0, layer.eps
    )


@rule(F.batch_norm)
def _batch_norm(
    input: Flow, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None = None,
    bias: Tensor | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Effect:  # fmt: skip
    """A scale and a shift per channel. Libraries compute them in several orders, with a root and its inverse: 16
    roundings cover each of |x scale|, |mean scale| and |bias|.
    """
    if training or running_mean is None or running_var is None:
        raise UnsupportedError("batch norm on batch statistics makes the samples of a batch depend on each other")
    mean, variance = running_mean.detach().double(), running_var.detach().double()
    if variance.min() < 0 or (variance + eps).min() <= 0:
        raise LipbenchError("batch norm has a variance below 0, or 0 without eps: no bound exists")
    scale = 1 / (variance + eps).sqrt()
    if weight is not None:
        scale = scale * weight.detach().double()
    shift = (mean * scale).abs()
    if bias is not None:
        shift = shift + bias.detach().double().abs()
    return channelwise(scale, shift, input.shape, operations=16)


@rule(torchlip.ScaleBiasLayer)
def _scale_bias(layer: Any, input_shape: Shape) -> Effect:
    bias = torch.zeros(1) if layer.bias is None else layer.bias.detach()
    scale = torch.tensor([float(layer.scalar)], dtype=torch.float64)
    return channelwise(scale, bias.double().flatten(), input_shape, operations=4)


@rule(torchlip.BatchLipNorm, torchlip.BatchCentering)
def _batch_lip_norm(layer: Any, input_shape: Shape) -> float:
    """(x - mean) times one number, the inverse root of the largest running variance; 1 without normalisation."""
    _check_channels(layer.running_sum_bmean, input_shape)
    _check_channels(layer.bias, input_shape)
    if not layer.normalize:
        return 1.0
    return rounded_up(abs(float(layer.get_scaling(training=False))), 8)


# --- centering -------------------------------------------------------------------------------------------------------


@rule(torchlip.LayerCentering, "orthogonium.layers.normalization.LayerCentering2D")
def _layer_centering(layer: Any, input_shape: Shape) -> Effect:
    """x - mean(x) + bias: an orthogonal projection and a shift."""
    dims = getattr(layer, "dim", (-2, -1))
    flow = Flow(input_shape)
    averaged = math.prod(input_shape[flow.dim(dim)] for dim in ((dims,) if isinstance(dims, int) else dims))
    bias = layer.bias
    _check_channels(bias, input_shape)
    repeats = math.prod(input_shape) // (1 if bias is None else bias.numel())
    offset = (
        0.0
        if bias is None
        else rounded_up(bias.detach().double().norm().item() * math.sqrt(repeats), bias.numel() + 10)
    )
    # |x| + |mean| + |x - mean| + |bias|, the mean of m numbers after m + 1 roundings
    return Effect((1.0,), Rounding(averaged + 4, (3.0,), offset, averaged * math.sqrt(math.prod(input_shape))))


@rule("orthogonium.layers.normalization.BatchCentering2D")
def _batch_centering(layer: Any, input_shape: Shape) -> Effect:
    """x - running mean + bias."""
    shift = layer.running_mean.detach().double().abs().flatten() + layer.bias.detach().double().abs().flatten()
    return channelwise(torch.ones_like(shift), shift, input_shape, operations=3)
