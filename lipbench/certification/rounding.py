"""Forward error analysis: how far floating-point logits may lie from the exact ones, at a sample and all around it.

Let h_k be the exact value of step k of a network and H_k the computed one. With T_k of Lipschitz constant l_k, and
local rounding of at most gamma M_k(H) + e_k (``lipschitz.Rounding``; M_k(H) = | |W| |H| + |b| |_2 grows by at most A_k
= | |W| |_2 per unit of H), at a centre x

    D_k  =  l_k D_(k-1) + gamma M_k(H_(k-1)(x)) + e_k                         >=  |H_k(x) - h_k(x)|_2

and at every z with |z - x|_2 <= rho, where |H_(k-1)(z) - H_(k-1)(x)| <= L_(k-1) rho + D_(k-1) + |H - h|(z),

    |H_k(z) - h_k(z)|_2  <=  c_k + s_k rho
    c_k  =  l_k c_(k-1) + gamma (M_k(H_(k-1)(x)) + A_k (D_(k-1) + c_(k-1))) + e_k
    s_k  =  l_k s_(k-1) + gamma A_k (L_(k-1) + s_(k-1))

with sums over the tensors that go into a step (roots of sums of squares where they lie side by side). It is the
standard model (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed. 2002, sections 2.2 and 3.1; underflow
as in section 2.1): it holds for any order of summation, with or without FMA, for any batch size and memory layout; not
with TF32, bfloat16, or convolution algorithms that do not sum products (Winograd, FFT).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lipbench._internal.precision import departure_from_ieee, summing_products
from lipbench.certification.lipschitz import Rounding
from lipbench.certification.lipschitz.graph import Graph, Step
from lipbench.certification.lipschitz.norms import norms_of
from lipbench.errors import LipbenchError

TINY = 1e-300  # in place of a product that may vanish
UP = 1 + 2.0**-46  # more than the float64 roundings of any one line here
ROUND_UP = 1 + 4 * 2.0**-53  # of one or two operations in float64
ROUND_DOWN = 1 - 4 * 2.0**-53


class NotAnalysed(Exception):  # noqa: N818  never shown as an error: the grade is not available
    """Why no error analysis exists for a network: one line."""


@dataclass(frozen=True)
class StepErrors:
    """At one step, for each of n centres: |computed - exact| <= constant + slope * rho within a distance of rho.

    constant, size: float64 (n,); ``size``: the norm of the computed value anywhere at distance rho is at most
    size + growth * rho.
    """

    constant: Tensor
    slope: float
    size: Tensor
    growth: float

    def within(self, radius: float) -> "StepErrors":
        """The errors around every point within ``radius`` of the centre, as if that point were the centre."""
        return StepErrors(
            (self.constant + self.slope * radius) * UP, self.slope, (self.size + self.growth * radius) * UP, self.growth
        )


def unit_roundoff(dtype: torch.dtype) -> float:
    """The unit roundoff u = eps / 2, the largest relative error of rounding to nearest."""
    return torch.finfo(dtype).eps / 2


def gamma(operations: int, dtype: torch.dtype) -> float:
    """gamma_n = n u / (1 - n u), rounded up. Raises NotAnalysed unless n u < 1 / 2."""
    share = operations * unit_roundoff(dtype)
    if share >= 0.5:
        raise NotAnalysed(f"sums of {operations} terms are too long for {dtype}: n u < 1 / 2 is needed")
    return share / (1 - share) * UP


@torch.no_grad()
def analyse(graph: Graph, x: Tensor, places: tuple[int, ...], reach: float, *, sharp: bool) -> list[StepErrors]:
    """The errors at some steps of a network, around each x (n, ...), in the dtype of x and the network.

    places: steps; reach: the largest rho in use, up to which overflow is excluded; sharp: compute
    M_k(H(x)) = | |W| |H| + |b| |_2 for each sample, at about the cost of two more forward passes in float64, instead
    of |W|'s norm times |H|'s. Raises NotAnalysed where a step has no error analysis or a precondition fails.
    """
    departure = departure_from_ieee(x.dtype, x.device)
    if departure is not None:
        raise NotAnalysed(departure)
    if graph.computed is not None:
        raise NotAnalysed(f"{graph.computed} computes a constant in the forward: export it as a weight")
    carried = _CarriedErrors(graph, x, places, reach, sharp)
    with summing_products(x.device):
        output = graph.run(x, carried.visit)
    if not torch.isfinite(output).all():
        raise LipbenchError("the network's logits are not finite: its weights or its preprocessing are out of range")
    return [carried.found[place] for place in places]


class _CarriedErrors:
    """D_k, c_k and s_k of the steps that a network has run so far, as the docstring of this module defines them."""

    def __init__(self, graph: Graph, x: Tensor, places: tuple[int, ...], reach: float, sharp: bool):
        self.graph, self.dtype, self.places, self.reach, self.sharp = graph, x.dtype, places, reach, sharp
        zero = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        self.at_centre: list[Tensor] = [zero]  # D_k
        self.constant: list[Tensor] = [zero]
        self.slope: list[float] = [0.0]
        self.found = {0: StepErrors(zero, 0.0, norms_of(x), 1.0)} if 0 in places else {}

    def visit(self, place: int, inputs: list[Tensor], value: Tensor) -> None:
        """Add the errors of the next step."""
        step = self.graph.steps[place]
        rounding = step.effect.rounding
        if rounding is None:
            raise NotAnalysed(f"no error analysis is known for {step.name}")
        d, c = [self.at_centre[i] for i in step.inputs], [self.constant[i] for i in step.inputs]
        s = [self.slope[i] for i in step.inputs]
        through_d, through_c = _combined(step, d), _combined(step, c)
        through_s = float(_combined(step, [torch.tensor(one, dtype=torch.float64) for one in s]))
        if rounding.operations:
            magnitude, spread, steepness = self._magnitudes(step, rounding, inputs)
            factor, lost = gamma(rounding.operations, self.dtype), _lost(rounding, self.dtype)
            through_d = through_d + factor * magnitude + lost
            through_c = through_c + factor * (magnitude + spread) + lost
            through_s = through_s + factor * steepness
        self.at_centre.append(through_d * UP)
        self.constant.append(through_c * UP)
        self.slope.append(through_s * UP)
        if place in self.places:
            constant, slope = self.constant[place], self.slope[place]
            size = (norms_of(value) + (self.at_centre[place] + constant)) * UP
            self.found[place] = StepErrors(constant, slope, size, step.lipschitz + slope)

    def _magnitudes(self, step: Step, rounding: Rounding, inputs: list[Tensor]) -> tuple[Tensor, Tensor, float]:
        """M_k at the centre, how much larger it may be for errors of the inputs, and its growth per unit of rho.

        Raises NotAnalysed where the step may overflow.
        """
        d, c = [self.at_centre[i] for i in step.inputs], [self.constant[i] for i in step.inputs]
        magnitude = _magnitude(rounding, inputs, self.sharp)
        gains = [self.graph.steps[i].lipschitz + self.slope[i] for i in step.inputs]
        steepness = sum(a * g for a, g in zip(rounding.gains, gains, strict=True)) * UP
        spread = torch.stack([a * (e + f) for a, e, f in zip(rounding.gains, d, c, strict=True)]).sum(dim=0)
        around = [norms_of(h) + e + f + g * self.reach for h, e, f, g in zip(inputs, d, c, gains, strict=True)]
        largest = magnitude + spread + steepness * self.reach
        _exclude_overflow(step, rounding, largest, torch.stack(around).sum(dim=0), self.dtype)
        return magnitude, spread, steepness


def _lost(rounding: Rounding, dtype: torch.dtype) -> float:
    """The error that underflow may cause."""
    tiny = torch.finfo(dtype).tiny
    return rounding.underflows * tiny + rounding.roots * math.sqrt(tiny)


def _combined(step: Step, values: list[Tensor]) -> Tensor:
    """The errors of a step's inputs, carried through the step, without its own."""
    parts = [
        torch.where(value > 0, (factor * value).clamp_min(TINY), 0.0) if factor > 0 else torch.zeros_like(value)
        for factor, value in zip(step.effect.lipschitz, values, strict=True)
    ]
    if len(parts) == 1:
        return parts[0]
    stacked = torch.stack(parts)
    if not step.effect.stacked:
        return stacked.sum(dim=0)
    largest = stacked.amax(dim=0).clamp_min(TINY)  # squares neither overflow nor vanish
    return (stacked / largest).norm(dim=0) * largest


def _magnitude(rounding: Rounding, inputs: list[Tensor], sharp: bool) -> Tensor:
    if sharp and rounding.magnitude is not None:
        return rounding.magnitude(*(h.double() for h in inputs)) * UP
    sizes = torch.stack([gain * norms_of(h) for gain, h in zip(rounding.gains, inputs, strict=True)])
    return (sizes.sum(dim=0) + rounding.offset) * UP


def _exclude_overflow(step: Step, rounding: Rounding, result: Tensor, inputs: Tensor, dtype: torch.dtype) -> None:
    """Raise NotAnalysed where a step's result, or a sum or a square on the way to it, may overflow."""
    inside = rounding.operations * (inputs + rounding.offset)
    largest = torch.maximum(result, rounding.operations * inputs**2 if rounding.roots else inside)
    if not bool((largest < torch.finfo(dtype).max / 4).all()):
        raise NotAnalysed(f"{step.name} may overflow in {dtype}")
