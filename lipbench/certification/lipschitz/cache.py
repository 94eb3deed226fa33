"""A cache on disk: norms of large weights cost seconds, and are kept by the hash of all that determines them."""

import contextlib
import contextvars
import functools
import inspect
import json
import os
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, ParamSpec

from torch import Tensor

from lipbench._internal import files

P = ParamSpec("P")
VARIABLE = "LIPBENCH_CACHE"  # the folder; empty: nothing is kept
LARGE = 2**12  # entries of a weight; for smaller ones, computing is faster than reading
_wanted = contextvars.ContextVar("_wanted", default=True)


@contextlib.contextmanager
def not_kept() -> Iterator[None]:
    """Inside, norms are neither read nor kept: for weights that are about to change, as in training."""
    token = _wanted.set(False)
    try:
        yield
    finally:
        _wanted.reset(token)


def folder() -> Path | None:
    """The folder of the norms: $LIPBENCH_CACHE, else $XDG_CACHE_HOME/lipbench, else ~/.cache/lipbench."""
    if VARIABLE in os.environ:
        return Path(os.environ[VARIABLE]) if os.environ[VARIABLE] else None
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lipbench"


def cached(compute: Callable[P, float]) -> Callable[P, float]:
    """Keep the values of a function of tensors and plain data. The key covers the source of the function's module.

    A folder that cannot be read or written is no error: the value is computed.
    """
    source = sha256(inspect.getsource(inspect.getmodule(compute) or compute).encode()).hexdigest()

    @functools.wraps(compute)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> float:
        tensors = [value for value in args if isinstance(value, Tensor)]
        root = folder() if _wanted.get() else None
        if root is None or sum(tensor.numel() for tensor in tensors) < LARGE:
            return compute(*args, **kwargs)
        digest = sha256(f"{source}{[_plain(value) for value in args]}{sorted(kwargs.items())}".encode())
        for tensor in tensors:
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        path = root / "norms" / f"{digest.hexdigest()}.json"
        try:
            return float.fromhex(json.loads(path.read_text())["norm"])
        except (OSError, ValueError, KeyError, TypeError):
            value = compute(*args, **kwargs)
        try:
            files.make_folder(path.parent)
            files.write_json(path, {"norm": value.hex()})
        except Exception:  # a full or read-only disk costs time, not the result
            pass
        return value

    return wrapper


def _plain(value: Any) -> Any:
    return (tuple(value.shape), str(value.dtype)) if isinstance(value, Tensor) else value
