"""Arrays of a page as one text: little-endian bytes, one after the other, deflated (RFC 1950), in base64."""

import base64
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVEL = 9


class Blob:
    """Collects arrays; the page finds each by the place at which ``add`` put it."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, array: NDArray[Any]) -> list[int]:
        """[offset in bytes, number of entries] of an array of uint8 or uint16, flattened in C order."""
        data = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        data += b"\0" * (len(data) % 2)  # every array starts at an even place, as a Uint16Array must
        start, self._size = self._size, self._size + len(data)
        self._parts.append(data)
        return [start, int(array.size)]

    def text(self) -> str:
        """All arrays as one text."""
        return base64.b64encode(zlib.compress(b"".join(self._parts), LEVEL)).decode()


def unpack(text: str, place: list[int], dtype: Any) -> NDArray[Any]:
    """An array of a blob's text, as the page reads it. Raises ValueError for a text that no blob has."""
    data = zlib.decompress(base64.b64decode(text))
    return np.frombuffer(data, np.dtype(dtype).newbyteorder("<"), place[1], place[0])
