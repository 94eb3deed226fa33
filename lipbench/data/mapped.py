"""Arrays in files, which may be larger than the memory, and may be changed by others while they are in use.

A map shows the current content of its file, and ends the process where the file has become shorter. So no code reads
the pages of a map: ``read`` reads the file, and each block must be the same as when it was first read.
"""

import hashlib
import os
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.array_utils import byte_bounds
from numpy.typing import NDArray

from lipbench.errors import ChangedDataError, LipbenchError

BLOCK = 2**16  # bytes, which are read at once and have one digest


def digest(block: bytes) -> bytes:
    """The digest of a block, by which a change is noticed."""
    return hashlib.sha256(block).digest()


class Blocks:
    """The bytes of an array in a file that stays open: a file that is renamed to its name later is another one."""

    def __init__(self, path: Path, descriptor: int, offset: int, size: int, digests: Iterable[bytes] = ()):
        self.path, self.descriptor, self.offset, self.size = path, descriptor, offset, size
        self._digests = dict(enumerate(digests))  # of the blocks that were read, by number
        weakref.finalize(self, os.close, descriptor)

    def read(self, low: int, high: int) -> tuple[bytearray, int]:
        """Whole blocks that hold the bytes low .. high - 1, and the position of low in them.

        Raises LipbenchError if a block has changed.
        """
        first, last = low // BLOCK, (high - 1) // BLOCK
        content = bytearray(min(self.size, (last + 1) * BLOCK) - first * BLOCK)
        for number in range(first, last + 1):
            block = self._block(number)
            found = digest(block)
            if self._digests.setdefault(number, found) != found:
                raise self._changed("it does not hold any more what it held")
            place = (number - first) * BLOCK
            content[place : place + len(block)] = block
        return content, low - first * BLOCK

    def _block(self, number: int) -> bytes:
        end = min((number + 1) * BLOCK, self.size)
        parts, left = [], end - number * BLOCK
        while left:
            try:
                part = os.pread(self.descriptor, left, self.offset + end - left)
            except OSError as error:
                raise LipbenchError(f"cannot read {self.path}: {error.strerror or error}") from error
            if not part:
                raise self._changed("it is shorter than it was")
            parts.append(part)
            left -= len(part)
        return b"".join(parts)

    def _changed(self, how: str) -> ChangedDataError:
        return ChangedDataError(
            f"{self.path} was changed while it was in use: {how}; nothing was computed from what it holds now. Restore "
            "it, or choose another output folder with -o, and run the same command again"
        )


def keep(array: "np.memmap[Any, Any]", blocks: Blocks) -> None:
    """Have ``read`` take the content of ``array``, a whole map, from ``blocks``."""
    array.blocks = blocks  # type: ignore[attr-defined]


def read(array: NDArray[Any]) -> NDArray[Any]:
    """The same array, in memory if it is a view of a read-only ``numpy.memmap`` of a file; else unchanged.

    Raises ChangedDataError if the file was changed since it was first read.
    """
    whole = _whole(array)
    blocks = None if whole is None else _blocks(whole)
    if whole is None or blocks is None:
        return array
    if not array.size:
        return np.empty(array.shape, array.dtype)
    begin = _address(whole)
    low, high = (bound - begin for bound in byte_bounds(array))
    content, place = blocks.read(low, high)
    place += _address(array) - begin - low  # strides may be negative
    return np.ndarray(array.shape, array.dtype, content, place, array.strides)


def _whole(array: NDArray[Any]) -> Any:
    """The map that ``array`` is a view of, or None."""
    base: Any = array
    found = None
    while isinstance(base, np.ndarray):
        found = base if isinstance(base, np.memmap) else found
        base = base.base
    return found


def _blocks(whole: Any) -> Blocks | None:
    """The blocks of a map; if a plugin made it, those of the file of its name."""
    if not hasattr(whole, "blocks") and whole.mode == "r" and whole.filename is not None:
        try:
            descriptor = os.open(whole.filename, os.O_RDONLY)
        except OSError:  # the file was removed meanwhile: only the map is left
            return None
        keep(whole, Blocks(Path(whole.filename), descriptor, whole.offset, whole.nbytes))
    return getattr(whole, "blocks", None)


def _address(array: NDArray[Any]) -> int:
    address: int = array.__array_interface__["data"][0]
    return address
