"""What a forward may read or change beside its input: tensors, Python's own data, random numbers, torch's settings.

A network is a function of its input only if nothing of that moves while it runs. What is seen: attributes of opened
modules, nested; variables of the modules and functions that their code names; the generators of random numbers. Not
seen: files, clocks, and what C code keeps.
"""

import collections
import functools
import inspect
import random
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lipbench.errors import UnsupportedError
from lipbench.lipschitz.tracing import is_layer

_PLAIN = (bool, int, float, complex, str, bytes, type(None))
_DEEPEST = 8  # of nested data
_MOST = 100_000  # objects that are looked at


def snapshot(module: nn.Module) -> list[Any]:
    """Equal for two moments if nothing moved between them that a forward of ``module`` may depend on.

    Take both after the same input: what a forward only stores is then the same as well.
    """
    reader = _Reader()
    seen: list[Any] = [_generators()]
    functions: dict[int, types.FunctionType] = {}
    for part in module.modules():
        tensors = (*part._parameters.values(), *part._buffers.values())
        seen += [_tensor(held) for held in tensors if held is not None]
        if not is_layer(part):
            held_here = {name: held for name, held in vars(part).items() if name not in _MODULES_OWN}
            seen += [(name, reader.data(held)) for name, held in held_here.items()]
            for function in (*_methods(type(part)), *map(_function, held_here.values())):
                if function is not None:
                    functions[id(function)] = function
    for function in _reached(functions):
        seen += [(function.__qualname__, name, reader.data(held)) for name, held in _variables(function)]
    return seen


def check(before: list[Any], after: list[Any]) -> None:
    """Raise UnsupportedError if something moved between two snapshots."""
    if before[0] != after[0]:
        raise UnsupportedError("the forward draws random numbers: its outputs are no function of its input")
    if before != after:
        raise UnsupportedError(
            "the forward changes state that it may read again (attributes, variables or weights): its outputs are no "
            "function of its input"
        )


_MODULES_OWN = {"_parameters", "_buffers", "_modules"}


def _generators() -> Any:
    state: Any = np.random.get_state(legacy=False)  # noqa: NPY002  whether a forward draws from it
    on_gpu = [_bytes(torch.cuda.get_rng_state())] if torch.cuda.is_initialized() else []
    return _bytes(torch.get_rng_state()), random.getstate(), repr(state), on_gpu


def _tensor(held: Tensor) -> Any:
    """What a tensor holds."""
    if held.is_meta or held.is_sparse or held.is_quantized:
        return type(held), tuple(held.shape)
    return tuple(held.shape), held.dtype, _bytes(held.detach())


def _bytes(held: Tensor) -> int:
    flat = held.reshape(-1).contiguous().cpu()
    return hash(flat.view(torch.uint8).numpy().tobytes()) if flat.numel() else 0


class _Reader:
    """Reads nested data as values that can be compared; each object once."""

    def __init__(self) -> None:
        self._seen: dict[int, Any] = {}  # also keeps the objects, so that no number is used twice

    def data(self, held: Any, depth: int = 0) -> Any:
        """Plain data and tensors by what they hold, other objects by their attributes, functions by their code."""
        if isinstance(held, _PLAIN):
            return type(held), repr(held)
        if id(held) in self._seen or depth > _DEEPEST or len(self._seen) > _MOST:
            return type(held)
        self._seen[id(held)] = held
        if isinstance(held, Tensor):
            return _tensor(held)
        if isinstance(held, np.ndarray):
            return held.shape, held.dtype.str, repr(held) if held.dtype.kind == "O" else hash(held.tobytes())
        if isinstance(held, np.generic | types.BuiltinFunctionType) or type(held).__module__ == "itertools":
            return repr(held)
        if isinstance(held, random.Random):
            return held.getstate()
        if isinstance(held, np.random.Generator):
            return repr(held.bit_generator.state)
        if isinstance(held, torch.Generator):
            return _bytes(held.get_state())
        if isinstance(held, dict):
            return [(self.data(key, depth + 1), self.data(value, depth + 1)) for key, value in list(held.items())]
        if isinstance(held, list | tuple | collections.deque):
            return type(held), [self.data(item, depth + 1) for item in held]
        if isinstance(held, set | frozenset):
            return type(held), sorted(repr(item) for item in held)
        function = _function(held)
        if function is not None:
            return function.__code__
        if isinstance(held, type | types.ModuleType | nn.Module) or _is_librarys(type(held)):
            return type(held)
        return type(held), self.data(getattr(held, "__dict__", None), depth + 1)


# --- code ------------------------------------------------------------------------------------------------------------


def _methods(kind: type) -> Iterator[types.FunctionType]:
    """The methods of a user's class of modules."""
    for base in kind.__mro__:
        if not _is_librarys(base):
            yield from filter(None, map(_function, vars(base).values()))


def _function(held: Any) -> types.FunctionType | None:
    """A plain function, also behind a method, a property's getter, or functools.partial."""
    for name in ("__func__", "func", "fget"):
        held = getattr(held, name, held) if isinstance(held, _WRAPPERS) else held
    return held if isinstance(held, types.FunctionType) else None


_WRAPPERS = (types.MethodType, staticmethod, classmethod, functools.partial, property)


def _reached(functions: dict[int, types.FunctionType]) -> list[types.FunctionType]:
    """These functions and the plain ones that their code names."""
    waiting = list(functions.values())
    while waiting:
        for _, held in _variables(waiting.pop()):
            inner = _function(held)
            if inner is not None and id(inner) not in functions and not _is_librarys(inner):
                functions[id(inner)] = inner
                waiting.append(inner)
    return list(functions.values())


def _variables(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """The global and enclosing variables that a function's code names, and what it keeps as defaults."""
    try:
        found = inspect.getclosurevars(function)
    except (TypeError, ValueError):
        return
    for name, held in (*found.nonlocals.items(), *found.globals.items()):
        if not (isinstance(held, types.ModuleType) or _is_librarys(held)):
            yield name, held
    yield "defaults", function.__defaults__
    yield "keyword defaults", function.__kwdefaults__
    yield "attributes", vars(function)


_LIBRARIES = ("builtins", "torch", "numpy", "lipbench", "deel", "orthogonium")


def _is_librarys(held: Any) -> bool:
    module = getattr(held, "__module__", None)
    return isinstance(module, str) and module.split(".")[0] in _LIBRARIES
