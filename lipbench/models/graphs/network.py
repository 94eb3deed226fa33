"""The network of a graph: an interpreter of its steps, which torch.fx traces as it does any forward."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lipbench.models.graphs.form import DTYPES, GraphFile, Reference, TensorSpec, argument, references
from lipbench.models.graphs.operations import FUNCTIONS


@dataclass(frozen=True)
class Step:
    """One operation, its arguments parsed."""

    op: str
    target: int | str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    last_uses: tuple[int, ...] = ()  # the values that no later step takes


class GraphNetwork(nn.Module):
    """A network from a graph. Its forward is plain Python over a list: it can be traced, copied and pickled."""

    def __init__(self, graph: GraphFile, layers: Sequence[nn.Module]):
        """graph: as ``loading`` has checked it; layers: its own, in order. Tensors are on the meta device."""
        super().__init__()
        self.graph = graph.plain()  # plain data, so that a digest of the module's settings covers it
        self.steps = _steps(graph)
        self.output = graph.output
        self.layers = nn.ModuleList(layers)
        self.tensors = _tensors(graph.tensors)

    def forward(self, x: Tensor) -> Tensor:
        """x: (n, ...), as on the card; logits (n, classes)."""
        values: list[Any] = [x]
        for step in self.steps:
            values.append(self.compute(step, values))
            for place in step.last_uses:
                values[place] = None
        out: Tensor = values[self.output]
        return out

    def compute(self, step: Step, values: list[Any]) -> Any:
        """The value of one step, from those of the steps before it."""
        if step.op == "tensor":
            return getattr(self.tensors, tensor_name(int(step.target)))
        args, kwargs = filled(step.args, values), filled(step.kwargs, values)
        if step.op == "layer":
            return self.layers[int(step.target)](*args, **kwargs)
        if step.op == "function":
            return FUNCTIONS[str(step.target)](*args, **kwargs)
        found = getattr(args[0], str(step.target))
        return found if step.op == "attribute" else found(*args[1:], **kwargs)


def tensor_name(place: int) -> str:
    """The name of a tensor in the network's state, by its place in the graph."""
    return f"t{place}"


def filled(value: Any, values: Sequence[Any]) -> Any:
    """An argument with the values of steps in place of the references to them."""
    if isinstance(value, Reference):
        return values[value.step]
    if isinstance(value, dict):
        return {key: filled(item, values) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(filled(item, values) for item in value)
    if isinstance(value, slice):
        return slice(filled(value.start, values), filled(value.stop, values), filled(value.step, values))
    return value


def _steps(graph: GraphFile) -> tuple[Step, ...]:
    parsed = [
        Step(one.op, one.target, tuple(argument(one.args)), {key: argument(value) for key, value in one.kwargs.items()})
        for one in graph.steps
    ]
    last = {
        reference.step: place
        for place, step in enumerate(parsed)
        for reference in references([list(step.args), step.kwargs])
    }
    ends: list[list[int]] = [[] for _ in parsed]
    for value, place in last.items():
        if value != graph.output:
            ends[place].append(value)
    return tuple(
        Step(step.op, step.target, step.args, step.kwargs, tuple(end)) for step, end in zip(parsed, ends, strict=True)
    )


def _tensors(specs: Sequence[TensorSpec]) -> nn.Module:
    """The tensors of a graph as a module, so that they are stored, moved and cast with the network."""
    held = nn.Module()
    for place, spec in enumerate(specs):
        tensor = torch.empty(spec.shape, dtype=DTYPES[spec.dtype], device="meta")
        if spec.kind == "parameter":
            held.register_parameter(tensor_name(place), nn.Parameter(tensor, requires_grad=False))
        else:
            held.register_buffer(tensor_name(place), tensor)
    return held
