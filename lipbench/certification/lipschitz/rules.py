"""The table of rules: what a layer or a function does to distances, and to rounding errors.

A rule is found by the exact type of a layer (a subclass may compute something else), by the function itself
(``torch.cat``), or by the name of a tensor method (``"view"``). What has no rule is an error; it never counts as 1.

    @rule(MyLayer)
    def _my_layer(layer, input_shape): return 1.0

A rule of a layer takes the layer in eval mode and the shape of one input, (c, h, w) or (features,), for each tensor
that goes in. A rule of a function takes the function's own arguments, with a ``Flow`` for each tensor that depends on
the network's input. Both return a number that is never below the Lipschitz constant, also after rounding, or an
``Effect``. A type of a library that need not be installed is given by its dotted name, as a string.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from lipbench.certification.lipschitz.norms import rounded_up
from lipbench.errors import LipbenchError, UnsupportedError, one_line

Shape = tuple[int, ...]
Rule = Callable[..., "float | Effect"]
R = TypeVar("R", bound=Rule)
Magnitude = Callable[..., Tensor]


@dataclass(frozen=True)
class Rounding:
    """How far a layer's floating-point result may lie from the exact one, for the same floating-point inputs h.

        |fl(T(h)) - T(h)|_2  <=  gamma_n (sum_i gains[i] |h_i|_2 + offset)  +  underflows * m  +  roots * sqrt(m)

    with m the smallest normal number (subnormal results may be flushed to 0), gamma_n = n u / (1 - n u),
    n = ``operations``, for any order of summation, with or without FMA (Higham 2002,
    section 3.1); ``gains`` bounds the norm of |W| and ``offset`` is |b|_2. ``magnitude`` takes the inputs h as float64
    (n, ...) and returns a sharper bound of the bracket for each sample, float64 (n,): | |W| |h| + |b| |_2.
    """

    operations: int = 0
    gains: tuple[float, ...] = (0.0,)
    offset: float = 0.0
    underflows: float = 0.0
    magnitude: Magnitude | None = None
    roots: float = 0.0


EXACT = Rounding()  # comparing, choosing and moving numbers does not round


@dataclass(frozen=True)
class Effect:
    """What a layer does to distances and errors.

    ``lipschitz``: the constant in each tensor that goes in; ``stacked``: the squares of what each input contributes
    add up (outputs side by side, or the larger of two), otherwise the contributions themselves do (a sum);
    ``rounding``: None where no error analysis is known, so that the grade ``float`` is not available.
    """

    lipschitz: tuple[float, ...]
    rounding: Rounding | None = None
    stacked: bool = False


@dataclass(frozen=True)
class Flow:
    """In a rule's arguments: a tensor that depends on the network's input.

    ``shape``: without the batch; ``source``: the name of the node that gives it, in the network's graph.
    """

    shape: Shape
    source: str = field(default="", compare=False)

    def planes(self, dimensions: int = 2) -> tuple[int, ...]:
        """(c, h, w), or (c, l) for one dimension. Raises LipbenchError for other shapes, which torch may take as one
        sample whose channels are the batch.
        """
        if len(self.shape) != dimensions + 1:
            expected = "(c, h, w)" if dimensions == 2 else "(c, l)"
            raise LipbenchError(f"expected inputs {expected} of one sample, got {self.shape}")
        return self.shape

    def dim(self, dim: int) -> int:
        """A dimension of the batched tensor as an index into ``shape``. Raises UnsupportedError for the batch's."""
        if dim % (len(self.shape) + 1) == 0:
            raise UnsupportedError("an operation along the batch dimension makes samples depend on each other")
        return dim % (len(self.shape) + 1) - 1


def constants_rounded(outputs: int, *constants: Any) -> Rounding:
    """Of a step that chooses between its inputs, so many times, and numbers: those are rounded to the arithmetic."""
    numbers = [abs(float(one)) for one in constants if isinstance(one, int | float) and math.isfinite(one)]
    if all(torch.tensor(one, dtype=torch.float32).item() == one for one in numbers):
        return EXACT
    return Rounding(1, (0.0,), rounded_up(max(numbers) * math.sqrt(outputs), 4), math.sqrt(outputs))


def is_moderate(constants: Tensor) -> bool:
    """True if rounding the constants to float32 is a relative error: they are 0, or far from its limits."""
    sizes = constants.abs()
    return bool(((sizes == 0) | ((sizes > 1e-30) & (sizes < 1e30))).all())


def broadcast(*values: Any) -> Shape:
    """The shape (1, ...) that ``Flow`` objects, constant tensors and numbers are broadcast to, for one sample.

    Raises UnsupportedError where the batch dimension would meet another one.
    """
    dimensions = 1 + next(len(value.shape) for value in values if isinstance(value, Flow))
    shapes = []
    for value in values:
        shape = (1, *value.shape) if isinstance(value, Flow) else tuple(getattr(value, "shape", ()))
        short = len(shape) < dimensions and not isinstance(value, Flow)
        if not short and (len(shape) != dimensions or shape[0] != 1):
            raise UnsupportedError(
                f"a tensor of shape {shape} is broadcast along the batch dimension: samples would depend on each other"
            )
        shapes.append(shape)
    return tuple(torch.broadcast_shapes(*shapes))


def repeats(value: Any, out: Shape) -> float:
    """The root of how often broadcasting to ``out`` repeats each number: its constant, rounded up."""
    count = math.prod(out) // max(1, math.prod(getattr(value, "shape", ())))
    return 1.0 if count <= 1 else rounded_up(math.sqrt(count))


_RULES: dict[Any, Rule] = {}
# through which torch calls a module; what is replaced here runs instead of the forward
_CALLS = ("__call__", "_wrapped_call_impl", "_call_impl", "_slow_forward", "forward", "_conv_forward")
_CALLED: dict[type, tuple[Any, ...]] = {}  # of the layers that have rules, when these were made


def _calls_of(kind: type) -> tuple[Any, ...]:
    return tuple(getattr(kind, name, None) for name in _CALLS)


def rule(*targets: Any) -> Callable[[R], R]:
    """Register the decorated function as the rule of layer types, functions, or tensor methods (by name)."""

    def register(function: R) -> R:
        for target in targets:
            _RULES[target] = function
            if isinstance(target, type):
                _CALLED[target] = _calls_of(target)
        return function

    return register


def find(target: Any) -> Rule | None:
    """The rule of a layer type, a function or a method name, or None."""
    try:
        if target in _RULES:
            return _RULES[target]
    except TypeError:  # not hashable
        return None
    return _RULES.get(dotted(target)) if isinstance(target, type) else None


def dotted(target: Any) -> str:
    """The name of a type, function or method, as messages and optional types give it."""
    if isinstance(target, str):
        return f"Tensor.{target}"
    module, name = getattr(target, "__module__", None) or "torch", getattr(target, "__qualname__", str(target))
    return f"{module.lstrip('_')}.{name.removeprefix('_VariableFunctionsClass.')}"


def layer_effect(layer: nn.Module, *shapes: Shape) -> Effect:
    """What a layer does, by its rule; ``shapes``: of one input each. See ``lipschitz_bound`` for what is raised."""
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
    """What a rule gives for arguments in its own order. Raises UnsupportedError for those that it does not know."""
    try:
        value = found(*args, **kwargs)
        effect = value if isinstance(value, Effect) else Effect((float(value),))
    except LipbenchError:
        raise
    except Exception as error:  # arguments or shapes that the rule does not know
        raise UnsupportedError(
            f"no Lipschitz rule for {dotted(target)} with these arguments: {one_line(error)}"
        ) from error
    if not all(constant >= 0 for constant in effect.lipschitz):  # NaN is not either
        raise LipbenchError(f"the rule for {dotted(target)} gave {effect.lipschitz}: are all weights finite?")
    return effect


def no_rule(target: Any) -> UnsupportedError:
    """The error for a layer or function without a rule."""
    kind = "layer" if isinstance(target, type) else "function"
    return UnsupportedError(
        f"no Lipschitz rule for the {kind} {dotted(target)}: it is not counted as 1; "
        "register one with @lipbench.lipschitz.rule"
    )


_GLOBAL_HOOKS = ("_global_forward_hooks", "_global_forward_pre_hooks")


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
    """Raise UnsupportedError for a layer whose type is called, or computes, otherwise than when its rule was made."""
    kind = type(layer)
    if kind in _CALLED and _CALLED[kind] != _calls_of(kind):
        raise UnsupportedError(
            f"the forward of the type {kind.__name__} was replaced after its rule was made, so that it may compute "
            "something else: restore it"
        )
