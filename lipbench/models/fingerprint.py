"""Digests of torch modules: equal for equal weights and equal code, whichever process computes them.

What a run folder holds for a digest is not computed again, so that two networks may not share one. What counts:
weights; the compiled code of the classes, of their bases, and of the functions that they call, with defaults, closures
and the globals that they read; attributes, down to arrays, containers and objects of the author's own. What does not:
torch's, NumPy's and Python's own code and objects, whose state has no stable form, such as generators and open files;
code written in C; and globals of another module that are read through its name (``settings.scale``).
"""

import argparse
import collections
import functools
import hashlib
import inspect
import sys
import types
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

STATE = {"_parameters", "_buffers", "_modules", "training"}  # hashed as weights, as submodules, or not at all
PLAIN = str | int | float | complex | bytes | None | types.EllipsisType | torch.dtype | torch.device | slice | range
OPENED = (types.SimpleNamespace, argparse.Namespace)  # objects of Python's own classes that hold an author's values
LIBRARIES = (set(sys.stdlib_module_names) | {"builtins", "torch", "numpy"}) - {"__main__"}
HEAP_TYPE = 1 << 9  # of the flags of a class: it was made by a class statement, not in C
DEEPEST = 60  # objects within objects


def weights_sha256(module: nn.Module) -> str:
    """The digest of all parameters and buffers, by name; those that are not stored with the module included."""
    digest = hashlib.sha256()
    named = (module.named_parameters, module.named_buffers)
    for name, tensor in (item for list_them in named for item in list_them(remove_duplicate=False)):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def code_sha256(module: nn.Module) -> str:
    """The digest of what a module computes with besides its weights: code, attributes, and the order of its parts."""
    return _Digests(module).of(module).hex()


class _Digests:
    """The digests of the values that a module holds, each computed once."""

    def __init__(self, module: nn.Module):
        self._weights_known = {id(part) for part in module.modules()}
        self._known: dict[int, bytes] = {}
        self._open: list[int] = []  # what is being looked at, from the outside in
        self._kept: list[Any] = []  # so that no other object gets the id of one in ``_known``

    def of(self, value: Any) -> bytes:
        """32 bytes, equal for equal values."""
        if isinstance(value, PLAIN):  # repr tells 1 from True and from 1.0
            return _hash("plain", [f"{type(value).__name__} {value!r}".encode()])
        key = id(value)
        if key in self._open:
            return _hash("within", [str(len(self._open) - self._open.index(key)).encode()])
        if key not in self._known:
            if len(self._open) >= DEEPEST:
                return _hash("deep", [_name(type(value)).encode()])
            self._open.append(key)
            try:
                self._known[key] = _hash(_name(type(value)), self._parts(value))
            finally:
                self._open.pop()
            self._kept.append(value)
        return self._known[key]

    def _all(self, values: Iterable[Any]) -> Iterator[bytes]:
        return (self.of(value) for value in values)

    def _parts(self, value: Any) -> Iterator[bytes]:
        """What tells a value from others of its type."""
        if isinstance(value, nn.Module):
            yield from self._of_module(value)
        elif isinstance(value, Tensor):
            yield f"{value.dtype} {tuple(value.shape)}".encode()
            yield b"" if value.is_meta else _bytes(value)
        elif isinstance(value, np.ndarray | np.generic):
            yield f"{value.dtype} {value.shape}".encode()
            yield from self._all(value.ravel().tolist()) if value.dtype.hasobject else [value.tobytes()]
        elif isinstance(value, set | frozenset):
            yield from sorted(self._all(value))
        elif isinstance(value, list | tuple | collections.deque):
            yield from self._all(value)
        elif isinstance(value, dict):
            yield from self._all(part for item in value.items() for part in item)
        elif isinstance(value, type):
            yield from self._of_class(value)
        else:
            yield from self._of_other(value)

    def _of_module(self, module: nn.Module) -> Iterator[bytes]:
        yield self.of(type(module))
        if id(module) not in self._weights_known:  # a list holds it: torch does not see it
            yield weights_sha256(module).encode()
        yield from self._all(part for item in module._modules.items() for part in item)
        held = {name: value for name, value in vars(module).items() if name not in STATE}
        yield from self._all(part for item in sorted(held.items()) for part in item)

    def _of_class(self, kind: type) -> Iterator[bytes]:
        for base in kind.__mro__:
            yield _name(base).encode()
            if not _of_library(base):
                own = sorted((name, value) for name, value in vars(base).items() if _counts(name, value))
                yield from self._all(part for item in own for part in item)

    def _of_other(self, value: Any) -> Iterator[bytes]:
        if isinstance(value, types.CodeType):
            yield value.co_code
            yield from self._all((value.co_names, value.co_varnames, value.co_freevars, *value.co_consts))
        elif isinstance(value, types.FunctionType):
            yield _name(value).encode()
            if not _of_library(value):
                yield from self._of_function(value)
        elif isinstance(value, types.MethodType):
            yield from self._all((value.__func__, value.__self__))
        elif isinstance(value, functools.partial):
            yield from self._all((value.func, value.args, value.keywords))
        elif isinstance(value, property):
            yield from self._all((value.fget, value.fset))
        elif isinstance(value, staticmethod | classmethod | functools.cached_property) or hasattr(value, "__wrapped__"):
            yield self.of(inspect.unwrap(getattr(value, "func", getattr(value, "__func__", value))))
        elif isinstance(value, types.ModuleType) or inspect.isroutine(value):
            yield _name(value).encode()
        elif isinstance(value, OPENED) or not _of_library(type(value)):
            slots = [name for base in type(value).__mro__ for name in _slots(base) if hasattr(value, name)]
            yield self.of(type(value))
            held = {**{name: getattr(value, name) for name in slots}, **getattr(value, "__dict__", {})}
            yield from self._all(part for item in sorted(held.items()) for part in item)

    def _of_function(self, function: types.FunctionType) -> Iterator[bytes]:
        yield from self._all((function.__code__, function.__defaults__, function.__kwdefaults__))
        for cell in function.__closure__ or ():
            try:
                held = cell.cell_contents
            except ValueError:  # not filled yet
                continue
            yield self.of(held)
        names = sorted(_names(function.__code__) & function.__globals__.keys())
        yield from self._all(part for name in names for part in (name, function.__globals__[name]))


def _hash(tag: str, parts: Iterable[bytes]) -> bytes:
    """A digest of a tag and of parts, each with its length."""
    digest = hashlib.sha256(f"{tag}\n".encode())
    for part in parts:
        digest.update(f"{len(part)} ".encode() + part)
    return digest.digest()


def _name(thing: Any) -> str:
    qualified = getattr(thing, "__qualname__", None) or getattr(thing, "__name__", "")
    return f"{getattr(thing, '__module__', '')}.{qualified}"


def _of_library(thing: Any) -> bool:
    """Whether its code is torch's, NumPy's or Python's own; code that was made by ``exec`` may have no module."""
    made = isinstance(thing, types.FunctionType) or getattr(thing, "__flags__", 0) & HEAP_TYPE
    if made and getattr(thing, "__module__", None) == "builtins":
        return False
    return str(getattr(thing, "__module__", None) or "").split(".")[0] in LIBRARIES


def _counts(name: str, value: Any) -> bool:
    """Whether an entry of a class is of its author: not what Python itself, or copying, adds."""
    dunder = name.startswith("__") and name.endswith("__")
    return name != "_abc_impl" and (not dunder or isinstance(value, types.FunctionType))


def _slots(kind: type) -> tuple[str, ...]:
    found = vars(kind).get("__slots__", ())
    return (found,) if isinstance(found, str) else tuple(found)


def _names(code: types.CodeType) -> set[str]:
    """The names of globals, and of attributes, that code reads, with that of the functions within it."""
    inner = (constant for constant in code.co_consts if isinstance(constant, types.CodeType))
    return set(code.co_names).union(*map(_names, inner))


def _bytes(tensor: Tensor) -> bytes:
    if tensor.is_quantized:
        scale = f"{tensor.qscheme()} {tensor.dequantize().double().abs().sum().item()!r}".encode()
        return scale + tensor.int_repr().cpu().contiguous().numpy().tobytes()
    plain = tensor.detach().to_dense() if tensor.layout is not torch.strided else tensor.detach()
    return plain.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
