"""Rounding errors of affine steps W h + b, and what their rules share."""

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor

from lipbench.certification.lipschitz.effects import Flow, Rounding
from lipbench.certification.lipschitz.norms import norms_of, rounded_up
from lipbench.errors import UnsupportedError


def refuse_flows(*weights: Any) -> None:
    """Raise UnsupportedError if a weight depends on the network's input."""
    if any(isinstance(weight, Flow) for weight in weights):
        raise UnsupportedError("no Lipschitz rule for a product of two tensors that both depend on the input")


def affine_rounding(
    *,
    terms: int,
    outputs: int,
    gain: float,
    bias: Tensor | None,
    positions: int,
    apply: Callable[[Tensor], Tensor],
) -> Rounding:
    """Rounding of W h + b: sums of ``terms`` products and the bias.

    gain: bound of the norm of |W|; bias: float64 (channels,) used at ``positions`` places; apply: h to |W| h + |b|.
    """
    offset = 0.0 if bias is None else rounded_up(bias.norm().item() * math.sqrt(positions), terms)
    return Rounding(
        operations=terms + 1,
        gains=(gain,),
        offset=offset,
        underflows=terms * math.sqrt(outputs),
        magnitude=lambda h: norms_of(apply(h.abs())),
    )
