"""Upper bounds of Lipschitz constants (L2 to L2), from the weights as they are stored, in float64.

One rule per layer type, found by the exact type: a subclass may compute something else, so it has no rule until it is
given one. A layer without a rule is an error; it never counts as 1. Register a rule in one line:

    @rule(MyLayer)
    def _my_layer(layer, input_shape): return 1.0

A rule takes the layer in eval mode and the shape of one input, (c, h, w) or (features,), and returns a number that
is never below the layer's Lipschitz constant, also after rounding.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from deel import torchlip
from torch import Tensor, nn
from torch.nn.utils import parametrize

from lipbench.architectures import Normalize
from lipbench.errors import LipbenchError, UnsupportedError

Shape = tuple[int, ...]
Rule = Callable[..., float]  # (layer, shape of one input) -> bound
UNIT_ROUNDOFF = 2.0**-53

_RULES: dict[type[nn.Module], Rule] = {}


def rule(*types: type[nn.Module]) -> Callable[[Rule], Rule]:
    """Register the decorated function as the rule of these layer types."""

    def register(function: Rule) -> Rule:
        for kind in types:
            _RULES[kind] = function
        return function

    return register


def lipschitz_bound(module: nn.Module, input_shape: Sequence[int]) -> float:
    """An upper bound of the L2 Lipschitz constant of a chain of layers.

    module: a layer or (nested) ``nn.Sequential``, evaluated in eval mode; input_shape: one input, without the batch,
    such as (1, 28, 28). Returns the product of the layers' bounds, rounded up. Raises UnsupportedError for a layer
    without a rule, LipbenchError for weights that are not finite.
    """
    bound = 1.0
    for layer, shape in layers(module, tuple(int(size) for size in input_shape)):
        bound *= layer_bound(layer, shape)
        bound *= 1 + 2 * UNIT_ROUNDOFF
    return bound


@torch.no_grad()
def layers(module: nn.Module, input_shape: Shape) -> Iterator[tuple[nn.Module, Shape]]:
    """The layers of a chain in order, each with the shape of one of its inputs. Containers are opened."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        reference = next(iter(module.parameters()), None)
        x = torch.zeros(1, *input_shape, dtype=None if reference is None else reference.dtype)
        if reference is not None:
            x = x.to(reference.device)
        for layer in flatten(module):
            shape = tuple(x.shape[1:])
            try:
                x = layer(x)
            except (RuntimeError, ValueError) as error:
                raise LipbenchError(
                    f"{layer} does not accept inputs of shape {shape}: {str(error).splitlines()[0]}"
                ) from error
            yield layer, shape
    finally:
        for part, mode in modes.items():
            part.training = mode


def flatten(module: nn.Module) -> Iterator[nn.Module]:
    """The layers of nested ``nn.Sequential`` containers, in order."""
    if type(module) in (nn.Sequential, torchlip.Sequential):
        _refuse_hooks(module)
        for child in module._modules.values():  # not children(): that leaves out a layer's second use
            if child is not None:
                yield from flatten(child)
    else:
        yield module


def _refuse_hooks(module: nn.Module) -> None:
    if module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module):
        raise UnsupportedError(
            f"{type(module).__name__} has a forward hook or a replaced forward, so that it may compute something else "
            "than its type says: remove it"
        )


def layer_bound(layer: nn.Module, input_shape: Shape) -> float:
    """The bound of one layer by its rule; see ``lipschitz_bound``. Computed on the CPU, whatever the layer's device."""
    kind = type(layer)
    if parametrize.is_parametrized(layer):  # torch makes a class of its own for a layer with parametrisations
        kind = kind.__mro__[1]
    if kind not in _RULES:
        raise UnsupportedError(
            f"no Lipschitz rule for the layer {kind.__module__}.{kind.__qualname__}: it is not counted as 1; "
            "register one with @lipbench.lipschitz.rule"
        )
    _refuse_hooks(layer)
    for name, tensor in (*layer.named_parameters(), *layer.named_buffers()):
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise LipbenchError(f"{kind.__name__}.{name} holds NaN or infinite weights: no bound exists")
    return float(_RULES[kind](layer, input_shape))


# --- dense layers ----------------------------------------------------------------------------------------------------


def spectral_norm(matrix: Tensor) -> float:
    """Largest singular value of matrices (..., m, n), over all of them, rounded up.

    LAPACK's singular values are off by at most p(m, n) u |A|_2 with a slowly growing p (LAPACK Users' Guide, 3rd ed.,
    section 4.9); max(m, n) + 10 units are added.
    """
    if matrix.numel() == 0:
        return 0.0
    largest = torch.linalg.matrix_norm(matrix.cpu().to(_wide(matrix)), ord=2).max().item()
    return float(largest * (1 + (max(matrix.shape[-2:]) + 10) * UNIT_ROUNDOFF))


def _wide(tensor: Tensor) -> torch.dtype:
    return torch.complex128 if tensor.is_complex() else torch.float64


@rule(nn.Linear, torchlip.SpectralLinear, torchlip.FrobeniusLinear)
def _linear(layer: nn.Linear, input_shape: Shape) -> float:
    return spectral_norm(layer.weight.detach())


@rule(Normalize)
def _normalize(layer: Normalize, input_shape: Shape) -> float:
    """1 / min std, where each channel has its own mean and std, or all share one: else it would broadcast."""
    channels = {layer.mean.numel(), layer.std.numel()}
    if len(input_shape) != 3 or channels not in ({1}, {input_shape[0]}):
        raise LipbenchError(
            "Normalize needs one mean and std, or one per channel, and inputs (c, h, w); "
            f"got {layer.mean.numel()} means and {layer.std.numel()} stds for inputs of shape {input_shape}"
        )
    smallest = layer.std.double().abs().min().item()
    if smallest == 0:
        raise LipbenchError("Normalize has a std of 0: no bound exists")
    return (1 / smallest) * (1 + 2 * UNIT_ROUNDOFF)


# --- convolutions ----------------------------------------------------------------------------------------------------


@rule(nn.Conv2d, torchlip.SpectralConv2d, torchlip.FrobeniusConv2d)
def _conv2d(layer: nn.Conv2d, input_shape: Shape) -> float:
    """Zero-padded: the norm of the circular convolution on a torus that holds the padded input.

    The layer is that convolution restricted to inputs that vanish on the padding and to some of its outputs, so its
    norm is not larger. Circularly padded: the same on the torus of the input itself, where outputs may repeat.
    """
    mode = getattr(layer, "old_padding_mode", layer.padding_mode)
    height, width = input_shape[-2:]
    left, right, top, bottom = layer._reversed_padding_repeated_twice
    padded = (height + top + bottom, width + left + right)
    weight, stride, dilation = layer.weight.detach(), _pair(layer.stride), _pair(layer.dilation)
    if mode == "zeros":
        torus = tuple(-(-size // step) * step for size, step in zip(padded, stride, strict=True))  # rounded up
        repeats = 1
    elif mode == "circular":
        torus, stride = (height, width), (1, 1) if height % stride[0] or width % stride[1] else stride
        # an output position o s mod H is visited again after H / s of them
        outputs = [
            (p - d * (k - 1) - 1) // s + 1
            for p, d, k, s in zip(padded, dilation, weight.shape[2:], stride, strict=True)
        ]
        repeats = math.prod(-(-o * s // size) for o, s, size in zip(outputs, stride, torus, strict=True))
    else:
        raise UnsupportedError(
            f"no Lipschitz rule for {type(layer).__name__} with padding_mode={mode!r}: use zeros or circular "
            "(reflect and replicate padding repeat inputs and have a larger norm)"
        )
    bound = max(torus_norm(part, (torus[0], torus[1]), stride, dilation) for part in weight.chunk(layer.groups, dim=0))
    return bound * math.sqrt(repeats) * (1 + 2 * UNIT_ROUNDOFF)


def _pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def torus_norm(
    weight: Tensor,
    torus: tuple[int, int],
    stride: tuple[int, int] = (1, 1),
    dilation: tuple[int, int] = (1, 1),
) -> float:
    """Operator norm of the circular convolution of ``weight`` (out, in, kh, kw) on a torus, rounded up.

    torus: (height, width), multiples of the stride. The Fourier transform block-diagonalises the convolution
    (Sedghi, Gupta, Long, ICLR 2019, arXiv 1805.10408); a stride s is a convolution without stride of the s^2 phases
    of the input as channels. An FFT of N values is off by at most 8 log2(N) u times the sum of the absolute values
    (Higham 2002, section 24.1, with room), which is added in Frobenius norm.
    """
    weight = weight.cpu().double()
    out, channels, kh, kw = weight.shape
    (sh, sw), size_h, size_w = stride, torus[0] // stride[0], torus[1] // stride[1]
    kernel = weight.new_zeros(out, channels, torus[0], torus[1])
    for i in range(kh):
        for j in range(kw):  # taps that fall on the same place of the torus add up
            kernel[:, :, i * dilation[0] % torus[0], j * dilation[1] % torus[1]] += weight[:, :, i, j]
    phases = kernel.view(out, channels, size_h, sh, size_w, sw).permute(0, 1, 3, 5, 2, 4)
    phases = phases.reshape(out, channels * sh * sw, size_h, size_w)
    spectrum = torch.fft.rfft2(phases).permute(2, 3, 0, 1)  # real kernels: half of the frequencies suffice
    largest = max(spectral_norm(block) for block in spectrum)
    error = 8 * math.log2(max(size_h * size_w, 2)) * UNIT_ROUNDOFF
    return largest + error * phases.abs().sum(dim=(2, 3)).norm().item()


# --- activations and reshaping ---------------------------------------------------------------------------------------


@rule(nn.ReLU, nn.Flatten, nn.Identity)
def _one(layer: nn.Module, input_shape: Shape) -> float:
    return 1.0


@rule(torchlip.GroupSort, torchlip.GroupSort2, torchlip.FullSort, torchlip.MaxMin)
def _sort(layer: nn.Module, input_shape: Shape) -> float:
    # sorting does not increase distances (rearrangement inequality); (max(x, 0), max(-x, 0)) keeps them or shrinks them
    return abs(float(layer._coefficient_lip))  # type: ignore[arg-type]


# --- pools -----------------------------------------------------------------------------------------------------------


def _refuse_ceil_mode(layer: nn.Module) -> None:
    if layer.ceil_mode:
        raise UnsupportedError(
            f"no Lipschitz rule for {type(layer).__name__} with ceil_mode=True: windows that reach past the input "
            "are rescaled, and the norm grows; use ceil_mode=False"
        )


@rule(nn.AvgPool2d)
def _average_pool(layer: nn.AvgPool2d, input_shape: Shape) -> float:
    """A convolution of each channel with a constant kernel."""
    _refuse_ceil_mode(layer)
    kernel, stride, padding = _pair(layer.kernel_size), _pair(layer.stride), _pair(layer.padding)
    if any(padding) and not layer.count_include_pad and layer.divisor_override is None:
        raise UnsupportedError("no Lipschitz rule for AvgPool2d with count_include_pad=False and padding")
    divisor = layer.divisor_override or math.prod(kernel)
    padded = [size + 2 * pad for size, pad in zip(input_shape[-2:], padding, strict=True)]
    torus = [-(-size // step) * step for size, step in zip(padded, stride, strict=True)]
    weight = torch.full((1, 1, *kernel), 1 / divisor, dtype=torch.float64)
    return torus_norm(weight, (torus[0], torus[1]), stride)


@rule(torchlip.ScaledAvgPool2d)
def _scaled_average_pool(layer: torchlip.ScaledAvgPool2d, input_shape: Shape) -> float:
    return _average_pool(layer, input_shape) * abs(layer.scalingFactor * layer._coefficient_lip)


@rule(nn.LPPool2d)
def _l2_norm_pool(layer: nn.LPPool2d, input_shape: Shape) -> float:
    """The L2 norm of each window: 1-Lipschitz in it, and an input lies in at most ceil(k / s) windows per axis."""
    _refuse_ceil_mode(layer)
    if layer.norm_type != 2:
        raise UnsupportedError(f"no Lipschitz rule for LPPool2d with norm_type={layer.norm_type}: only 2 has one")
    kernel = _pair(layer.kernel_size)
    stride = kernel if layer.stride is None else _pair(layer.stride)
    return math.sqrt(math.prod(-(-k // s) for k, s in zip(kernel, stride, strict=True)))


@rule(torchlip.ScaledL2NormPool2d)
def _scaled_l2_norm_pool(layer: torchlip.ScaledL2NormPool2d, input_shape: Shape) -> float:
    return _l2_norm_pool(layer, input_shape) * abs(layer._coefficient_lip)
