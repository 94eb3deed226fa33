"""The plain torch form of a trained network."""

import copy
from collections import OrderedDict
from typing import Any

import torch
from deel import torchlip
from torch import Tensor, nn

from lipbench.errors import LipbenchError
from lipbench.models.architectures.layers import ConvexCombination
from lipbench.models.fast_layers import L2Pool, SortPairs

TOLERANCE = 1e-4  # of the largest output: orthogonium orthogonalises anew in each forward, also in eval mode


@torch.no_grad()
def export(model: nn.Module, sample: Tensor) -> nn.Sequential:
    """The plain torch form of a trained model, in eval mode.

    model: a chain, as ``build`` gives it; sample: a batch of its inputs (n, c, h, w), on which both forms are compared.
    Nothing of the result is shared with the model, which is left in eval mode. Layers of deel-torchlip come out bit for
    bit, those of orthogonium up to a few roundings. Raises LipbenchError if outputs are not finite, RuntimeError if the
    two forms differ by more.
    """
    plain = _chain(model.eval()).eval()
    expected = model(sample)
    if not torch.isfinite(expected).all():
        raise LipbenchError("training diverged: the network's outputs are not finite; lower learning_rate")
    if not bool(((plain(sample) - expected).abs() <= TOLERANCE * expected.abs().max()).all()):
        raise RuntimeError("the exported network differs from the trained one")
    return plain


def _chain(chain: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict((name, _plain(child)) for name, child in _children(chain)))


def _children(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """With those that occur twice, which torch's ``named_children`` leaves out."""
    return [(name, child) for name, child in module._modules.items() if child is not None]


def _plain(module: Any) -> nn.Module:
    if isinstance(module, nn.Sequential):
        return _chain(module)
    if isinstance(getattr(type(module), "weight", None), property):  # computed from what is trained
        # deel-torchlip serves in eval mode the weight of its last forward in training mode, a step behind
        weight = module.train().weight
        module.eval()
        if not hasattr(module, "vanilla_export"):
            return _plain_layer(module, weight)
    if hasattr(module, "vanilla_export"):
        return copy.deepcopy(module.vanilla_export())
    if isinstance(module, torchlip.LipResidual):
        combination = ConvexCombination()
        combination.weight = nn.Parameter(torch.sigmoid(module.alpha))
        return combination
    if isinstance(module, SortPairs):
        return torchlip.GroupSort2()
    if isinstance(module, L2Pool):
        return nn.LPPool2d(2, module.window, module.stride, module.ceil_mode)
    plain = copy.deepcopy(module)
    for name, child in _children(module):
        plain._modules[name] = _plain(child)
    return plain


def _plain_layer(layer: nn.Module, weight: Tensor) -> nn.Module:
    """A layer of orthogonium with the weight that it computes."""
    plain: nn.Linear | nn.Conv2d
    if isinstance(layer, nn.Linear):
        plain = nn.Linear(layer.in_features, layer.out_features, layer.bias is not None)
    elif isinstance(layer, nn.Conv2d):
        plain = nn.Conv2d(
            layer.in_channels,
            layer.out_channels,
            layer.kernel_size,  # type: ignore[arg-type]
            layer.stride,  # type: ignore[arg-type]
            layer.padding,  # type: ignore[arg-type]
            layer.dilation,  # type: ignore[arg-type]
            layer.groups,
            layer.bias is not None,
            layer.padding_mode,
        )
    else:
        raise RuntimeError(f"no plain torch form is known for {type(layer).__name__}")
    plain.weight = nn.Parameter(weight.clone())
    if layer.bias is not None:
        plain.bias = nn.Parameter(layer.bias.clone())
    return plain
