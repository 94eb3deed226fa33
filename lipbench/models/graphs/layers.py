"""The layers that a graph may hold: the type that each name stands for, and the arguments that its constructor gets.

A type is imported when a graph names it, and the table decides which one that is. Layers are left out whose constructor
does not determine what they compute, such as blocks with parametrised kernels and batch statistics of deel-torchlip.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from deel import torchlip
from torch import nn

from lipbench.errors import LipbenchError, one_line
from lipbench.models.architectures import ConvexCombination, Normalize
from lipbench.models.fast_layers import L2Pool, SortPairs
from lipbench.models.graphs.form import LayerSpec, argument, not_in_table, plain_argument


@dataclass(frozen=True)
class LayerType:
    """A layer's type, and how each argument of its constructor is read off a layer."""

    place: str  # the module to import, and the name in it
    arguments: tuple[str, ...] = ()
    readers: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)  # by default the attribute of that name

    def load(self) -> Callable[..., nn.Module]:
        """The type. Raises LipbenchError where its package is not installed."""
        module, _, name = self.place.partition(":")
        try:
            found: Callable[..., nn.Module] = getattr(importlib.import_module(module), name)
        except ImportError as error:
            package = module.partition(".")[0]
            raise LipbenchError(
                f"a layer of the graph is {name} of {package}, which is not installed: pip install {package}"
            ) from error
        return found

    def arguments_of(self, layer: nn.Module) -> dict[str, Any]:
        """The arguments that build a layer like this one."""
        return {
            name: self.readers.get(name, lambda layer, name=name: getattr(layer, name))(layer)
            for name in self.arguments
        }


def _has(name: str) -> Callable[[Any], bool]:
    return lambda layer: getattr(layer, name) is not None


_BIAS = {"bias": _has("bias")}
_COEFFICIENT = {"k_coef_lip": lambda layer: layer._coefficient_lip}
_CONV = "in_channels out_channels kernel_size stride padding dilation groups bias padding_mode"
_TRANSPOSED = "in_channels out_channels kernel_size stride padding output_padding groups bias dilation padding_mode"
_OLD_PADDING = {
    **_BIAS,
    "padding": lambda layer: layer.old_padding,
    "padding_mode": lambda layer: layer.old_padding_mode,
}
MOST_CHANNELS = 2**16
_UNUSED = {"training", "init"}  # by a layer's forward in eval mode; ``init`` is what weights started from


def _normalize(channels: int) -> Normalize:
    if not 0 < channels <= MOST_CHANNELS:
        raise ValueError(f"Normalize has {channels} channels, expected at most {MOST_CHANNELS}")
    return Normalize((0.0,) * channels, (1.0,) * channels)


def _torch() -> dict[str, LayerType]:
    arguments = {
        "Linear": "in_features out_features bias", "Conv1d": _CONV, "Conv2d": _CONV, "ConvTranspose1d": _TRANSPOSED,
        "ConvTranspose2d": _TRANSPOSED, "BatchNorm1d": "num_features eps momentum affine track_running_stats",
        "BatchNorm2d": "num_features eps momentum affine track_running_stats", "ReLU": "inplace", "ReLU6": "inplace",
        "Hardtanh": "min_val max_val inplace", "LeakyReLU": "negative_slope inplace", "RReLU": "lower upper inplace",
        "PReLU": "num_parameters", "Sigmoid": "", "Tanh": "", "Tanhshrink": "", "LogSigmoid": "", "Softsign": "",
        "Softshrink": "lambd", "SELU": "inplace", "SiLU": "inplace", "Mish": "inplace", "Hardsigmoid": "inplace",
        "Hardswish": "inplace", "GELU": "approximate", "ELU": "alpha inplace", "CELU": "alpha inplace",
        "AvgPool2d": "kernel_size stride padding ceil_mode count_include_pad divisor_override",
        "AdaptiveAvgPool2d": "output_size", "AdaptiveMaxPool2d": "output_size return_indices",
        "LPPool2d": "norm_type kernel_size stride ceil_mode",
        "MaxPool2d": "kernel_size stride padding dilation return_indices ceil_mode",
        "Flatten": "start_dim end_dim", "Unflatten": "dim unflattened_size", "Identity": "", "Dropout": "p inplace",
        "Dropout1d": "p inplace", "Dropout2d": "p inplace", "Dropout3d": "p inplace", "AlphaDropout": "p inplace",
        "PixelShuffle": "upscale_factor", "PixelUnshuffle": "downscale_factor", "ChannelShuffle": "groups",
        "ReflectionPad1d": "padding", "ReflectionPad2d": "padding", "ReplicationPad1d": "padding",
        "ReplicationPad2d": "padding", "ZeroPad1d": "padding", "ZeroPad2d": "padding", "CircularPad1d": "padding",
        "CircularPad2d": "padding", "Unfold": "kernel_size dilation padding stride",
    }  # fmt: skip
    readers = _BIAS
    return {
        f"torch.nn.{name}": LayerType(f"torch.nn:{name}", tuple(words.split()), readers)
        for name, words in arguments.items()
    }


def _torchlip() -> dict[str, LayerType]:
    arguments: dict[str, tuple[str, dict[str, Any]]] = {
        "GroupSort": ("group_size k_coef_lip", {}),
        "GroupSort2": ("k_coef_lip", {}),
        "FullSort": ("k_coef_lip", {}),
        "MaxMin": ("dim k_coef_lip", {"dim": lambda layer: layer._dim}),
        "LPReLU": ("num_parameters k_coef_lip", {}),
        "HouseHolder": ("channels k_coef_lip", {"channels": lambda layer: 2 * layer.theta.numel()}),
        "ScaledAvgPool2d": ("kernel_size stride ceil_mode count_include_pad divisor_override k_coef_lip", {}),
        "ScaledAdaptiveAvgPool2d": ("output_size k_coef_lip", {}),
        "ScaledL2NormPool2d": ("kernel_size stride ceil_mode k_coef_lip", {}),
        "ScaledAdaptativeL2NormPool2d": ("output_size k_coef_lip", {}),
        "LipResidual": ("", {}),
        "ScaleBiasLayer": ("scalar num_features bias", _BIAS),
        "LayerCentering": (
            "num_features dim bias",
            {**_BIAS, "num_features": lambda layer: 1 if layer.bias is None else layer.bias.numel()},
        ),
        "InvertibleDownSampling": ("kernel_size k_coef_lip", {"kernel_size": lambda layer: layer.downscale_factor}),
        "InvertibleUpSampling": ("kernel_size k_coef_lip", {"kernel_size": lambda layer: layer.upscale_factor}),
        "PadConv1d": (_CONV, _OLD_PADDING),
        "PadConv2d": (_CONV, _OLD_PADDING),
    }
    return {
        f"deel.torchlip.{name}": LayerType(f"deel.torchlip:{name}", tuple(words.split()), {**_COEFFICIENT, **readers})
        for name, (words, readers) in arguments.items()
    }


def _others() -> dict[str, LayerType]:
    activations, centering = "orthogonium.layers.custom_activations", "orthogonium.layers.normalization"
    return {
        "orthogonium.Abs": LayerType(f"{activations}:Abs"),
        "orthogonium.MaxMin": LayerType(f"{activations}:MaxMin", ("axis",)),
        "orthogonium.SoftHuber": LayerType(f"{activations}:SoftHuber", ("delta",)),
        "orthogonium.HouseHolder": LayerType(
            f"{activations}:HouseHolder", ("channels", "axis"), {"channels": lambda layer: 2 * layer.theta.numel()}
        ),
        "orthogonium.ChannelShuffle": LayerType(
            "orthogonium.layers.channel_shuffle:ChannelShuffle", ("group_in", "group_out", "dim")
        ),
        "orthogonium.LayerCentering2D": LayerType(
            f"{centering}:LayerCentering2D", ("num_features",), {"num_features": lambda layer: layer.bias.numel()}
        ),
        "lipbench.Normalize": LayerType(
            f"{__name__}:_normalize", ("channels",), {"channels": lambda layer: layer.mean.numel()}
        ),
        "lipbench.ConvexCombination": LayerType(f"{ConvexCombination.__module__}:ConvexCombination"),
    }


LAYERS = {**_torch(), **_torchlip(), **_others()}
# layers that are stored as another one, which computes the same from the same weights
_STORED_AS: dict[type, str] = {
    Normalize: "lipbench.Normalize",
    ConvexCombination: "lipbench.ConvexCombination",
    SortPairs: "deel.torchlip.GroupSort2",
    L2Pool: "torch.nn.LPPool2d",
}
_SETTINGS_OF_PLAIN_FORMS: dict[type, Callable[[Any], dict[str, Any]]] = {
    SortPairs: lambda layer: {"k_coef_lip": 1.0},
    L2Pool: lambda layer: {
        "norm_type": 2, "kernel_size": layer.window, "stride": layer.stride, "ceil_mode": layer.ceil_mode,
    },
}  # fmt: skip


def layer_spec(layer: nn.Module, name: str) -> LayerSpec | None:
    """The layer as a graph holds it, under its name in its network; None where no graph does.

    Raises ValueError for a setting that the file cannot hold, and for one that its constructor does not determine.
    """
    type_name = _type_name(layer)
    if type_name is None:
        return None
    read = _SETTINGS_OF_PLAIN_FORMS.get(type(layer), LAYERS[type_name].arguments_of)
    args = {key: plain_argument(value) for key, value in read(layer).items()}
    spec = LayerSpec(name=name, type=type_name, args=args)
    if type(layer) not in _SETTINGS_OF_PLAIN_FORMS:
        _check_settings(layer, build(spec))
    return spec


def _type_name(layer: nn.Module) -> str | None:
    kind = type(layer)
    if kind in _STORED_AS:
        return _STORED_AS[kind]
    for padded, plain in ((torchlip.PadConv2d, "Conv2d"), (torchlip.PadConv1d, "Conv1d")):
        if isinstance(layer, padded) and kind.forward is padded.forward:
            symmetric = layer.old_padding_mode.lower() == "symmetric"
            return f"deel.torchlip.{padded.__name__}" if symmetric else f"torch.nn.{plain}"
    home = kind.__module__.partition(".")[0]
    name = f"{ {'torch': 'torch.nn', 'deel': 'deel.torchlip'}.get(home, home) }.{kind.__name__}"
    return name if name in LAYERS and LAYERS[name].load() is kind else None


def _check_settings(layer: nn.Module, built: nn.Module) -> None:
    """Raise ValueError if a plain attribute of a layer is not what its constructor makes of its arguments."""
    for key, value in vars(built).items():
        if isinstance(value, bool | int | float | str | tuple) and key not in _UNUSED and key in vars(layer):
            found = vars(layer)[key]
            if found != value:
                raise ValueError(f"{type(layer).__name__}.{key} was changed to {str(found)[:60]} after it was built")


def build(spec: LayerSpec) -> nn.Module:
    """The layer that a graph describes, in eval mode and on the meta device: its weights are shapes alone.

    Raises LipbenchError for a type that is not in the table, and for arguments that it does not take.
    """
    if spec.type not in LAYERS:
        raise not_in_table("type of layer", spec.type, LAYERS)
    kind = LAYERS[spec.type]
    if set(spec.args) != set(kind.arguments):
        raise LipbenchError(
            f"{spec.type} takes the arguments ({', '.join(kind.arguments)}), got ({', '.join(spec.args)[:200]})"
        )
    constructor = kind.load()
    try:
        with torch.device("meta"):
            return constructor(**{key: argument(value) for key, value in spec.args.items()}).eval()
    except Exception as error:  # whatever the constructor makes of wrong arguments
        raise LipbenchError(f"{spec.type} cannot be built: {one_line(error)[:200]}") from error
