"""A network as a graph of steps, each with its effect on distances and errors.

``torch.fx`` traces the forward; layers with a rule, and all of torch's own, are steps as they are, other modules are
opened. What a trace cannot see (control flow that depends on the data) is refused, and the trace is run beside the
network, so that a graph that computes something else is refused too; so is a network that changes while it runs, or
whose outputs for one sample depend on the others.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

from lipbench.errors import LipbenchError, UnsupportedError
from lipbench.lipschitz import rules
from lipbench.lipschitz.freezing import frozen
from lipbench.lipschitz.norms import rounded_up, times
from lipbench.lipschitz.rules import EXACT, Effect, Flow, Shape
from lipbench.lipschitz.selections import BATCH, is_selecting, is_selecting_layer, selection
from lipbench.lipschitz.tracing import in_place, is_layer, reason, traced

FEWER = 2  # samples of those, run alone: what depends on the size of a batch is seen
# what they give does not depend on the values of a tensor
_ABOUT_SHAPE = {"size", "dim", "ndimension", "numel", "shape", "ndim", "dtype", "device", "is_floating_point"}


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
    computed: str | None = None  # what computes a constant in the forward, if anything does

    @property
    def output(self) -> Step:
        """The step that gives the logits."""
        return self.steps[-1]

    def run(self, x: Tensor, visit: Callable[[int, list[Tensor], Tensor], None]) -> Tensor:
        """The output for x (n, c, h, w); ``visit`` gets each step's index, its inputs and its value on the way."""
        return _Runner(self, visit).run(x)


@torch.inference_mode(False)
@torch.no_grad()
def trace(module: nn.Module, input_shape: Shape) -> Graph:
    """The graph of a network; ``input_shape``: of one input, without the batch, such as (1, 28, 28).

    Raises UnsupportedError for what has no rule or cannot be traced, LipbenchError for inputs that do not fit.
    """
    if not all(size > 0 for size in input_shape):
        raise LipbenchError(f"expected the shape of one input, such as (1, 28, 28), got {input_shape}")
    module = frozen(module)
    for part in module.modules():
        if part.training:
            raise UnsupportedError(f"{type(part).__name__} stays in training mode when the network is put in eval mode")
    before = _state(module)
    graph = Graph(traced(module), [Step("input", Effect((1.0,), EXACT), (), tuple(input_shape), 1.0)])
    try:
        x = _probe(module, input_shape)
        in_float64 = traced(copy.deepcopy(module).double())
        exact = _Builder(graph, in_float64).run(x.to(torch.float64, copy=True))
        value = graph.run(x.clone(), lambda place, inputs, value: None)
        expected, fewer = module(x.clone()), module(x[:FEWER].clone())
    except LipbenchError:
        raise
    except Exception as error:  # whatever the network's own code raises
        raise LipbenchError(f"the network does not accept inputs of shape {input_shape}: {reason(error)}") from error
    if not isinstance(expected, Tensor) or not expected.isfinite().all():
        raise LipbenchError("expected one tensor of finite numbers from the network")
    # float64 rounds less, and another batch size may sum in another order
    loosely = max(1e-3, 16 * torch.finfo(expected.dtype).eps)
    same_graph = str(in_float64.graph) == str(graph.module.graph)
    same_outputs = _close(value, expected, 1e-5) and _close(exact, expected.double(), loosely)
    if not (same_graph and same_outputs) or _state(module) != before:
        raise UnsupportedError(
            "the traced graph gives other outputs than the network: its forward depends on state, on the precision of "
            "its numbers, or changes tensors in place"
        )
    if not _close(expected[:FEWER], fewer, loosely):
        raise UnsupportedError("the outputs for a sample depend on the other samples of a batch, or on their number")
    _check_output(graph)
    return graph


def _close(value: Tensor, expected: Tensor, tolerance: float) -> bool:
    """Equal up to a share of the largest number."""
    if value.shape != expected.shape:
        return False
    scale = expected.abs().max().item() if expected.numel() else 0.0
    return bool(((value - expected).abs() <= tolerance * scale).all())


def _probe(module: nn.Module, input_shape: Shape) -> Tensor:
    """A sample in [0, 1], one around 0 and a large one, in the network's dtype and on its device."""
    held = [tensor for tensor in (*module.parameters(), *module.buffers()) if tensor.is_floating_point()]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(BATCH, *input_shape, dtype=torch.float64, generator=generator, device="cpu")
    x[0], x[2] = torch.rand(input_shape, dtype=torch.float64, generator=generator, device="cpu"), 10 * x[2]
    return x.to(held[0].device, held[0].dtype) if held else x


def _state(module: nn.Module) -> list[Any]:
    """What a forward may change in the modules that are opened: plain attributes, and which tensors they hold."""
    state: list[Any] = []
    for part in module.modules():
        if not is_layer(part):
            state += [(name, held) for name, held in vars(part).items() if isinstance(held, bool | int | float | str)]
            state += [
                (id(held), held._version)
                for held in (*part._parameters.values(), *part._buffers.values())
                if held is not None
            ]
    return state


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
        inputs = [self.env[node] for node in _occurrences(n, self.flow)] if place else []
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
        self.flow = graph
        self.extra_traceback = False

    def run_node(self, n: fx.Node) -> Any:
        """The value of a node; one that depends on the network's input becomes a step."""
        dependent = _occurrences(n, self.flow)
        arguments = self.fetch_args_kwargs_from_env(n) if n.op.startswith("call") else ((), {})
        value = super().run_node(n)
        if isinstance(value, Tensor) and value.is_floating_point():  # x.float() and torch.ones(3) give others
            value = value.double()
        if n.op == "placeholder":
            self.flow.nodes[n.name] = 0
        elif n.op.startswith("call") and dependent and not _about_shape(n):
            self._step(n, dependent, arguments, value)
        elif _is_computed(n, value):
            self.flow.computed = n.name
        return value

    def _step(self, n: fx.Node, dependent: list[fx.Node], arguments: Any, value: Any) -> None:
        layer = self.fetch_attr(str(n.target)) if n.op == "call_module" else None
        target = n.args[1] if n.target is getattr else n.target if layer is None else type(layer)
        name = rules.dotted(target).rpartition(".")[2]
        places = tuple(self.flow.nodes[node.name] for node in dependent)
        values = [self.env[node] for node in dependent]
        args, kwargs = arguments
        if is_selecting(n) if layer is None else is_selecting_layer(layer):
            effect, entries = selection(lambda index: self._again(n, args, kwargs, values, index), values, value, name)
        else:
            entries = None
            effect = self._effect(target, layer, args, kwargs, values)
        shape = _shape(value, name)
        lipschitz, parts = self._compose(effect, places, entries)
        self.flow.nodes[n.name] = len(self.flow.steps)
        self.flow.steps.append(Step(name, effect, places, shape, lipschitz, layer, parts))

    def _effect(self, target: Any, layer: nn.Module | None, args: Any, kwargs: Any, values: list[Any]) -> Effect:
        if any(not isinstance(value, Tensor) for value in values):
            raise rules.no_rule(target)
        if layer is not None:
            if len(args) + len(kwargs) != len(values):
                raise UnsupportedError(f"no Lipschitz rule for {type(layer).__name__} called with more than tensors")
            return rules.layer_effect(layer, *(tuple(value.shape[1:]) for value in values))
        swapped = _replaced((args, kwargs), {id(value): Flow(tuple(value.shape[1:])) for value in values})
        return rules.function_effect(target, *swapped)

    def _again(self, n: fx.Node, args: Any, kwargs: Any, values: list[Any], index: Any) -> Any:
        """The node once more, on other values of the tensor that goes in."""
        new_args, new_kwargs = _replaced((args, kwargs), {id(values[0]): index})
        return getattr(self, n.op)(n.target, new_args, new_kwargs)

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
    numbers = isinstance(value, float) or (isinstance(value, Tensor) and value.is_floating_point())
    return n.op.startswith("call") and numbers and not is_selecting(n) and n.target not in ("to", "float", "detach")


def _about_shape(n: fx.Node) -> bool:
    if n.op == "call_method":
        return n.target in _ABOUT_SHAPE
    return n.target is getattr and n.args[1] in _ABOUT_SHAPE


def _shape(value: Any, name: str) -> Shape:
    """The shape of one sample. Raises UnsupportedError for a value that is no function of its own sample alone."""
    if isinstance(value, tuple | list):
        return ()
    if not isinstance(value, Tensor) or not value.is_floating_point():
        raise UnsupportedError(f"no Lipschitz rule for {name}: what it gives is not a tensor of real numbers")
    if value.ndim == 0 or len(value) != BATCH:
        raise UnsupportedError(f"{name} mixes the samples of a batch or drops the batch dimension")
    return tuple(value.shape[1:])


def _replaced(structure: Any, by_id: dict[int, Any]) -> Any:
    """Nested arguments with some values replaced, found by identity."""
    if id(structure) in by_id:
        return by_id[id(structure)]
    if isinstance(structure, tuple | list):
        items = [_replaced(item, by_id) for item in structure]
        return tuple(items) if isinstance(structure, tuple) else items
    if isinstance(structure, dict):
        return {key: _replaced(item, by_id) for key, item in structure.items()}
    return structure
