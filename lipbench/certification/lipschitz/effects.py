"""The effect of a layer or a function on distances, and its rounding errors: the result of a rule."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lipbench.certification.lipschitz.norms import rounded_up
from lipbench.errors import LipbenchError, UnsupportedError

Shape = tuple[int, ...]
Magnitude = Callable[..., Tensor]


@dataclass(frozen=True)
class Rounding:
    """How far a layer's floating-point result may lie from the exact one, for the same floating-point inputs h.

        |fl(T(h)) - T(h)|_2  <=  gamma_n (sum_i gains[i] |h_i|_2 + offset)  +  underflows * m  +  roots * sqrt(m)

    with m the smallest normal number (subnormal results may be flushed to 0), gamma_n = n u / (1 - n u),
    n = ``operations``, for any order of summation, with or without FMA (Higham 2002, section 3.1); ``gains`` bounds the
    norm of |W| and ``offset`` is |b|_2. ``magnitude`` takes the inputs h as float64 (n, ...) and returns a sharper
    bound of the bracket for each sample, float64 (n,): | |W| |h| + |b| |_2.
    """

    operations: int = 0
    gains: tuple[float, ...] = (0.0,)
    offset: float = 0.0
    underflows: float = 0.0
    magnitude: Magnitude | None = None
    roots: float = 0.0


EXACT = Rounding()  # comparing, choosing and moving numbers does not round


@dataclass(frozen=True)
class Effect:
    """The effect of a layer on distances and errors.

    ``lipschitz``: the constant in each input tensor; ``stacked``: the squares of the inputs' contributions add up
    (outputs side by side, or the larger of two), otherwise the contributions themselves do (a sum); ``rounding``: None
    where no error analysis is known, so that the grade ``float`` is not available.
    """

    lipschitz: tuple[float, ...]
    rounding: Rounding | None = None
    stacked: bool = False


def side_by_side(constants: tuple[float, ...]) -> Effect:
    """The effect of a step that puts its inputs side by side, or chooses between them: squares add up, exactly."""
    return Effect(constants, Rounding(0, (0.0,) * len(constants)), stacked=True)


@dataclass(frozen=True)
class Flow:
    """In a rule's arguments: a tensor that depends on the network's input.

    ``shape``: without the batch; ``source``: the name of its node in the network's graph.
    """

    shape: Shape
    source: str = field(default="", compare=False)

    def planes(self, dimensions: int = 2) -> tuple[int, ...]:
        """(c, h, w), or (c, l) for one dimension.

        Raises LipbenchError for other shapes: torch may read them as one sample whose channels are the batch.
        """
        if len(self.shape) != dimensions + 1:
            expected = "(c, h, w)" if dimensions == 2 else "(c, l)"
            raise LipbenchError(f"expected inputs {expected} of one sample, got {self.shape}")
        return self.shape

    def dim(self, dim: int) -> int:
        """A dimension of the batched tensor as an index into ``shape``. Raises UnsupportedError for the batch's own."""
        if dim % (len(self.shape) + 1) == 0:
            raise UnsupportedError("an operation along the batch dimension makes samples depend on each other")
        return dim % (len(self.shape) + 1) - 1


def constants_rounded(outputs: int, *constants: Any) -> Rounding:
    """Rounding of a step that chooses, for each of its outputs, between inputs and constants: constants are rounded."""
    numbers = [abs(float(one)) for one in constants if isinstance(one, int | float) and math.isfinite(one)]
    if all(torch.tensor(one, dtype=torch.float32).item() == one for one in numbers):
        return EXACT
    return Rounding(1, (0.0,), rounded_up(max(numbers) * math.sqrt(outputs), 4), math.sqrt(outputs))


def is_moderate(constants: Tensor) -> bool:
    """True if rounding the constants to float32 is a relative error: they are 0, or far from its limits."""
    sizes = constants.abs()
    return bool(((sizes == 0) | ((sizes > 1e-30) & (sizes < 1e30))).all())


def broadcast(*values: Any) -> Shape:
    """The shape (1, ...) that ``Flow`` objects, constant tensors and numbers are broadcast to, for one sample.

    Raises UnsupportedError where the batch dimension would meet another one.
    """
    dimensions = 1 + next(len(value.shape) for value in values if isinstance(value, Flow))
    shapes = []
    for value in values:
        shape = (1, *value.shape) if isinstance(value, Flow) else tuple(getattr(value, "shape", ()))
        short = len(shape) < dimensions and not isinstance(value, Flow)
        if not short and (len(shape) != dimensions or shape[0] != 1):
            raise UnsupportedError(
                f"a tensor of shape {shape} is broadcast along the batch dimension: samples would depend on each other"
            )
        shapes.append(shape)
    return tuple(torch.broadcast_shapes(*shapes))


def repeats(value: Any, out: Shape) -> float:
    """The root of how often broadcasting to ``out`` repeats each number: its constant, rounded up."""
    count = math.prod(out) // max(1, math.prod(getattr(value, "shape", ())))
    return 1.0 if count <= 1 else rounded_up(math.sqrt(count))
