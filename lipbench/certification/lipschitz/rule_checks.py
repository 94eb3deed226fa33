"""Do the steps of a network move as far as their rules allow, and no further?"""

from typing import Any

import torch
from torch import Tensor

from lipbench.certification.lipschitz.agreement import is_coarser
from lipbench.certification.lipschitz.graph import Graph
from lipbench.certification.lipschitz.norms import scaled_norms
from lipbench.errors import UnsupportedError

ROOM = 1e-4  # relative: for the rounding errors of float32


def check_steps(graph: Graph, x: Tensor) -> None:
    """Raise UnsupportedError for a step that rounds to fewer bits, or moves further than its constant allows.

    A step whose values at the samples x lie further apart than that computes something else than its rule says.
    """

    def check(place: int, inputs: list[Tensor], value: Any) -> None:
        step = graph.steps[place]
        for one in value if isinstance(value, tuple | list) else [value]:
            if isinstance(one, Tensor) and one.is_floating_point() and is_coarser(one.dtype, x.dtype):
                raise UnsupportedError(
                    f"no Lipschitz rule for {step.name}: a cast from {x.dtype} to {one.dtype} rounds numbers, and a "
                    "rounded function has no Lipschitz constant; leave the cast out"
                )
        if not isinstance(value, Tensor) or not all(isinstance(one, Tensor) for one in inputs):
            return
        apart = torch.stack([c * _apart(one) for c, one in zip(step.effect.lipschitz, inputs, strict=True)])
        allowed = scaled_norms(apart.T) if step.effect.stacked else apart.sum(dim=0)
        room = ROOM * (_sizes(value) + sum(map(_sizes, inputs), torch.zeros(())))
        if bool((_apart(value) > allowed * (1 + ROOM) + room.to(allowed)).any()):
            raise UnsupportedError(
                f"{step.name} moves further than the constant {step.effect.lipschitz} of its rule allows: its rule, or "
                "what is called, was replaced"
            )

    graph.run(x, check)


def _apart(value: Tensor) -> Tensor:
    """The distance of each sample from the next one: float64 (n - 1,)."""
    rows = value.double().reshape(len(value), -1)
    return scaled_norms(rows[1:] - rows[:-1])


def _sizes(value: Tensor) -> Tensor:
    """The larger norm of each sample and the next one: float64 (n - 1,)."""
    sizes = scaled_norms(value.double().reshape(len(value), -1))
    return torch.maximum(sizes[1:], sizes[:-1])
