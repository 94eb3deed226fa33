"""Digests of torch modules: equal for equal weights and equal code, whichever process computes them."""

import hashlib
import inspect
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

STATE = {"_parameters", "_buffers", "_modules", "training"}  # hashed as weights, as submodules, or not at all


def weights_sha256(module: nn.Module) -> str:
    """The digest of all parameters and buffers, by name; those that are not stored with the module included."""
    digest = hashlib.sha256()
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def code_sha256(module: nn.Module) -> str:
    """The digest of what a module computes with besides its weights: classes, their source, and plain attributes.

    Torch's own source is left out: the version of torch is in the settings of a run. So are attributes that are neither
    plain values nor tensors nor functions, whose text may differ from process to process.
    """
    digest = hashlib.sha256()
    for name, part in module.named_modules():
        kind: Any = type(part)
        digest.update(f"{name} {kind.__module__}.{kind.__qualname__}\n{_source(kind)}\n".encode())
        for key, value in sorted(vars(part).items()):
            if key not in STATE:
                digest.update(f"{key}=".encode())
                digest.update(b"".join(_of_value(value)))
    return digest.hexdigest()


def _of_value(value: Any) -> Iterator[bytes]:
    if isinstance(value, Tensor):
        yield _bytes(value)
    elif value is None or isinstance(value, str | int | float | complex | bytes | torch.dtype | torch.device):
        yield repr(value).encode()
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _of_value(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield repr(key).encode() if isinstance(key, str | int) else b""
            yield from _of_value(item)
    elif inspect.isroutine(value) or isinstance(value, type):
        yield f"{getattr(value, '__qualname__', '')}{_source(value)}".encode()


@lru_cache(maxsize=1024)
def _source(thing: Any) -> str:
    if (getattr(thing, "__module__", None) or "").split(".")[0] == "torch":
        return ""
    try:
        return inspect.getsource(thing)
    except (OSError, TypeError):  # written in C, or made at run time
        return ""


def _bytes(tensor: Tensor) -> bytes:
    if tensor.is_quantized:
        tensor = tensor.int_repr()
    plain = tensor.detach().to_dense() if tensor.layout is not torch.strided else tensor.detach()
    return plain.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
