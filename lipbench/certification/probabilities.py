"""Networks that return probabilities are refused: a sigmoid of one output is never a negative logit.

There are two checks, and neither depends on data. The first is of the graph: the steps after the last layers with
weights are run on numbers of every size and sign. If no result lies outside [0, 1], the outputs are probabilities,
however the sigmoid is written, and also where the layers before it do not saturate it. The second is of the outputs,
for inputs of every size: if they sum to 1, the network ends in a softmax, which has no rule and so no graph. Outputs
that are the same for all inputs may come from a head before training.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

from lipbench.certification.lipschitz.graph import Graph, Step
from lipbench.certification.lipschitz.selections import is_selecting, is_selecting_layer
from lipbench.errors import UnsupportedError

PROBES = 8
SMALLEST = -3  # power of 10
LARGEST_INPUT, LARGEST = 12, 30  # powers of 10 at which a whole network, and its last functions, do not overflow
TOLERANCE = 1e-4  # of sums in float32
WEIGHTED = {  # functions; of layers, those that hold tensors
    "linear", "bilinear", "matmul", "mm", "conv1d", "conv2d", "conv_transpose1d", "conv_transpose2d", "batch_norm",
}  # fmt: skip
CLAMPS = {"clamp", "clamp_", "clip", "hardtanh", "Hardtanh", "clamp_min", "clamp_max"}


class ProbabilitiesError(UnsupportedError):
    """The network returns probabilities: their largest is its class, but one of them alone is never negative."""


def refuse_sums(run: Callable[[Tensor], Tensor], shape: tuple[int, ...], like: Tensor) -> None:
    """Raise ProbabilitiesError if the outputs of a network lie in [0, 1] and sum to 1, or a single one saturates there.

    run: from inputs (n, *shape) to outputs (n, K); like: a tensor of the type and on the device of its inputs.
    """
    try:
        outputs = run(_numbers(shape, like, LARGEST_INPUT))
    except Exception:  # a user's forward may refuse inputs that are no images
        return
    outputs = outputs[outputs.isfinite().all(dim=1)].double()
    if not _within_0_and_1(outputs):
        return
    if outputs.shape[1] == 1 and outputs.min() <= TOLERANCE and outputs.max() >= 1 - TOLERANCE:  # it saturates
        raise _probabilities("lie in [0, 1]")
    if outputs.shape[1] > 1 and bool(((outputs.sum(dim=1) - 1).abs() <= TOLERANCE).all()):
        raise _probabilities("sum to 1")


@torch.no_grad()
def refuse_squashed(graph: Graph, like: Tensor) -> None:
    """Raise ProbabilitiesError if the steps after the last layers with weights give numbers in [0, 1] only.

    like: a tensor of the type and on the device of the network's inputs.
    """
    nodes = {graph.nodes[node.name]: node for node in graph.module.graph.nodes if node.name in graph.nodes}
    sources = _sources(graph, nodes)
    if len(graph.steps) - 1 in sources:  # the usual case
        return
    try:
        x = _numbers(graph.steps[0].shape, like, LARGEST_INPUT)
        outputs = _Replacing(graph.module, {nodes[place].name for place in sources}).run(x)
    except Exception:  # a user's forward may refuse such numbers
        return
    outputs = outputs[outputs.isfinite().all(dim=1)].double()
    if _within_0_and_1(outputs):
        raise _probabilities("lie in [0, 1]")


def _sources(graph: Graph, nodes: dict[int, fx.Node]) -> set[int]:
    """The last step with weights on each path to the output, or the network's input on a path without one.

    A clamp of the inputs themselves, such as to [0, 1], changes none of them: it counts as input.
    """
    inputs = {0}
    for place, step in enumerate(graph.steps):
        moved = _is_moving(step, nodes[place]) or step.name in CLAMPS
        if step.inputs and moved and inputs.issuperset(step.inputs):
            inputs.add(place)
    found, waiting = set[int](), [len(graph.steps) - 1]
    while waiting:
        place = waiting.pop()
        if place in inputs or _has_weights(graph.steps[place]):
            found.add(place)
        else:
            waiting += [one for one in graph.steps[place].inputs if one not in waiting]
    return found


def _is_moving(step: Step, node: fx.Node) -> bool:
    return is_selecting(node) if step.layer is None else is_selecting_layer(step.layer)


def _has_weights(step: Step) -> bool:
    if step.layer is None:
        return step.name in WEIGHTED
    return any(True for _ in step.layer.parameters()) or any(True for _ in step.layer.buffers())


class _Replacing(fx.Interpreter):
    """Runs a graph, with numbers of every size in place of the values of some nodes."""

    def __init__(self, module: fx.GraphModule, replaced: set[str]):
        super().__init__(module)
        self.replaced, self.extra_traceback = replaced, False

    def run_node(self, n: fx.Node) -> Any:
        """The value of a node, or the numbers instead."""
        value = super().run_node(n)
        if n.name in self.replaced and isinstance(value, Tensor):
            return _numbers(tuple(value.shape[1:]), value, LARGEST, seed=1 + sorted(self.replaced).index(n.name))
        return value


def _numbers(shape: tuple[int, ...], like: Tensor, largest: int, seed: int = 0) -> Tensor:
    """(PROBES, *shape): each row of another size, with both signs; the same numbers each time."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(PROBES, *shape, dtype=torch.float64, generator=generator)
    sizes = torch.logspace(SMALLEST, largest, PROBES, dtype=torch.float64)
    return (rows * sizes.view(-1, *[1] * len(shape))).to(like)


def _within_0_and_1(outputs: Tensor) -> bool:
    """True for outputs (n, K) that lie in [0, 1] and are not the same for all samples."""
    if len(outputs) < 2 or not bool((outputs != outputs[0]).any()):
        return False
    return outputs.min().item() >= 0 and outputs.max().item() <= 1 + TOLERANCE


def _probabilities(how: str) -> ProbabilitiesError:
    return ProbabilitiesError(
        f"the network returns probabilities, which {how} for every input, and not logits: "
        "remove the final Sigmoid or Softmax, or return what goes into it"
    )
