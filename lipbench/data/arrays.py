"""Inputs and labels as callers of the Python interface give them: arrays, tensors, lists."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lipbench.errors import LipbenchError, one_line


def images(x: Any) -> Tensor:
    """A copy of x as float32 (n, c, h, w), on the device that it is on.

    Raises LipbenchError unless x is an array or a tensor of floats (n, c, h, w) in [0, 1], before rounding to float32.
    """
    given = _tensor(x, "x")
    if not given.is_floating_point():
        raise LipbenchError(
            f"x must be of floats in [0, 1], got {_type(given)}: divide pixels of 0..255 by 255, as in x / 255"
        )
    if given.ndim != 4 or len(given) == 0:
        raise LipbenchError(f"x must be of shape (n, c, h, w) with n > 0, got {tuple(given.shape)}")
    if not torch.isfinite(given).all():
        raise LipbenchError("x must lie in [0, 1], got NaN or infinite numbers")
    if given.min() < 0 or given.max() > 1:
        raise LipbenchError(f"x must lie in [0, 1], got {given.min():.9g} to {given.max():.9g}")
    return given.to(torch.float32, copy=True)


def class_labels(labels: Any, count: int, classes: int) -> Tensor:
    """Labels of ``count`` samples as int64 (n,), on the CPU.

    Raises LipbenchError unless they are whole numbers (n,) in 0 .. classes - 1; bools only count for two classes.
    """
    given = _tensor(labels, "labels").cpu()
    if tuple(given.shape) == (count, classes):
        raise LipbenchError(f"labels of shape {tuple(given.shape)} look one-hot: pass labels.argmax(1)")
    if tuple(given.shape) != (count,):
        raise LipbenchError(f"labels must be of shape ({count},), got {tuple(given.shape)}")
    if given.is_complex() or (given.dtype is torch.bool and classes != 2):
        raise LipbenchError(f"labels must be whole numbers, got {_type(given)} for {classes} classes")
    if given.is_floating_point():
        broken = (given != given.floor()) | ~given.isfinite()
        if broken.any():
            place = int(broken.nonzero()[0])
            raise LipbenchError(f"labels must be whole numbers, got {float(given[place]):.6g} for sample {place}")
    numbers = given.double() if given.is_floating_point() else given.to(torch.int64)
    if numbers.min() < 0 or numbers.max() >= classes:
        raise LipbenchError(f"labels must lie in 0..{classes - 1}, got {numbers.min():g} to {numbers.max():g}")
    return numbers.to(torch.int64)


def _tensor(given: Any, name: str) -> Tensor:
    """The argument as a dense tensor of numbers, without a gradient; it may share the caller's memory."""
    if isinstance(given, Tensor):
        if given.layout is not torch.strided or given.is_quantized:
            raise LipbenchError(f"{name} must be a dense tensor, got {_type(given)} ({given.layout})")
        return given.detach()
    try:
        array = np.asarray(given)
    except (ValueError, TypeError, RuntimeError) as error:
        raise LipbenchError(f"{name}: no array of numbers, {one_line(error)}") from error
    if array.dtype.kind not in "biufc":
        raise LipbenchError(f"{name} must be an array of numbers, got {array.dtype}")
    if array.dtype == np.uint64:  # torch cannot compare these
        array = array.clip(max=np.iinfo(np.int64).max).astype(np.int64)
    elif array.dtype.itemsize > 8 and array.dtype.kind == "f":  # long double
        array = array.astype(np.float64)
    try:
        return torch.from_numpy(np.array(array, order="C", dtype=array.dtype.newbyteorder("=")))
    except TypeError as error:
        raise LipbenchError(f"{name} must be an array of numbers, got {array.dtype}: {one_line(error)}") from error


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
