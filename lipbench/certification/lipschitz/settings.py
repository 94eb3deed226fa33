"""Settings of layers as torch takes them: one number, or one for each axis."""

from typing import Any


def pair(value: Any) -> tuple[int, int]:
    """An int or a sequence as (height, width)."""
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[-1]))


def single(value: Any) -> int:
    """An int or a sequence of one, of a one-dimensional layer."""
    return int(value) if isinstance(value, int) else int(value[0])


def adaptive_sizes(output_size: Any, planes: tuple[int, ...]) -> tuple[int, int]:
    """The (height, width) that an adaptive pool gives; None keeps that of its inputs, ``planes``."""
    sizes = (output_size, output_size) if isinstance(output_size, int) or output_size is None else output_size
    height, width = (size or whole for size, whole in zip(sizes, planes, strict=True))
    return height, width
