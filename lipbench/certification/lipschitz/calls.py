"""Calls as their rules see them: each argument is bound to the signature of the function, then to that of the rule.

So the order of keywords, positions and defaults of a call cannot matter, and tensors are numbered in the rule's order.
Python functions and modules have signatures of their own; those of torch's functions and methods come from its schemas.
"""

import functools
import inspect
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from lipbench.certification.lipschitz.effects import Effect, Flow
from lipbench.certification.lipschitz.table import applied, dotted, find, layer_effect, no_rule
from lipbench.errors import UnsupportedError

# NumPy's names, which torch accepts instead of its own (python_arg_parser.cpp)
_ALIASES = {"axis": "dim", "keepdims": "keepdim", "x": "input", "a": "input", "x1": "input", "x2": "other"}
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def function_effect(target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Effect, list[Flow]]:
    """The effect of a call, by its rule, and the tensors that go in, numbered as the effect numbers them.

    target: a function, or the name of a tensor method; each tensor that depends on the network's input is given as a
    ``Flow``. Raises UnsupportedError for a target without a rule, for a call that fits no signature, and for arguments
    that the rule does not know.
    """
    found = find(target)
    if found is None:
        raise no_rule(target)
    rule = inspect.signature(found)
    if is_variadic(rule):  # such a rule states that order does not matter
        arguments = rule.bind(*args, **kwargs)
    else:
        arguments = for_rule(target, rule, _bound(target, args, kwargs))
    flows = list(flows_of(arguments.arguments))
    if len(flows) != len(list(flows_of([args, kwargs]))):
        raise UnsupportedError(f"no Lipschitz rule for {dotted(target)} with these arguments")
    return applied(found, target, arguments.args, arguments.kwargs), flows


def called_layer_effect(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Effect, list[Flow]]:
    """The same for a call of a layer: its tensors are numbered in the order of its forward.

    Raises UnsupportedError also for any other argument that is not the default of its forward.
    """
    if find(type(layer)) is None:
        raise no_rule(type(layer))
    signature = inspect.signature(type(layer).forward)
    try:
        called = signature.bind(layer, *args, **kwargs)
    except TypeError as error:
        raise UnsupportedError(f"no Lipschitz rule for {type(layer).__name__} with these arguments: {error}") from error
    for name, value in list(called.arguments.items())[1:]:
        parameter = signature.parameters[name]
        values = value if parameter.kind in _VARIADIC else [value]
        for one in values.values() if isinstance(values, dict) else values:
            if not isinstance(one, Flow) and one is not parameter.default:
                raise UnsupportedError(f"no Lipschitz rule for {type(layer).__name__} called with more than tensors")
    flows = list(flows_of(called.arguments))
    return layer_effect(layer, *(flow.shape for flow in flows)), flows


def flows_of(structure: Any) -> Iterator[Flow]:
    """Each ``Flow`` of nested arguments, in order, as often as it occurs."""
    if isinstance(structure, Flow):
        yield structure
    elif isinstance(structure, dict):
        yield from flows_of(list(structure.values()))
    elif isinstance(structure, tuple | list):
        for item in structure:
            yield from flows_of(item)
    elif isinstance(structure, slice):
        yield from flows_of([structure.start, structure.stop, structure.step])


# --- the signature of what is called ---------------------------------------------------------------------------------


def _bound(target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> inspect.BoundArguments:
    """A call by the parameters of the function that is called, with its defaults."""
    candidates = signatures(target)
    if not candidates:  # the meaning of a keyword is unknown
        if kwargs:
            raise UnsupportedError(f"no Lipschitz rule for {dotted(target)} with keywords: its signature is unknown")
        return inspect.Signature([inspect.Parameter("args", _VARIADIC[0])]).bind(*args)
    for strictly in (True, False):  # torch accepts numbers in place of some tensors
        fitting = [bound for one in candidates if (bound := _fitted(one, args, kwargs, strictly=strictly)) is not None]
        if fitting:
            break
    else:
        raise UnsupportedError(f"no Lipschitz rule for {dotted(target)} with these arguments")
    first = fitting[0]
    if any(_differ(first, other) for other in fitting[1:]):
        raise UnsupportedError(f"no Lipschitz rule for {dotted(target)}: its arguments can be read in two ways")
    first.apply_defaults()
    return first


@functools.cache
def signatures(target: Any) -> tuple[inspect.Signature, ...]:
    """The signatures of a function, or of a tensor method given by name: one for each of torch's overloads."""
    method = isinstance(target, str)
    function = getattr(Tensor, target, None) if method else target
    try:
        return (inspect.signature(function),) if function is not None else ()
    except (TypeError, ValueError):  # not a Python function
        name = target if method else getattr(target, "__name__", "")
        schemas = torch._C._jit_get_schemas_for_operator(f"aten::{name}")
        return tuple(_of_schema(schema) for schema in schemas if _takes_tensors(schema))


def _takes_tensors(schema: Any) -> bool:
    """True for a function of tensors that allocates its result: not TorchScript's of numbers, not one with ``out``."""
    arguments = schema.arguments
    written = any(one.kwarg_only and one.alias_info is not None and one.alias_info.is_write for one in arguments)
    return bool(arguments) and "Tensor" in str(arguments[0].type) and not written


def _of_schema(schema: Any) -> inspect.Signature:
    """Parameters annotated with the schema's types; ``self`` is what torch's functions call ``input``."""
    return inspect.Signature(
        [
            inspect.Parameter(
                "input" if one.name == "self" else one.name,
                inspect.Parameter.KEYWORD_ONLY if one.kwarg_only else inspect.Parameter.POSITIONAL_OR_KEYWORD,
                default=one.default_value if one.has_default_value() else inspect.Parameter.empty,
                annotation=one.type,
            )
            for one in schema.arguments
        ]
    )


def _fitted(
    signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any], *, strictly: bool
) -> inspect.BoundArguments | None:
    names = signature.parameters
    renamed = {_ALIASES.get(name, name) if name not in names else name: value for name, value in kwargs.items()}
    try:
        bound = signature.bind(*args, **renamed)
    except TypeError:
        return None
    if len(renamed) < len(kwargs):
        return None
    fits = all(_fits(names[name].annotation, value, strictly) for name, value in bound.arguments.items())
    return bound if fits else None


def _fits(kind: Any, value: Any, strictly: bool) -> bool:
    """True if a value may be passed for an argument of this schema type; always for Python's own annotations."""
    if not isinstance(kind, torch._C.Type):
        return True
    word = kind.kind()
    if word == "OptionalType":
        return value is None or _fits(kind.getElementType(), value, strictly)
    if word == "TensorType":
        return isinstance(value, Flow | Tensor) or (not strictly and isinstance(value, int | float))
    if word == "ListType":
        element = kind.getElementType()
        if isinstance(value, tuple | list):
            return all(_fits(element, one, strictly) for one in value)
        return element.kind() != "TensorType" and _fits(element, value, strictly)  # one number for all
    if word == "StringType":
        return isinstance(value, str)
    if isinstance(value, Tensor):  # torch accepts one without dimensions as a number
        return value.ndim == 0
    return value is not None and not isinstance(value, Flow | str | tuple | list)


def _differ(first: inspect.BoundArguments, other: inspect.BoundArguments) -> bool:
    """True if two signatures give the same arguments different names."""
    same_names = first.arguments.keys() == other.arguments.keys()
    return not same_names or any(first.arguments[name] is not other.arguments[name] for name in first.arguments)


# --- the signature of the rule ---------------------------------------------------------------------------------------


def for_rule(target: Any, rule: inspect.Signature, called: inspect.BoundArguments) -> inspect.BoundArguments:
    """A call bound to the rule's own signature, in the order of the rule's parameters.

    Arguments are bound by name where the rule has the names of the function that is called; else by place, if no name
    stands at another place. Raises UnsupportedError where neither fits.
    """
    try:
        if is_variadic(called.signature):
            bound: inspect.BoundArguments | None = rule.bind(*called.args, **called.kwargs)
        else:
            bound = _by_name(target, rule, called) or _by_place(rule, called)
    except TypeError as error:
        raise UnsupportedError(f"no Lipschitz rule for {dotted(target)} with these arguments: {error}") from error
    if bound is None:
        raise UnsupportedError(
            f"the rule for {dotted(target)} must take its arguments ({', '.join(called.signature.parameters)}), in any "
            f"order under these names or in this order under others; it takes ({', '.join(rule.parameters)})"
        )
    bound.arguments = {name: bound.arguments[name] for name in rule.parameters if name in bound.arguments}
    return bound


def _by_name(target: Any, rule: inspect.Signature, called: inspect.BoundArguments) -> inspect.BoundArguments | None:
    """None if the rule lacks a name whose argument is not the default, or has one that no overload has."""
    anywhere = {name for one in signatures(target) for name in one.parameters}
    unknown, unused = called.arguments.keys() - rule.parameters.keys(), rule.parameters.keys() - anywhere
    if not unknown <= _defaulted(called) or (unknown and unused):
        return None
    return rule.bind(**{name: value for name, value in called.arguments.items() if name not in unknown})


def _by_place(rule: inspect.Signature, called: inspect.BoundArguments) -> inspect.BoundArguments | None:
    """None if a name of the rule stands at another place in the call, or its own default would replace the call's."""
    if not _places_agree(rule, called.signature):
        return None
    parameters = called.signature.parameters
    positional = [name for name in called.arguments if parameters[name].kind in _POSITIONAL]
    taken = positional[: sum(one.kind in _POSITIONAL for one in rule.parameters.values())]
    others = called.arguments.keys() - set(taken)
    dropped = _defaulted(called) & others
    named = {name: called.arguments[name] for name in others - dropped}
    bound = rule.bind(*(called.arguments[name] for name in taken), **named)
    return None if dropped and rule.parameters.keys() - bound.arguments.keys() else bound


def _defaulted(called: inspect.BoundArguments) -> set[str]:
    """The arguments of a call that are the defaults."""
    parameters = called.signature.parameters
    return {name for name, value in called.arguments.items() if value is parameters[name].default}


def _places_agree(rule: inspect.Signature, called: inspect.Signature) -> bool:
    places = {name: place for place, name in enumerate(called.parameters)}
    return all(places.get(name, place) == place for place, name in enumerate(rule.parameters))


def is_variadic(signature: inspect.Signature) -> bool:
    """True for a signature with ``*args`` or ``**kwargs``."""
    return any(parameter.kind in _VARIADIC for parameter in signature.parameters.values())
