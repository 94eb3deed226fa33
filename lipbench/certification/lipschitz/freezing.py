"""A network with its weights as plain tensors, computed once from what their layers hold."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from lipbench.certification.lipschitz.replaced import refuse_hooks
from lipbench.errors import LipbenchError, UnsupportedError, one_line

_PLAIN = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d)


def frozen(module: nn.Module) -> nn.Module:
    """A copy in eval mode whose weights are plain tensors: parametrisations are computed once, in their own dtype.

    deel-torchlip and orthogonium compute weights from others at each forward, and orthogonium then moves its buffers
    too. The copy holds the weights that the network would use now. Raises LipbenchError as ``copied`` does.
    """
    return _made_of(module, lambda copy: _with_plain_layers(copy.eval()))


def copied(module: nn.Module) -> nn.Module:
    """A copy that shares nothing with the module. Raises LipbenchError if it cannot be copied, or is compiled."""
    return _made_of(module, lambda copy: copy)


def _made_of(module: nn.Module, make: Callable[[nn.Module], nn.Module]) -> nn.Module:
    _check_kind(module)
    # torch refuses to copy results of computations, such as the batch mean that deel-torchlip's BatchLipNorm keeps
    results = {
        id(held): held.detach().clone()
        for part in module.modules()
        for name, held in vars(part).items()
        if name.startswith("_") and isinstance(held, Tensor) and not held.is_leaf
    }
    try:
        return make(copy.deepcopy(module, results))
    except LipbenchError:
        raise
    except Exception as error:  # weights that are not leaves, such as old weight_norm, or a file that is held open
        raise LipbenchError(f"the network cannot be copied: {one_line(error)}; export it first") from error


def refuse_compiled(module: nn.Module) -> None:
    """Raise UnsupportedError for a module of which a part is compiled."""
    for part in module.modules():
        if type(part).__module__.startswith("torch._dynamo") or vars(part).get("_compiled_call_impl") is not None:
            raise UnsupportedError("the network is compiled (torch.compile): give the module as it was before")


def _check_kind(module: nn.Module) -> None:
    """Raise LipbenchError unless this is an ``nn.Module`` of plain tensors, neither compiled nor TorchScript."""
    if not isinstance(module, nn.Module):
        raise LipbenchError(f"expected a network as a torch.nn.Module, got {type(module).__name__}")
    refuse_compiled(module)
    for part in module.modules():
        if isinstance(part, torch.jit.ScriptModule):
            raise UnsupportedError(
                "the network is TorchScript, which cannot be traced: give the module it was made from"
            )
        held = (*part._parameters.items(), *part._buffers.items())
        for name, tensor in held:
            if isinstance(tensor, nn.UninitializedParameter | nn.UninitializedBuffer):
                raise UnsupportedError(f"{type(part).__name__}.{name} is not initialised: run the network once")
            if tensor is not None and type(tensor) not in (Tensor, nn.Parameter):
                raise UnsupportedError(
                    f"{type(part).__name__}.{name} is a {type(tensor).__name__}, which may compute in its own way: "
                    "expected plain tensors and parameters"
                )


@torch.no_grad()
def _with_plain_layers(module: nn.Module) -> nn.Module:
    """The module with plain layers in it, replaced from the outside in: a weight is computed by the original layers."""
    plain = _plain_layer(module)
    for name, child in plain._modules.items():
        if child is not None:
            plain._modules[name] = _with_plain_layers(child)
    return plain


def _plain_layer(layer: nn.Module) -> nn.Module:
    for kind in _PLAIN:
        same_forward = all(
            getattr(type(layer), name, None) is getattr(kind, name, None)
            for name in ("__call__", "forward", "_conv_forward")
        )
        computed = parametrize.is_parametrized(layer) or isinstance(getattr(type(layer), "weight", None), property)
        if isinstance(layer, kind) and computed and same_forward and not vars(layer).get("forward"):
            refuse_hooks(layer)
            weight = layer.weight.detach().clone()
            plain = kind.__new__(kind)
            plain.__dict__ = {**layer.__dict__, "_modules": {}, "_buffers": {}}
            bias = layer.bias
            plain._parameters = {"weight": nn.Parameter(weight, requires_grad=False), "bias": None}
            if isinstance(bias, Tensor):
                plain._parameters["bias"] = nn.Parameter(bias.detach().clone(), requires_grad=False)
            return plain
    if parametrize.is_parametrized(layer):
        served = {str(name): getattr(layer, str(name)) for name in layer.parametrizations}  # type: ignore[union-attr]
        # torch's remove_parametrizations would also spoil the class, which a copy shares with its original
        layer.__class__ = type(layer).__bases__[0]
        del layer.parametrizations
        for name, tensor in served.items():
            layer.register_parameter(name, nn.Parameter(tensor.detach().clone(), requires_grad=False))
    return layer
