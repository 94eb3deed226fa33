"""The steps of a graph: found by running it once, each with its rule's effect and its constant up to there."""

import math
from typing import Any

import torch
from torch import Tensor, fx, nn

from lipbench.certification.lipschitz.batch import BatchMarks, about_shape
from lipbench.certification.lipschitz.calls import called_layer_effect, function_effect
from lipbench.certification.lipschitz.effects import Effect, Flow, Shape
from lipbench.certification.lipschitz.graph import Graph, Part, Step
from lipbench.certification.lipschitz.norms import rounded_up, times
from lipbench.certification.lipschitz.selections import BATCH, is_selecting, is_selecting_layer, selection
from lipbench.certification.lipschitz.table import dotted, no_rule
from lipbench.errors import UnsupportedError


class StepBuilder(fx.Interpreter):
    """Runs a graph once, in float64, and finds the steps and their effects on the way.

    So constants that the forward computes from weights are computed in float64, whatever the network's own dtype.
    """

    def __init__(self, graph: Graph, in_float64: fx.GraphModule):
        super().__init__(in_float64)
        self.flow, self.batch = graph, BatchMarks()
        self.extra_traceback = False

    def run_node(self, n: fx.Node) -> Any:
        """The value of a node; one that depends on the network's input becomes a step."""
        dependent = _occurrences(n, self.flow)
        arguments = self.fetch_args_kwargs_from_env(n) if n.op.startswith("call") else ((), {})
        value = self.batch.marked(n, *arguments, super().run_node(n), dependent=bool(dependent))
        if isinstance(value, Tensor) and value.is_floating_point():  # x.float() and torch.ones(3) give others
            value = value.double()
        if n.op == "placeholder":
            self.flow.nodes[n.name] = 0
        elif n.op.startswith("call") and dependent and not about_shape(n):
            self._step(n, dependent, arguments, value)
        elif _is_computed(n, value):
            self.flow.computed = n.name
        return value

    def _step(self, n: fx.Node, dependent: list[fx.Node], arguments: Any, value: Any) -> None:
        layer = self.fetch_attr(str(n.target)) if n.op == "call_module" else None
        target = n.args[1] if n.target is getattr else n.target if layer is None else type(layer)
        name = dotted(target).rpartition(".")[2]
        self.batch.check(n, arguments[0], arguments[1], name)
        entries = None
        if is_selecting(n) if layer is None else is_selecting_layer(layer):
            operands = tuple(node.name for node in dependent)
            values = [self.env[node] for node in dependent]
            effect, entries = selection(lambda index: self._again(n, dependent[0], index), values, value, name)
        else:
            effect, flows = self._effect(n, target, layer)
            operands = tuple(flow.source for flow in flows)
        places = tuple(self.flow.nodes[operand] for operand in operands)
        shape = _shape(value, name)
        lipschitz, parts = self._compose(effect, places, entries)
        self.flow.nodes[n.name], self.flow.operands[n.name] = len(self.flow.steps), operands
        self.flow.steps.append(Step(name, effect, places, shape, lipschitz, layer, parts))

    def _effect(self, n: fx.Node, target: Any, layer: nn.Module | None) -> tuple[Effect, list[Flow]]:
        """The effect of a node, by its rule, and its input tensors, in the rule's order."""

        def shown(node: fx.Node) -> Any:
            value = self.env[node]
            if node.name not in self.flow.nodes:
                return value
            if not isinstance(value, Tensor):
                raise no_rule(target)
            return Flow(tuple(value.shape[1:]), node.name)

        args, kwargs = fx.map_arg(n.args, shown), fx.map_arg(n.kwargs, shown)
        if layer is not None:
            return called_layer_effect(layer, args, kwargs)
        return function_effect(target, args, kwargs)

    def _again(self, n: fx.Node, changed: fx.Node, index: Any) -> Any:
        """The node, run once more on other values of its input tensor."""

        def given(node: fx.Node) -> Any:
            return index if node is changed else self.env[node]

        return getattr(self, n.op)(n.target, fx.map_arg(n.args, given), fx.map_arg(n.kwargs, given))

    def _compose(
        self, effect: Effect, places: tuple[int, ...], entries: Tensor | None
    ) -> tuple[float, dict[int, Part]]:
        """The Lipschitz constant up to a step, and the earlier steps that it is a part of."""
        steps = [self.flow.steps[place] for place in places]
        factors = effect.lipschitz
        if len(factors) != len(steps):
            raise UnsupportedError(f"a rule gave {len(factors)} constants for {len(steps)} tensors")
        if len(steps) == 1:
            step, factor = steps[0], factors[0]
            parts = {at: Part(part.entries, times(part.factor, factor)) for at, part in step.parts.items()}
            if entries is not None and not entries.all():
                parts[places[0]] = Part(entries, factor)
            return times(step.lipschitz, factor), parts
        if not effect.stacked:
            return rounded_up(sum(times(f, s.lipschitz) for f, s in zip(factors, steps, strict=True)), len(steps)), {}
        contributed = (times(f, s.lipschitz) for f, s in zip(factors, steps, strict=True))
        bounds = [rounded_up(math.hypot(*contributed), len(steps) + 4)]
        for source in set.intersection(*(set(step.parts) for step in steps)):
            each = [step.parts[source] for step in steps]
            if int(torch.stack([part.entries for part in each]).sum(dim=0).max()) <= 1:  # no number is seen twice
                worst = max(times(factor, part.factor) for factor, part in zip(factors, each, strict=True))
                bounds.append(times(self.flow.steps[source].lipschitz, worst))
        return min(bounds), {}


def _occurrences(n: fx.Node, graph: Graph) -> list[fx.Node]:
    """The arguments of a node that depend on the network's input, in order, each as often as it occurs."""
    found: list[fx.Node] = []
    fx.map_arg((n.args, n.kwargs), found.append)
    return [node for node in found if node.name in graph.nodes]


def _is_computed(n: fx.Node, value: Any) -> bool:
    """True for a constant that the forward computes: each run may round it differently."""
    if n.op == "get_attr":
        return str(n.target).startswith("_tensor_constant")
    values = value if isinstance(value, tuple | list) else [value]
    numbers = any(isinstance(one, float) or (isinstance(one, Tensor) and one.is_floating_point()) for one in values)
    return n.op.startswith("call") and numbers and not is_selecting(n) and n.target not in ("to", "float", "detach")


def _shape(value: Any, name: str) -> Shape:
    """The shape of one sample. Raises UnsupportedError for a value that mixes samples, or is no real tensor."""
    if isinstance(value, tuple | list):
        return ()
    if not isinstance(value, Tensor) or not value.is_floating_point():
        raise UnsupportedError(f"no Lipschitz rule for {name}: what it gives is not a tensor of real numbers")
    if value.ndim == 0 or len(value) != BATCH:
        raise UnsupportedError(f"{name} mixes the samples of a batch or drops the batch dimension")
    return tuple(value.shape[1:])
