"""The state that a forward may read or change beside its input: tensors, Python's own data, random numbers.

A network is a function of its input only if no such state moves while it runs. Watched are the attributes of modules,
nested; the variables of the classes, modules and functions that their code names; and the generators of random numbers.
Not watched are files, clocks, attributes set on a library, results in an ``lru_cache``, and the state of C code.
"""

import collections
import contextvars
import functools
import itertools
import random
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lipbench.errors import UnsupportedError

_PLAIN = (bool, int, float, complex, str, bytes, type(None))
_DEEPEST = 8  # of nested data
_MOST = 100_000  # objects that are looked at
_MODULES_OWN = {"_parameters", "_buffers", "_modules"}


def snapshot(module: nn.Module) -> list[Any]:
    """Equal for two moments if nothing moved between them that a forward of ``module`` may depend on.

    Take both after the same input: values that a forward only stores are then the same as well.
    """
    reader = _Reader()
    seen: list[Any] = [_generators()]
    for part in module.modules():
        seen += [_tensor(held) for held in (*part._parameters.values(), *part._buffers.values()) if held is not None]
        seen += [(name, reader.data(held)) for name, held in vars(part).items() if name not in _MODULES_OWN]
        reader.add_type(type(part))
    waiting = list(reader.functions.values())
    while waiting:  # reading the data that one names may find others
        known = len(reader.functions)
        for name, held in _variables(waiting.pop()):
            seen.append((name, reader.data(held)))
        waiting += list(reader.functions.values())[known:]
    return [*seen, *(reader.data(held) for held in list(reader.classes.values()))]


def check(before: list[Any], after: list[Any]) -> None:
    """Raise UnsupportedError if something moved between two snapshots."""
    if before[0] != after[0]:
        raise UnsupportedError("the forward draws random numbers: its outputs are no function of its input")
    if before != after:
        raise UnsupportedError(
            "the forward changes state that it may read again (attributes, variables or weights): its outputs are no "
            "function of its input"
        )


def _generators() -> Any:
    numpy = _legacy(np.random.get_state(legacy=False))  # noqa: NPY002  whether a forward draws from it
    on_gpu = [_bytes(torch.cuda.get_rng_state())] if torch.cuda.is_initialized() else []
    return _bytes(torch.get_rng_state()), random.getstate(), numpy, on_gpu


def _legacy(state: Any) -> Any:
    """The state of a generator of NumPy's older kind."""
    held = state["state"]
    return held["key"].tobytes(), held.get("pos"), state["has_gauss"]


def _tensor(held: Tensor) -> Any:
    """The content of a tensor, as values that can be compared."""
    if held.is_meta or held.is_sparse or held.is_quantized:
        return type(held), tuple(held.shape)
    return tuple(held.shape), held.dtype, _bytes(held.detach())


def _bytes(held: Tensor) -> int:
    flat = held.reshape(-1).contiguous().cpu()
    return hash(flat.view(torch.uint8).numpy().tobytes()) if flat.numel() else 0


class _Reader:
    """Reads nested data as values that can be compared, each object once, and finds the code that belongs to it."""

    def __init__(self) -> None:
        self._seen: dict[int, Any] = {}  # also keeps the objects, so that no number is used twice
        self.functions: dict[int, types.FunctionType] = {}
        self.classes: dict[type, dict[str, Any]] = {}

    def data(self, held: Any, depth: int = 0) -> Any:
        """Plain data and tensors by their content, functions by their code, other objects by their state.

        Raises UnsupportedError for data that are too many or too deep to be compared.
        """
        if isinstance(held, _PLAIN):
            return type(held), repr(held)
        if id(held) in self._seen:
            return type(held)
        if depth > _DEEPEST or len(self._seen) > _MOST:
            raise UnsupportedError("the network holds more data than can be watched for changes while it runs")
        self._seen[id(held)] = held
        function = _function(held)
        if function is not None:
            self._add(function)
            return function.__code__
        for kinds, read in _READ:
            if isinstance(held, kinds):
                return type(held), read(held)
        return type(held), self._parts(held, depth + 1)

    def _parts(self, held: Any, depth: int) -> Any:
        if isinstance(held, dict):
            return [(self.data(key, depth), self.data(value, depth)) for key, value in list(held.items())]
        if isinstance(held, list | tuple | collections.deque):
            return [self.data(item, depth) for item in held]
        if isinstance(held, type):
            self.add_type(held)
            return held
        if isinstance(held, types.GeneratorType):
            return held.gi_frame and (held.gi_frame.f_lasti, self.data(dict(held.gi_frame.f_locals), depth))
        if isinstance(held, contextvars.ContextVar):
            return self.data(held.get(None), depth)
        if isinstance(held, nn.Module):  # one that is no part of the network
            return self.data({**vars(held), **held._parameters, **held._buffers, **held._modules}, depth)
        python_own = type(held).__module__ == "builtins"  # ranges, and iterators
        if isinstance(held, types.ModuleType) or (_belongs_to_library(type(held)) and not python_own):
            return None
        self.add_type(type(held))
        try:
            return self.data(held.__reduce_ex__(4)[1:], depth)  # also of slots, and where an iterator stands
        except UnsupportedError:
            raise
        except Exception:  # what cannot be copied, such as a lock
            return self.data(getattr(held, "__dict__", None), depth)

    def add_type(self, kind: type) -> None:
        """The methods of a user's class, and the data that it holds itself."""
        for base in kind.__mro__:
            if not _belongs_to_library(base):
                for function in filter(None, map(_function, vars(base).values())):
                    self._add(function)
                plain = {name: held for name, held in vars(base).items() if not name.startswith("__")}
                self.classes[base] = {name: held for name, held in plain.items() if _function(held) is None}

    def _add(self, function: types.FunctionType) -> None:
        if not _belongs_to_library(function):
            self.functions.setdefault(id(function), function)


_READ: tuple[tuple[Any, Any], ...] = (
    (Tensor, _tensor),
    (np.ndarray, lambda held: (held.shape, repr(held) if held.dtype.kind == "O" else hash(held.tobytes()))),
    ((np.generic, types.BuiltinFunctionType, itertools.count), repr),
    (random.Random, lambda held: held.getstate()),
    (np.random.Generator, lambda held: repr(held.bit_generator.state)),
    (np.random.RandomState, lambda held: _legacy(held.get_state(legacy=False))),
    (torch.Generator, lambda held: _bytes(held.get_state())),
    ((set, frozenset), lambda held: sorted(map(repr, held))),
)


# --- code ------------------------------------------------------------------------------------------------------------


def _function(held: Any) -> types.FunctionType | None:
    """A plain function, also behind a method, a property's getter, or functools.partial."""
    for name in ("__func__", "func", "fget", "__wrapped__"):
        held = getattr(held, name, held) if isinstance(held, _WRAPPERS) else held
    return held if isinstance(held, types.FunctionType) else None


_WRAPPERS = (
    types.MethodType, staticmethod, classmethod, functools.partial, property, functools._lru_cache_wrapper,
)  # fmt: skip


def _variables(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """The variables that a function's code names (global, enclosing, of users' modules), and the data it keeps."""
    names = set(_names(function.__code__))
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    held = {name: cell.cell_contents for name, cell in cells if not _is_empty(cell)}
    held |= {name: function.__globals__[name] for name in names & function.__globals__.keys()}
    for name, value in sorted(held.items()):
        if isinstance(value, types.ModuleType) and not _belongs_to_library(value):
            yield from ((inner, vars(value)[inner]) for inner in sorted(names & vars(value).keys()))
        elif not _belongs_to_library(value):
            yield name, value
            if isinstance(value, type):
                yield from ((inner, vars(value)[inner]) for inner in sorted(names & vars(value).keys()))
    yield "defaults", function.__defaults__
    yield "keyword defaults", function.__kwdefaults__
    yield "attributes", vars(function)


def _names(code: types.CodeType) -> Iterator[str]:
    """The names in some code, and in that of functions within it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _is_empty(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is None
    except ValueError:  # not assigned yet
        return True


_LIBRARIES = {"builtins", "torch", "numpy", "lipbench", "deel", "orthogonium"}


def _belongs_to_library(held: Any) -> bool:
    """True for a module, class or function of a library that is trusted; functions by where their code is from."""
    function = _function(held)
    if function is not None:
        name: Any = function.__globals__.get("__name__")
    else:
        name = held.__name__ if isinstance(held, types.ModuleType) else getattr(held, "__module__", None)
    return isinstance(name, str) and name.split(".")[0] in _LIBRARIES
