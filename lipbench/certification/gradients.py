"""Where a certificate is loose: how much of the margin's gradient each block of a network lets back to the input.

With g = f_c - f_j for the class c of a sample and another class j, v_k the gradient of g with respect to the value at
step k, and L_k the Lipschitz bound of everything up to there,

    kept of a block from step a to step b  =  |v_a| L_a / (|v_b| L_b)
    head                                   =  |v_B| / (L_cj / L_B),          B: the body's output
    |grad g(x)| / L_cj                     =  head * product over all blocks of kept,

exactly, for the norms are L2 and the steps telescope from the input (L_0 = 1) to B. A block lies between two
consecutive cuts, the steps that every path from the input to B goes through: one layer in a chain, a whole block in a
residual network. No layer lets a gradient grow by more than its constant, so a factor below 1 is what is lost there. A
network whose every factor is 1 near a sample has a certificate that is exact to first order (the gradient norm
preserving layers of Anil, Lucas, Grosse, ICML 2019, arXiv 1811.05381).
"""

import copy
import itertools
import math
from collections import Counter
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lipbench._internal.precision import summing_products
from lipbench.certification.certificate import Certificate
from lipbench.certification.lipschitz.graph import Graph, Step
from lipbench.errors import printable

KINDS = {  # short names of what has weights; everything else has the name of its own type
    "Conv1d": "conv",
    "Conv2d": "conv",
    "conv1d": "conv",
    "conv2d": "conv",
    "ConvTranspose1d": "deconv",
    "ConvTranspose2d": "deconv",
    "conv_transpose1d": "deconv",
    "conv_transpose2d": "deconv",
    "Linear": "dense",
    "linear": "dense",
}
BRANCHING = "block"  # of several steps
LONGEST = 40  # characters of a block's name, before the channels


@dataclass(frozen=True)
class Block:
    """The stretch of a network between two consecutive cuts."""

    name: str  # unique within the network, such as "conv1 3->8"
    first: int  # the step that it takes
    last: int  # the step that it gives
    constant: float  # what it adds to the Lipschitz bound: L_last / L_first


@dataclass(frozen=True)
class Kept:
    """What the blocks of a network keep of the gradients of n margins. NaN where a gradient is 0, or not finite."""

    margin: Tensor  # float64 (n,), g(x)
    bound: Tensor  # float64 (n,), L_cj
    kept: Tensor  # float64 (blocks, n), from the input on
    head: Tensor  # float64 (n,)
    gradient_l1: Tensor  # float64 (n,), norms of the gradient at x
    gradient_l2: Tensor  # float64 (n,)
    gradient_linf: Tensor  # float64 (n,)


def blocks(graph: Graph, body: int) -> list[Block]:
    """The blocks from the input to the step ``body``, in order."""
    cuts, counts, found = _cuts(graph, body), Counter[str](), []
    for first, last in itertools.pairwise(cuts):
        start, end = graph.steps[first], graph.steps[last]
        kind = _kind(end) if last in _alone(graph, first, body) else BRANCHING
        counts[kind] += 1
        constant = end.lipschitz / start.lipschitz if start.lipschitz > 0 else 0.0
        found.append(Block(_name(kind, counts[kind], start, end), first, last, constant))
    return found


def kept(proof: Certificate, x: Tensor, classes: Tensor, others: Tensor, batch_size: int = 1000) -> Kept:
    """What each block keeps of the gradient of f_c - f_j at each sample, at one forward and one backward pass each.

    x: float32 (n, ...), on the network's device; classes c, others j: int64 (n,). Computed in float64, also where the
    network runs in float32; but in its own arithmetic where its forward casts. Where a gradient does not exist, torch's
    subgradient stands in for it.
    """
    stretches = blocks(proof.graph, proof.body)
    if not len(x):
        return nothing(len(stretches))
    graph, dtype = _in_float64(proof.graph, proof.dtype, x)
    pairs = zip(classes.to(x.device).split(batch_size), others.to(x.device).split(batch_size), strict=True)
    parts = [
        _kept(proof, graph, stretches, points.to(dtype), *pair)
        for points, pair in zip(x.split(batch_size), pairs, strict=True)
    ]
    joined = {name: torch.cat([vars(part)[name] for part in parts], dim=-1) for name in vars(parts[0])}
    return Kept(**joined)


def nothing(count: int) -> Kept:
    """What so many blocks keep of no gradients."""
    none = torch.zeros(0, dtype=torch.float64)
    return Kept(none, none, torch.zeros(count, 0, dtype=torch.float64), none, none, none, none)


def _kept(proof: Certificate, graph: Graph, stretches: list[Block], x: Tensor, classes: Tensor, others: Tensor) -> Kept:
    places = [*(block.first for block in stretches), proof.body]
    values: dict[int, Tensor] = {}

    def visit(place: int, inputs: list[Tensor], value: Tensor) -> None:
        if place in places:
            values[place] = value

    x = x.detach().requires_grad_()
    with torch.inference_mode(False), torch.enable_grad(), summing_products(x.device):
        logits = graph.run(x, visit)
        margin = _margin(logits, classes, others)
        values[0] = x
        gradients = _gradients(margin, [values[place] for place in places])
    norms = torch.stack([gradient.flatten(1).double().norm(dim=1) for gradient in gradients])  # (places, n)
    bound = proof.pairwise.to(x.device)[classes, others]
    constants = torch.tensor([block.constant for block in stretches], dtype=torch.float64, device=x.device)
    factors = norms[:-1] / (norms[1:] * constants[:, None])
    head = norms[-1] / (bound / graph.steps[proof.body].lipschitz)
    at_x = gradients[0].flatten(1).double()
    sizes = [torch.linalg.vector_norm(at_x, ord=order, dim=1) for order in (1, 2, math.inf)]
    known = (bound > 0) & torch.cat([factors, head[None], *(size[None] for size in sizes)]).isfinite().all(dim=0)
    known &= norms[0] > 0
    measured = [torch.where(known, value, torch.nan).cpu() for value in (factors, head, *sizes)]
    return Kept(margin.detach().double().cpu(), bound.cpu(), *measured)


def _margin(logits: Tensor, classes: Tensor, others: Tensor) -> Tensor:
    """f_c - f_j: (n,); of a single logit f, which stands for (-f/2, f/2), f or -f."""
    if logits.shape[1] == 1:
        return torch.where(classes == 1, logits[:, 0], -logits[:, 0])
    return (logits.gather(1, classes[:, None]) - logits.gather(1, others[:, None]))[:, 0]


def _gradients(margin: Tensor, values: list[Tensor]) -> list[Tensor]:
    """The gradient of each margin with respect to each value, 0 where none reaches it."""
    if not margin.requires_grad:
        return [torch.zeros_like(value) for value in values]
    reached = [value for value in values if value.requires_grad]
    found = iter(torch.autograd.grad(margin.sum(), reached, allow_unused=True, materialize_grads=True))
    return [next(found) if value.requires_grad else torch.zeros_like(value) for value in values]


def _in_float64(graph: Graph, dtype: torch.dtype, x: Tensor) -> tuple[Graph, torch.dtype]:
    """The graph in float64, and the type that it takes; as it is where it has no such form."""
    if dtype is torch.float64:
        return graph, dtype
    double = replace(graph, module=copy.deepcopy(graph.module).double())
    try:
        with torch.no_grad():
            double.run(x[:1].double(), lambda place, inputs, value: None)
    except Exception:  # a cast inside, so that dtypes do not meet
        return graph, dtype
    return double, torch.float64


# --- where a network can be cut, and what its blocks are called ---


def _leading_to(graph: Graph, body: int) -> list[int]:
    """The steps that ``body`` depends on, itself among them, in order."""
    found, waiting = {body}, [body]
    while waiting:
        for place in graph.steps[waiting.pop()].inputs:
            if place not in found:
                found.add(place)
                waiting.append(place)
    return sorted(found)


def _cuts(graph: Graph, body: int) -> list[int]:
    """The steps that every path from the input to ``body`` goes through, both among them, in order.

    Steps are in an order of computation, so that a path avoids a step exactly where one of its edges leaps over it.
    """
    found, reached = [], 0  # the furthest step that an earlier one gives its value to
    places = _leading_to(graph, body)
    furthest = dict.fromkeys(places, 0)
    for place in places:
        for source in graph.steps[place].inputs:
            furthest[source] = max(furthest[source], place)
    for place in places:
        if reached <= place and graph.steps[place].shape:  # a tuple of tensors has no gradient of its own
            found.append(place)
        reached = max(reached, furthest[place])
    return found


def _alone(graph: Graph, first: int, body: int) -> set[int]:
    """The steps before ``body`` that take nothing but the value of the step ``first``, and are all that take it."""
    users = [place for place in _leading_to(graph, body) if first in graph.steps[place].inputs]
    return {place for place in users if len(users) == 1 and graph.steps[place].inputs == (first,)}


def _kind(step: Step) -> str:
    return KINDS.get(step.name, printable(step.name.lower())[:LONGEST])


def _name(kind: str, number: int, start: Step, end: Step) -> str:
    """Such as "conv1 3->8" and "groupsort2-1": kinds are counted, and channels are told where they may change."""
    counted = f"{kind}-{number}" if any(map(str.isdigit, kind)) else f"{kind}{number}"
    changed = kind in (*KINDS.values(), BRANCHING) or start.shape[:1] != end.shape[:1]
    channels = len(start.shape) == len(end.shape) and changed
    return f"{counted} {start.shape[0]}->{end.shape[0]}" if channels else counted
