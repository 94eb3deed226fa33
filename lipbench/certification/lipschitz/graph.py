"""A network as a graph of steps, each with its effect on distances and errors.

``torch.fx`` traces the forward; layers with a rule, and all of torch's own, are steps as they are, other modules are
opened. What a trace cannot see (control flow that depends on the data) is refused, and the trace is run beside the
network, so that a graph that computes something else is refused too; so is a network that changes while it runs, or
whose outputs for one sample depend on the others.
"""

import contextlib
import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

from lipbench.certification.lipschitz import agreement, rules, state
from lipbench.certification.lipschitz.batch import BatchMarks, about_shape
from lipbench.certification.lipschitz.calls import called_layer_effect, function_effect
from lipbench.certification.lipschitz.freezing import frozen
from lipbench.certification.lipschitz.norms import rounded_up, times
from lipbench.certification.lipschitz.rules import EXACT, Effect, Flow, Shape
from lipbench.certification.lipschitz.selections import BATCH, is_selecting, is_selecting_layer, selection
from lipbench.certification.lipschitz.tracing import in_place, reason, traced
from lipbench.errors import LipbenchError, UnsupportedError


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
    parts: dict[int, Part] = field(default_factory=dict)  # earlier step -> what of it is all that this one sees


@dataclass
class Graph:
    """The steps of a network in order; the last one is its output."""

    module: fx.GraphModule
    steps: list[Step]
    nodes: dict[str, int] = field(default_factory=dict)  # the fx node's name -> its step
    operands: dict[str, tuple[str, ...]] = field(
        default_factory=dict
    )  # ... -> the nodes that ``Step.inputs`` came from
    computed: str | None = None  # what computes a constant in the forward, if anything does

    @property
    def output(self) -> Step:
        """The step that gives the logits."""
        return self.steps[-1]

    def run(self, x: Tensor, visit: Callable[[int, list[Tensor], Tensor], None]) -> Tensor:
        """The output for x (n, c, h, w); ``visit`` gets each step's index, its inputs and its value on the way."""
        return _Runner(self, visit).run(x.clone())  # the network may overwrite its input


def trace(module: nn.Module, input_shape: Shape) -> Graph:
    """The graph of a network; ``input_shape``: of one input, without the batch, such as (1, 28, 28).

    Raises UnsupportedError for what has no rule or cannot be traced, LipbenchError for inputs that do not fit.
    """
    if not all(size > 0 for size in input_shape):
        raise LipbenchError(f"expected the shape of one input, such as (1, 28, 28), got {input_shape}")
    with torch.inference_mode(False), torch.no_grad(), contextlib.ExitStack() as stack:
        for kind in ("cpu", "cuda"):
            stack.enter_context(torch.autocast(kind, enabled=False))
        stack.enter_context(agreement.keeping_random_numbers())
        return _trace(module, input_shape)


def _trace(module: nn.Module, input_shape: Shape) -> Graph:
    given, module = module, frozen(module)
    for part in module.modules():
        if part.training:
            raise UnsupportedError(f"{type(part).__name__} stays in training mode when the network is put in eval mode")
    x = agreement.probes(module, input_shape)
    try:
        double = copy.deepcopy(module).double()
        in_float64 = traced(double)
        graph = Graph(traced(module), [Step("input", Effect((1.0,), EXACT), (), tuple(input_shape), 1.0)])
        if str(in_float64.graph) != str(graph.module.graph):
            raise UnsupportedError("the forward depends on the precision of its numbers")
        _Builder(graph, in_float64).run(x[:BATCH].to(torch.float64, copy=True))
        agreement.outputs(module, x)  # the same input before both snapshots
        before = state.snapshot(module)
        _check_steps(graph, x)
        agreement.check_same(graph.module, module, x)
        if _runs(double, x.double()):  # a cast inside may leave it without a form in float64
            agreement.check_precision(module, x, agreement.check_same(in_float64, double, x.double()))
        agreement.outputs(module, x)
        state.check(before, state.snapshot(module))
    except LipbenchError:
        raise
    except Exception as error:  # whatever the network's own code raises
        raise LipbenchError(f"the network does not accept inputs of shape {input_shape}: {reason(error)}") from error
    _check_output(graph)
    agreement.check_copy(given, module, input_shape)
    return graph


def _check_steps(graph: Graph, x: Tensor) -> None:
    """Raise UnsupportedError for a step that rounds to fewer bits, or whose values at the samples x lie further apart
    than its constant allows: then something else is computed than its rule says.
    """

    def check(place: int, inputs: list[Tensor], value: Any) -> None:
        step = graph.steps[place]
        for one in value if isinstance(value, tuple | list) else [value]:
            if isinstance(one, Tensor) and one.is_floating_point() and agreement.is_coarser(one.dtype, x.dtype):
                raise UnsupportedError(
                    f"no Lipschitz rule for {step.name}: a cast from {x.dtype} to {one.dtype} rounds numbers, and a "
                    "rounded function has no Lipschitz constant; leave the cast out"
                )
        if not isinstance(value, Tensor) or not all(isinstance(one, Tensor) for one in inputs):
            return
        apart = torch.stack([c * _apart(one) for c, one in zip(step.effect.lipschitz, inputs, strict=True)])
        allowed = _norms(apart.T) if step.effect.stacked else apart.sum(dim=0)
        room = 1e-4 * (_sizes(value) + sum(map(_sizes, inputs), torch.zeros(())))
        if bool((_apart(value) > allowed * (1 + 1e-4) + room.to(allowed)).any()):
            raise UnsupportedError(
                f"{step.name} moves further than the constant {step.effect.lipschitz} of its rule allows: its rule, or "
                "what is called, was replaced"
            )

    graph.run(x, check)


def _apart(value: Tensor) -> Tensor:
    """The distance of each sample from the next one: float64 (n - 1,)."""
    rows = value.double().reshape(len(value), -1)
    return _norms(rows[1:] - rows[:-1])


def _sizes(value: Tensor) -> Tensor:
    """The larger norm of each sample and the next one: float64 (n - 1,)."""
    sizes = _norms(value.double().reshape(len(value), -1))
    return torch.maximum(sizes[1:], sizes[:-1])


def _norms(rows: Tensor) -> Tensor:
    """Norms (n,) of float64 (n, ...) whose squares may vanish or overflow."""
    largest = rows.abs().amax(dim=1).clamp_min(1e-300)
    return (rows / largest[:, None]).norm(dim=1) * largest


def _runs(module: nn.Module, x: Tensor) -> bool:
    try:
        agreement.outputs(module, x)
    except Exception:  # dtypes that do not meet
        return False
    return True


def _check_output(graph: Graph) -> None:
    """Raise UnsupportedError unless the network returns its last step."""
    returned = next(node for node in graph.module.graph.nodes if node.op == "output").args[0]
    if graph.nodes.get(getattr(returned, "name", "")) != len(graph.steps) - 1:
        raise UnsupportedError("what the network returns does not depend on its input, or is not what it computes last")


# --- running ---------------------------------------------------------------------------------------------------------


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
        inputs = [self.env[by_name[name]] for name in self.flow.operands[n.name]] if place else []
        if place and in_place(n, self.flow.module):  # it would show ``visit`` its result as its input
            inputs = [value.clone() for value in inputs]
        value = super().run_node(n)
        if place:
            self.visit(place, inputs, value)
        return value


class _Builder(fx.Interpreter):
    """Runs a graph once, in float64, and finds the steps and their effects on the way.

    Constants that the forward computes from weights are thus those of float64, whatever the network's arithmetic.
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
        name = rules.dotted(target).rpartition(".")[2]
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
        """What a rule says of a node, and the tensors that go in, in the rule's order."""

        def shown(node: fx.Node) -> Any:
            value = self.env[node]
            if node.name not in self.flow.nodes:
                return value
            if not isinstance(value, Tensor):
                raise rules.no_rule(target)
            return Flow(tuple(value.shape[1:]), node.name)

        args, kwargs = fx.map_arg(n.args, shown), fx.map_arg(n.kwargs, shown)
        if layer is not None:
            return called_layer_effect(layer, args, kwargs)
        return function_effect(target, args, kwargs)

    def _again(self, n: fx.Node, changed: fx.Node, index: Any) -> Any:
        """The node once more, on other values of the tensor that goes in."""

        def given(node: fx.Node) -> Any:
            return index if node is changed else self.env[node]

        return getattr(self, n.op)(n.target, fx.map_arg(n.args, given), fx.map_arg(n.kwargs, given))

    def _compose(
        self, effect: Effect, places: tuple[int, ...], entries: Tensor | None
    ) -> tuple[float, dict[int, Part]]:
        """The Lipschitz constant up to a step, and what it is a part of."""
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
    """True for a constant that the forward computes: each run may round it in another way."""
    if n.op == "get_attr":
        return str(n.target).startswith("_tensor_constant")
    values = value if isinstance(value, tuple | list) else [value]
    numbers = any(isinstance(one, float) or (isinstance(one, Tensor) and one.is_floating_point()) for one in values)
    return n.op.startswith("call") and numbers and not is_selecting(n) and n.target not in ("to", "float", "detach")


def _shape(value: Any, name: str) -> Shape:
    """The shape of one sample. Raises UnsupportedError for a value that is no function of its own sample alone."""
    if isinstance(value, tuple | list):
        return ()
    if not isinstance(value, Tensor) or not value.is_floating_point():
        raise UnsupportedError(f"no Lipschitz rule for {name}: what it gives is not a tensor of real numbers")
    if value.ndim == 0 or len(value) != BATCH:
        raise UnsupportedError(f"{name} mixes the samples of a batch or drops the batch dimension")
    return tuple(value.shape[1:])
