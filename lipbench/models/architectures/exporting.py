"""The plain form of a network: layers that hold their weights as they are, which can be stored and loaded.

    deel-torchlip's layers, and others that have one      what their ``vanilla_export`` returns
    layers that a set of layers gives a plain form for    what that function returns, see ``Layers.plain_forms``
    parametrised layers, and such whose weight is         the torch layer that they derive from, with the weight as it
    a property                                            is; a type of its own without the parametrisation
    containers and others                                 a copy, with the plain forms of what they contain

The plain form of a plain network is a copy of it. So an architecture with layers of its own can be stored: what it
builds, in its plain form, has the tensors that the trained network has in its plain form, see ``models.stored``.
"""

import copy
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from deel import torchlip
from torch import Tensor, nn
from torch.nn.utils import parametrize

from lipbench.errors import LipbenchError, one_line
from lipbench.models.architectures.layers import ConvexCombination
from lipbench.models.fast_layers import L2Pool, SortPairs

TOLERANCE = 1e-4  # of the largest output: orthogonium orthogonalises anew in each forward, also in eval mode
PlainForms = Mapping[type[nn.Module], Callable[[nn.Module], nn.Module]]
NOTHING: PlainForms = {}


@torch.no_grad()
def export(model: nn.Module, sample: Tensor, plain_forms: PlainForms = NOTHING) -> nn.Sequential:
    """The plain form of a trained model, in eval mode.

    model: a chain, as ``build`` gives it; sample: a batch of its inputs (n, c, h, w), on which both forms are compared;
    plain_forms: those of the set of layers. Nothing of the result is shared with the model, which is left in eval mode.
    Layers of deel-torchlip come out bit for bit, others up to a few roundings. Raises LipbenchError if outputs are not
    finite, if a layer has no plain form, or if the two forms differ by more than ``TOLERANCE`` of the largest output.
    """
    plain = plain_form(model, plain_forms)
    expected = model(sample)
    if not torch.isfinite(expected).all():
        raise LipbenchError("training diverged: the network's outputs are not finite; lower learning_rate")
    difference = (plain(sample) - expected).abs().max()
    if not bool(difference <= TOLERANCE * expected.abs().max()):
        raise LipbenchError(
            f"the network in its plain form, which is stored, differs from the trained one by {difference:.3g}: a "
            "layer computes something else in eval mode than its plain form does; give it a method vanilla_export"
        )
    return plain


@torch.no_grad()
def plain_form(model: nn.Module, plain_forms: PlainForms = NOTHING) -> nn.Sequential:
    """As ``export``, without the comparison."""
    return _Plain(plain_forms).chain(model.eval()).eval()


class _Plain:
    """The plain forms of modules."""

    def __init__(self, plain_forms: PlainForms):
        self._forms = plain_forms

    def chain(self, chain: nn.Module) -> nn.Sequential:
        return nn.Sequential(OrderedDict((name, self.of(child)) for name, child in _children(chain)))

    def of(self, module: Any) -> nn.Module:
        own = self._forms.get(parametrize.type_before_parametrizations(module))
        if own is not None:
            return self._given(module, lambda: own(module))
        if isinstance(module, nn.Sequential):
            return self.chain(module)
        computed = isinstance(getattr(type(module), "weight", None), property)
        if computed:
            # deel-torchlip serves in eval mode the weight of its last forward in training mode, a step behind
            weight = module.train().weight
            module.eval()
        if hasattr(module, "vanilla_export"):
            return self._given(module, module.vanilla_export)
        if computed:
            layer = _torch_layer(module, weight)
            if layer is not None:
                return layer
        if isinstance(module, torchlip.LipResidual):
            combination = ConvexCombination()
            combination.weight = nn.Parameter(torch.sigmoid(module.alpha))
            return combination
        if isinstance(module, SortPairs):
            return torchlip.GroupSort2()
        if isinstance(module, L2Pool):
            return nn.LPPool2d(2, module.window, module.stride, module.ceil_mode)
        if computed and not parametrize.is_parametrized(module):
            raise LipbenchError(
                f"the layer {type(module).__name__} computes its weight and has no plain form, in which it could be "
                "stored: give it a method vanilla_export, or its set of layers a plain form of it"
            )
        plain = _without_parametrizations(module)
        for name, child in _children(module):
            if name in plain._modules:  # not the parametrisations
                plain._modules[name] = self.of(child)
        return plain

    def _given(self, module: nn.Module, form: Callable[[], nn.Module]) -> nn.Module:
        """A copy of the plain form that other code gives."""
        try:
            found = form()
        except Exception as error:
            said = f"{type(error).__name__}: {one_line(error)}"
            raise LipbenchError(f"the plain form of {type(module).__name__} failed: {said}") from error
        if not isinstance(found, nn.Module):
            raise LipbenchError(
                f"the plain form of {type(module).__name__} must be a module, got {type(found).__name__}"
            )
        return copy.deepcopy(found)


def _children(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """With those that occur twice, which torch's ``named_children`` leaves out."""
    return [(name, child) for name, child in module._modules.items() if child is not None]


def _without_parametrizations(module: nn.Module) -> nn.Module:
    """A copy whose parametrised tensors are plain, with the values of training mode.

    torch's ``remove_parametrizations`` would change the class of the copy, which is that of the module as well.
    """
    plain = copy.deepcopy(module)
    if parametrize.is_parametrized(plain):
        lists: Any = plain.train().parametrizations
        values = {name: getattr(plain, name).detach().clone() for name in lists}
        buffers = {name for name in lists if "original" in lists[name]._buffers}
        plain.__class__ = parametrize.type_before_parametrizations(plain)
        del plain._modules["parametrizations"]
        for name, value in values.items():
            if name in buffers:
                plain.register_buffer(name, value)
            else:
                plain.register_parameter(name, nn.Parameter(value))
        plain.eval()
    return plain


def _torch_layer(layer: nn.Module, weight: Tensor) -> nn.Module | None:
    """The layer of torch that ``layer`` derives from, with the weight that it computes; None for other layers."""
    plain: nn.Module
    kinds = nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d
    if isinstance(layer, nn.Linear):
        plain = nn.Linear(layer.in_features, layer.out_features, layer.bias is not None)
    elif isinstance(layer, kinds):
        make: Any = next(kind for kind in kinds if isinstance(layer, kind))
        plain = make(
            layer.in_channels,
            layer.out_channels,
            layer.kernel_size,
            stride=layer.stride,
            padding=layer.padding,
            dilation=layer.dilation,
            groups=layer.groups,
            bias=layer.bias is not None,
            padding_mode=layer.padding_mode,
            **({"output_padding": layer.output_padding} if make is nn.ConvTranspose2d else {}),
        )
    else:
        return None
    plain.weight = nn.Parameter(weight.clone())
    if layer.bias is not None:
        plain.bias = nn.Parameter(layer.bias.clone())
    return plain
