"""The table of rules: registering a rule, finding it, and applying it.

A rule is found by the exact type of a layer (a subclass may compute something else), by the function itself
(``torch.cat``), or by the name of a tensor method (``"view"``). A target without a rule is an error; it never counts
as 1.

    @rule(MyLayer)
    def _my_layer(layer, input_shape): return 1.0

A rule of a layer takes the layer in eval mode and the shape of one input, (c, h, w) or (features,), for each tensor
that goes in. A rule of a function takes the function's own arguments, with a ``Flow`` for each tensor that depends on
the network's input. Both return a number that is never below the Lipschitz constant, also after rounding, or an
``Effect``. A type of a library that need not be installed is given by its dotted name, as a string.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn

from lipbench.certification.lipschitz.effects import Effect, Shape
from lipbench.certification.lipschitz.replaced import refuse_hooks, refuse_replaced_types, remember_calls
from lipbench.errors import LipbenchError, UnsupportedError, one_line

Rule = Callable[..., "float | Effect"]
R = TypeVar("R", bound=Rule)

RULES: dict[Any, Rule] = {}
MAY_RETURN_ITS_INPUT: set[Any] = set()  # functions and methods whose result may be the tensor that they were given


def rule(*targets: Any, may_return_its_input: bool = False) -> Callable[[R], R]:
    """Register the decorated function as the rule of ``targets``: layer types, functions, or tensor methods by name.

    may_return_its_input: the result of a function may share its memory, so that an in-place operation on one of them
    changes the other.
    """

    def register(function: R) -> R:
        for target in targets:
            RULES[target] = function
            if isinstance(target, type):
                remember_calls(target)
        if may_return_its_input:
            MAY_RETURN_ITS_INPUT.update(targets)
        return function

    return register


def find(target: Any) -> Rule | None:
    """The rule of a layer type, a function or a method name, or None."""
    try:
        if target in RULES:
            return RULES[target]
    except TypeError:  # not hashable
        return None
    return RULES.get(dotted(target)) if isinstance(target, type) else None


def dotted(target: Any) -> str:
    """The name of a type, function or method, as messages and optional types give it."""
    if isinstance(target, str):
        return f"Tensor.{target}"
    module, name = getattr(target, "__module__", None) or "torch", getattr(target, "__qualname__", str(target))
    return f"{module.lstrip('_')}.{name.removeprefix('_VariableFunctionsClass.')}"


def layer_effect(layer: nn.Module, *shapes: Shape) -> Effect:
    """The effect of a layer, by its rule; ``shapes``: of one input each. See ``lipschitz_bound`` for what is raised."""
    found = find(type(layer))
    if found is None:
        raise no_rule(type(layer))
    refuse_replaced_types(layer)
    for part in layer.modules():
        refuse_hooks(part)
    for name, tensor in (*layer.named_parameters(), *layer.named_buffers()):
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise LipbenchError(f"{type(layer).__name__}.{name} holds NaN or infinite weights: no bound exists")
    return applied(found, type(layer), (layer, *shapes), {})


def applied(found: Rule, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Effect:
    """The effect that a rule gives for arguments in its own order.

    Raises UnsupportedError for arguments that the rule does not know, LipbenchError for constants below 0 or NaN.
    """
    try:
        value = found(*args, **kwargs)
        effect = value if isinstance(value, Effect) else Effect((float(value),))
    except LipbenchError:
        raise
    except Exception as error:  # arguments or shapes that the rule does not know
        raise UnsupportedError(
            f"no Lipschitz rule for {dotted(target)} with these arguments: {one_line(error)}"
        ) from error
    if not all(constant >= 0 for constant in effect.lipschitz):  # NaN fails this comparison too
        raise LipbenchError(f"the rule for {dotted(target)} gave {effect.lipschitz}: are all weights finite?")
    return effect


def no_rule(target: Any) -> UnsupportedError:
    """The error for a layer or function without a rule."""
    kind = "layer" if isinstance(target, type) else "function"
    return UnsupportedError(
        f"no Lipschitz rule for the {kind} {dotted(target)}: it is not counted as 1; register one with @lipbench.rule"
    )
