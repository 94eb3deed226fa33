"""A network as a graph of steps, each with its effect on distances and errors, and how to run it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, fx, nn

from lipbench.certification.lipschitz.effects import Effect, Shape
from lipbench.certification.lipschitz.forward import in_place


@dataclass(frozen=True)
class Part:
    """Some numbers of an earlier step, changed by a function of at most this Lipschitz constant."""

    entries: Tensor  # bool, one for each number of a sample
    factor: float


@dataclass(frozen=True)
class Step:
    """One layer or function. ``inputs``: the steps it takes; step 0 is the input of the network."""

    name: str
    effect: Effect
    inputs: tuple[int, ...]
    shape: Shape  # of one sample; () for a tuple of tensors
    lipschitz: float  # of everything up to here, as a function of the network's input
    layer: nn.Module | None = None
    parts: dict[int, Part] = field(default_factory=dict)  # earlier step -> the only part of it that this one sees


@dataclass
class Graph:
    """The steps of a network in order; the last one is its output."""

    module: fx.GraphModule
    steps: list[Step]
    nodes: dict[str, int] = field(default_factory=dict)  # the fx node's name -> its step
    operands: dict[str, tuple[str, ...]] = field(default_factory=dict)  # ... -> the nodes behind ``Step.inputs``
    computed: str | None = None  # the node that computes a constant in the forward, if there is one

    @property
    def output(self) -> Step:
        """The step that gives the logits."""
        return self.steps[-1]

    def run(self, x: Tensor, visit: Callable[[int, list[Tensor], Tensor], None]) -> Tensor:
        """The output for x (n, ...); ``visit`` gets each step's index, its inputs and its value on the way."""
        return _Runner(self, visit).run(x.clone())  # the network may overwrite its input


class _Runner(fx.Interpreter):
    """Runs a graph and shows the values of its steps."""

    def __init__(self, graph: Graph, visit: Callable[[int, list[Tensor], Tensor], None]):
        super().__init__(graph.module)
        self.flow, self.visit = graph, visit
        self.extra_traceback = False

    def run_node(self, n: fx.Node) -> Any:
        """The value of a node; steps are shown to ``visit``."""
        place = self.flow.nodes.get(n.name)
        by_name = {node.name: node for node in n.all_input_nodes}
        sources = [by_name[name] for name in self.flow.operands[n.name]] if place else []
        inputs = [self.env[node] for node in sources]
        if in_place(n, self.flow.module):  # it overwrites a copy: ``visit`` keeps what it was shown, with its gradient
            self.env |= {node: self.env[node].clone() for node in sources}
        value = super().run_node(n)
        if place:
            self.visit(place, inputs, value)
        return value
