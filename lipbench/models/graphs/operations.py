"""The functions, methods and attributes that a graph may use: those with Lipschitz rules, and a few of shapes.

A file names them, and this table decides what a name means: nothing is looked up in a module by a name from a file.
"""

import operator
from typing import Any

import torch
from torch.nn import functional as F

_RULES = {
    "operator": (
        operator,
        "abs add sub mul truediv neg pos matmul getitem iadd isub imul itruediv",
    ),
    "torch": (
        torch,
        "abs add amax amin cat celu channel_shuffle chunk clamp clamp_max clamp_min clip clone concat "
        "concatenate conv1d conv2d conv_transpose1d conv_transpose2d div divide flatten flip fmax fmin lerp matmul max "
        "max_pool2d maximum mean min minimum mm movedim mul multiply narrow neg permute pixel_shuffle pixel_unshuffle "
        "positive relu relu_ reshape roll rsub select selu sigmoid sort split squeeze stack sub subtract sum swapaxes "
        "tanh tile transpose true_divide unbind unsqueeze",
    ),
    "torch.nn.functional": (
        F,
        "adaptive_avg_pool2d adaptive_max_pool2d alpha_dropout avg_pool2d batch_norm celu conv1d conv2d "
        "conv_transpose1d conv_transpose2d dropout dropout1d dropout2d dropout3d elu gelu hardsigmoid hardswish "
        "hardtanh leaky_relu leaky_relu_ linear lp_pool2d max_pool2d mish pad pixel_shuffle pixel_unshuffle relu relu6 "
        "relu_ selu sigmoid silu softsign tanh unfold",
    ),
}
# without a rule: of sizes, and of weights before they meet the input
_OF_SIZES = {"operator": (operator, "floordiv")}
_OF_WEIGHTS = {"torch": (torch, "exp sqrt rsqrt"), "torch.nn.functional": (F, "softplus")}

METHODS_OF_SIZES = frozenset(["size", "dim", "ndimension", "numel", "nelement"])
METHODS_OF_WEIGHTS = frozenset(["exp", "sqrt", "rsqrt"])
METHODS = (
    frozenset(
        [
            "abs",
            "abs_",
            "add",
            "add_",
            "amax",
            "amin",
            "chunk",
            "clamp",
            "clamp_",
            "clamp_max",
            "clamp_min",
            "clip",
            "clone",
            "contiguous",
            "detach",
            "div",
            "div_",
            "divide",
            "double",
            "expand",
            "flatten",
            "flip",
            "float",
            "lerp",
            "matmul",
            "max",
            "maximum",
            "mean",
            "min",
            "minimum",
            "mm",
            "movedim",
            "mul",
            "mul_",
            "multiply",
            "narrow",
            "neg",
            "permute",
            "relu",
            "relu_",
            "repeat",
            "reshape",
            "roll",
            "rsub",
            "select",
            "sigmoid",
            "sort",
            "split",
            "squeeze",
            "sub",
            "sub_",
            "subtract",
            "sum",
            "swapaxes",
            "t",
            "tanh",
            "tile",
            "to",
            "transpose",
            "true_divide",
            "type_as",
            "unbind",
            "unflatten",
            "unsqueeze",
            "view",
        ]
    )
    | METHODS_OF_SIZES
    | METHODS_OF_WEIGHTS
)
ATTRIBUTES_OF_SIZES = frozenset(["shape", "ndim", "dtype", "device"])
ATTRIBUTES = frozenset({"T", "mT", "values"}) | ATTRIBUTES_OF_SIZES


def _named(table: dict[str, tuple[Any, str]]) -> dict[str, Any]:
    return {
        f"{place}.{name}": getattr(module, name)
        for place, (module, names) in table.items()
        for name in names.split()
        if hasattr(module, name)
    }


FUNCTIONS_WITHOUT_RULES = {**_named(_OF_SIZES), **_named(_OF_WEIGHTS)}
FUNCTIONS = {**_named(_RULES), **FUNCTIONS_WITHOUT_RULES}
_NAMES = {function: name for name, function in FUNCTIONS.items()}


def function_name(function: Any) -> str | None:
    """The name of a function in the table, None where it has none."""
    try:
        return _NAMES.get(function)
    except TypeError:  # not hashable
        return None
