"""Rounding errors that hold at every point of [0, 1]^d, and those of layers without an error analysis."""

import math
from dataclasses import replace

import torch
from torch import Tensor

from lipbench.certification.lipschitz import Rounding
from lipbench.certification.lipschitz.graph import Graph
from lipbench.certification.lipschitz.norms import norms_of
from lipbench.certification.rounding import ROUND_UP, StepErrors, analyse

ASSUMED = 64  # torch's exp, erf and tanh are good to a few roundings, GELU and its like take a handful of them


@torch.no_grad()
def with_assumed_roundings(graph: Graph, dtype: torch.dtype, device: torch.device) -> Graph:
    """The graph with ``ASSUMED`` roundings for layers without an error analysis and for constants that are computed.

    Each rounding is relative to the size of the layer's inputs times its constant, to the size of its outputs, and to 1
    for each number, which functions such as exp(x) - 1 have on the way. |T(h)| <= |T(c)| + l |h - c|, with c the value
    at the range's centre.
    """
    offsets: dict[int, float] = {}

    def visit(place: int, inputs: list[Tensor], value: Tensor) -> None:
        effect = graph.steps[place].effect
        if effect.rounding is None:
            sizes = sum(factor * float(norms_of(h)) for factor, h in zip(effect.lipschitz, inputs, strict=True))
            offsets[place] = sizes + float(norms_of(value)) + math.sqrt(value.numel())

    graph.run(_centre(graph, dtype, device), visit)
    steps = list(graph.steps)
    for place, step in enumerate(steps):
        rounding = step.effect.rounding
        if rounding is None:
            gains = tuple(2 * factor for factor in step.effect.lipschitz)
            rounding = Rounding(ASSUMED, gains, offsets[place], ASSUMED * math.sqrt(math.prod(step.shape)))
        elif graph.computed is not None and rounding.operations:
            rounding = replace(rounding, operations=rounding.operations + ASSUMED)
        steps[place] = replace(step, effect=replace(step.effect, rounding=rounding))
    return replace(graph, steps=steps, computed=None)


def _centre(graph: Graph, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The centre of [0, 1]^d, (1, ...)."""
    return torch.full((1, *graph.steps[0].shape), 0.5, dtype=dtype, device=device)


def range_errors(graph: Graph, body: int, dtype: torch.dtype, device: torch.device) -> tuple[StepErrors, float]:
    """The errors of the body, and of all outputs together, at every point of [0, 1]^d.

    No point lies further than sqrt(d) / 2 from the centre.
    """
    centre = _centre(graph, dtype, device)
    reach = math.sqrt(centre.numel()) / 2 * ROUND_UP
    places = (body, len(graph.steps) - 1)
    inside, outside = (found.within(reach) for found in analyse(graph, centre, places, 4 * reach, sharp=False))
    return inside, float(outside.constant)
