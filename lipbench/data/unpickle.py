"""Pickles that hold arrays and plain containers, read without running any code that they name.

CIFAR is published as pickles, and a pickle may call any function. Here no name in the file is ever imported: the few
names that NumPy's own pickles use are replaced by the stand-ins below. NumPy's real ``dtype`` is not among them: it
trusts a forged state, and an array then reads bytes as pointers to objects.
"""

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lipbench.errors import LipbenchError, one_line


class _Dtype:
    """Stands for numpy.dtype; plain numbers only."""

    def __init__(self, name: str | bytes, *flags: Any):
        self.name = _text(name)
        if not re.fullmatch("[biuf][1248]", self.name):
            raise pickle.UnpicklingError(f"expected arrays of numbers, got dtype {self.name!r}")
        self.dtype = np.dtype(self.name)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        byte_order = _text(state[1])
        if byte_order in ("<", ">"):
            self.dtype = np.dtype(byte_order + self.name)


class _Array:
    """Stands for numpy.ndarray and the function that makes an empty one; __setstate__ then fills it."""

    def __init__(self, *ignored: Any):
        self.array: NDArray[Any] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, is_fortran, raw = state
        self.array = _array(raw, dtype, shape, "F" if is_fortran else "C")


class _BufferArray(_Array):
    """Stands for NumPy's _frombuffer, which pickles of protocol 5 use."""

    def __init__(self, raw: bytes, dtype: _Dtype, shape: tuple[int, ...], order: str):
        self.array = _array(raw, dtype, shape, order)


class _Encode:
    """Stands for _codecs.encode, with which Python 3 writes bytes in protocol 2."""

    def __call__(self, text: str, encoding: str) -> bytes:
        if encoding != "latin1":
            raise pickle.UnpicklingError(f"expected bytes encoded as latin1, got {encoding!r}")
        return text.encode("latin1")


def _text(value: str | bytes) -> str:
    return value.decode("ascii") if isinstance(value, bytes) else value


def _array(raw: bytes, dtype: _Dtype, shape: tuple[int, ...], order: Any) -> NDArray[Any]:
    # Copied: an array on top of the pickle's bytes would be read-only.
    return np.frombuffer(raw, dtype=dtype.dtype).reshape(shape, order=order).copy()


_STAND_INS: dict[tuple[str, str], type] = {
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _Array,
    ("numpy.core.multiarray", "_reconstruct"): _Array,  # NumPy 1, and the published files
    ("numpy._core.multiarray", "_reconstruct"): _Array,  # NumPy 2
    ("numpy.core.numeric", "_frombuffer"): _BufferArray,
    ("numpy._core.numeric", "_frombuffer"): _BufferArray,
    ("_codecs", "encode"): _Encode,
}


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _STAND_INS:
            raise pickle.UnpicklingError(
                f"it would run {module}.{name}, which is refused; expected arrays and plain containers only"
            )
        stand_in = _STAND_INS[module, name]
        # a fresh instance, so that the file cannot change it for later files
        return stand_in() if stand_in is _Encode else stand_in


def read_dict(path: Path) -> dict[bytes, Any]:
    """The dictionary pickled at ``path``: keys as bytes, arrays as NumPy arrays, Python 2 strings as bytes.

    Raises LipbenchError for a file that is missing, damaged, no dictionary, or that holds anything but arrays of
    numbers and plain containers; no code that it names is run.
    """
    try:
        with path.open("rb") as file:
            content = _PlainUnpickler(file, encoding="bytes").load()
    except FileNotFoundError as error:
        raise LipbenchError(f"no pickle at {path}: the file does not exist") from error
    except Exception as error:  # a damaged or forged pickle may raise anything
        raise LipbenchError(f"cannot read the pickle {path}: {one_line(error)}") from error
    if not isinstance(content, dict):
        raise LipbenchError(f"{path}: expected a pickled dictionary, got {type(content).__name__}")
    return {
        key.encode() if isinstance(key, str) else key: value.array if isinstance(value, _Array) else value
        for key, value in content.items()
    }
