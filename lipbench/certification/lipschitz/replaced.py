"""Layers whose call was replaced or has hooks: they may compute something else than their type says."""

from typing import Any

from torch import nn

from lipbench.errors import UnsupportedError

# through which torch calls a module; what is replaced here runs instead of the forward
_CALLS = ("__call__", "_wrapped_call_impl", "_call_impl", "_slow_forward", "forward", "_conv_forward")
_REMEMBERED: dict[type, tuple[Any, ...]] = {}  # of the layers that have rules, when these were registered
_GLOBAL_HOOKS = ("_global_forward_hooks", "_global_forward_pre_hooks")


def _calls_of(kind: type) -> tuple[Any, ...]:
    return tuple(getattr(kind, name, None) for name in _CALLS)


def remember_calls(kind: type) -> None:
    """Remember how a layer type is called and computes now, while its rule is registered."""
    _REMEMBERED[kind] = _calls_of(kind)


def refuse_hooks(module: nn.Module) -> None:
    """Raise UnsupportedError for a module that may compute something else than its type says."""
    replaced = set(_CALLS) & vars(module).keys() or vars(module).get("_compiled_call_impl") is not None
    if module._forward_hooks or module._forward_pre_hooks or replaced:
        raise UnsupportedError(
            f"{type(module).__name__} has a forward hook or a replaced forward, so that it may compute something else "
            "than its type says: remove it"
        )
    for name in _GLOBAL_HOOKS:
        if getattr(nn.modules.module, name):
            raise UnsupportedError(
                "torch has forward hooks for all modules (register_module_forward_hook), so that layers may compute "
                "something else than their type says: remove them"
            )


def refuse_replaced_types(layer: nn.Module) -> None:
    """Raise UnsupportedError for a layer whose type was called, or computed, otherwise when its rule was registered."""
    kind = type(layer)
    if kind in _REMEMBERED and _REMEMBERED[kind] != _calls_of(kind):
        raise UnsupportedError(
            f"the forward of the type {kind.__name__} was replaced after its rule was registered, so that it may "
            "compute something else: restore it"
        )
