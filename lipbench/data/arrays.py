"""Inputs and labels as callers of the Python interface give them: arrays, tensors, lists, data frames."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lipbench.errors import LipbenchError, one_line

RANKS = {1: "vectors (d,)", 2: "series (c, l)", 3: "images (c, h, w)"}  # of an input, by the number of its axes
CHANNELS = (1, 3)  # of most images
MOST_CLASSES = 2**31


def inputs(x: Any) -> Tensor:
    """A copy of x as float32 (n, ...) in [0, 1], on the device that it is on; uint8 pixels are divided by 255.

    Raises LipbenchError as ``stored_inputs`` does.
    """
    given = stored_inputs(x)
    return given.float().div_(torch.tensor(255.0, device=given.device)) if given.dtype is torch.uint8 else given


def stored_inputs(x: Any) -> Tensor:
    """A copy of x as uint8 in 0..255 or float32 in [0, 1], (n, ...), on the device that it is on.

    Raises LipbenchError unless x is an array or a tensor of n > 0 vectors (n, d), series (n, c, l) or images
    (n, c, h, w), of uint8, or of floats in [0, 1] before rounding to float32.
    """
    given = as_tensor(x, "x")
    if not given.is_floating_point() and given.dtype is not torch.uint8:
        raise LipbenchError(
            f"x must be of floats in [0, 1], or of uint8 in 0..255, got {_type(given)}: divide pixels of 0..255 by "
            "255, as in x / 255"
        )
    if given.ndim - 1 not in RANKS or given.numel() == 0:
        raise LipbenchError(
            "x must be of shape (n, d), (n, c, l) or (n, c, h, w), with n > 0 inputs that are not empty, got "
            f"{tuple(given.shape)}"
        )
    if given.dtype is torch.uint8:
        return given.clone()
    if not torch.isfinite(given).all():
        raise LipbenchError("x must lie in [0, 1], got NaN or infinite numbers")
    if given.min() < 0 or given.max() > 1:
        raise LipbenchError(
            f"x must lie in [0, 1], got {given.min():.9g} to {given.max():.9g}: rescale it (divide 0..255 by 255), and "
            "put mean and std into the network"
        )
    return given.to(torch.float32, copy=True)


def class_labels(labels: Any, count: int, classes: int | None) -> Tensor:
    """Labels of ``count`` samples as int64 (n,), on the CPU; classes: how many there are, None if that is not known.

    Raises LipbenchError unless they are whole numbers (n,) in 0 .. classes - 1; bools only count for two classes.
    """
    given = as_tensor(labels, "labels").cpu()
    shape = tuple(given.shape)
    if shape == (count, classes) or (classes is None and given.ndim == 2 and shape[1] > 1):
        raise LipbenchError(f"labels of shape {shape} look one-hot: pass labels.argmax(1)")
    if shape != (count,):
        hint = ": pass labels[:, 0]" if shape == (count, 1) else ""
        raise LipbenchError(f"labels must be of shape ({count},), got {shape}{hint}")
    if given.is_complex() or (given.dtype is torch.bool and classes not in (2, None)):
        raise LipbenchError(f"labels must be whole numbers, got {_type(given)} for {classes} classes")
    if given.is_floating_point():
        broken = (given != given.floor()) | ~given.isfinite()
        if broken.any():
            place = int(broken.nonzero()[0])
            raise LipbenchError(f"labels must be whole numbers, got {float(given[place]):.6g} for sample {place}")
    numbers = given.double() if given.is_floating_point() else given.to(torch.int64)
    if numbers.min() < 0 or numbers.max() >= (MOST_CLASSES if classes is None else classes):
        expected = "be counted from 0" if classes is None else f"lie in 0..{classes - 1}"
        raise LipbenchError(f"labels must {expected}, got {numbers.min():g} to {numbers.max():g}")
    return numbers.to(torch.int64)


def layout_hint(shape: tuple[int, ...]) -> str:
    """What may be wrong with inputs that a network refuses, to follow the message: empty if nothing is known.

    shape: of one input, without the batch.
    """
    if len(shape) == 3 and shape[2] in CHANNELS and shape[0] not in CHANNELS:
        return "; channels last? pass x.permute(0, 3, 1, 2)"
    if len(shape) == 2 and shape[0] == shape[1]:
        return "; images without a channel axis? pass x[:, None]"
    return ""


def as_tensor(given: Any, name: str) -> Tensor:
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
