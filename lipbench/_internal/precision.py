"""torch's settings for the precision of what networks compute. Certificates and attacks need IEEE float32, not TF32."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import torch

from lipbench.errors import unknown_name

DTYPES = {"float32": torch.float32, "float64": torch.float64}  # what networks compute in here


def dtype_named(name: object) -> torch.dtype:
    """``torch.float32`` for ``"float32"``; raises LipbenchError for anything but a name of ``DTYPES``."""
    if name not in tuple(DTYPES):  # a tuple: what is unhashable is no name either
        raise unknown_name("dtype", name, DTYPES)
    return DTYPES[str(name)]


def name_of(dtype: torch.dtype) -> str:
    """``"float32"`` for ``torch.float32``."""
    return str(dtype).removeprefix("torch.")


# torch's settings under which float32 products may run in TF32 or bfloat16, and the type of device
_FLOAT32: dict[str, tuple[str, Any]] = {
    "torch.backends.cuda.matmul": ("cuda", torch.backends.cuda.matmul),
    "torch.backends.cudnn.conv": ("cuda", torch.backends.cudnn.conv),  # type: ignore[attr-defined]
    "torch.backends.cudnn.rnn": ("cuda", torch.backends.cudnn.rnn),
    "torch.backends.mkldnn.matmul": ("cpu", torch.backends.mkldnn.matmul),  # type: ignore[attr-defined]
    "torch.backends.mkldnn.conv": ("cpu", torch.backends.mkldnn.conv),  # type: ignore[attr-defined]
}
_ENVIRONMENT = {"NVIDIA_TF32_OVERRIDE": "0", "ONEDNN_DEFAULT_FPMATH_MODE": "STRICT"}


def precisions() -> list[str]:
    """torch's settings for float32 products, which ``set_precisions`` restores."""
    return [str(setting.fp32_precision) for _, setting in _FLOAT32.values()]


def set_precisions(values: list[str] | None = None) -> None:
    """Set torch's precision of float32 products, for the whole process; IEEE everywhere by default.

    Through ``fp32_precision`` alone: torch's older getters refuse states that were set in both ways.
    """
    for (_, setting), value in zip(_FLOAT32.values(), values or ["ieee"] * len(_FLOAT32), strict=True):
        setting.fp32_precision = value


def lowered_precisions(device: torch.device) -> list[str]:
    """The settings under which float32 products on this device may run in TF32 or bfloat16: names and values."""
    lowered = [
        f"{name}.fp32_precision is {setting.fp32_precision!r}"
        for name, (kind, setting) in _FLOAT32.items()
        if kind == device.type and setting.fp32_precision not in ("ieee", "none")
    ]
    for name, exact in _ENVIRONMENT.items():  # they overrule the settings
        if os.environ.get(name, exact).upper() != exact:
            lowered.append(f"the environment variable {name} is {os.environ[name]!r}")
    return lowered


def departure_from_ieee(dtype: torch.dtype, device: torch.device) -> str | None:
    """Why products and sums of this type are not computed in IEEE arithmetic on this device; None where they are."""
    if torch.is_autocast_enabled(device.type):
        return "autocast is on: layers would run in lower precision"
    lowered = lowered_precisions(device) if dtype is torch.float32 else []
    if lowered:
        return f"{lowered[0]}: float32 products may run in TF32 or bfloat16"
    subnormal = torch.full((1,), torch.finfo(dtype).tiny / 2, dtype=dtype, device=device)
    if not (subnormal * 2 > 0).all():
        return "subnormal operands are flushed to 0 (torch.set_flush_denormal): only results may be"
    return None


@contextlib.contextmanager
def without_autocast() -> Iterator[None]:
    """Inside, layers compute in the types of their weights and inputs, whatever autocast is on around them."""
    with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
        yield


@contextlib.contextmanager
def summing_products(device: torch.device) -> Iterator[None]:
    """Inside, convolutions sum products: libraries with Winograd or FFT convolutions, which have other errors, are off.

    cuDNN has them (NVIDIA, cuDNN Developer Guide, ``cudnnConvolutionForward``), some in double precision too; on the
    CPU NNPACK has them, and torch asks oneDNN for direct ones.
    """
    if device.type == "cpu":
        with torch.backends.nnpack.flags(enabled=False):
            yield
    else:  # not by ``cudnn.flags``: that reads the precision through torch's older getter
        before, torch.backends.cudnn.enabled = torch.backends.cudnn.enabled, False
        try:
            yield
        finally:
            torch.backends.cudnn.enabled = before
