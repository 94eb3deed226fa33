"""From the graph that a certificate is about to the ``graph.json`` that stores it."""

from typing import Any

import torch
from torch import Tensor, fx, nn

from lipbench.certification.lipschitz import frozen
from lipbench.certification.lipschitz.forward import traced
from lipbench.certification.lipschitz.table import dotted
from lipbench.errors import UnsupportedError, one_line
from lipbench.models.graphs import (
    ATTRIBUTES,
    DTYPES,
    METHODS,
    GraphFile,
    LayerSpec,
    Reference,
    StepSpec,
    TensorSpec,
    function_name,
    layer_spec,
    plain_argument,
    tensor_name,
)


def graph_of(module: nn.Module, graph: fx.GraphModule) -> tuple[GraphFile, dict[str, Tensor]]:
    """The form on disk of a network, and its tensors by their names there.

    module: the network; graph: its traced graph, as in ``Certificate.graph``. Raises UnsupportedError for an operation,
    a setting or an argument that no graph on disk holds.
    """
    writer = _Writer(graph)
    try:
        for node in graph.graph.nodes:
            writer.add(node)
        if any(name.startswith("_tensor_constant") for name in writer.constants):
            _refuse_rounded_constants(module, graph, writer.constants)
        return writer.file(), writer.state
    except ValueError as error:
        raise UnsupportedError(f"a graph cannot hold {one_line(error)[:200]}") from error


class _Writer:
    """What was written so far."""

    def __init__(self, graph: fx.GraphModule):
        self.graph = graph
        self.layers: list[LayerSpec] = []
        self.tensors: list[TensorSpec] = []
        self.steps: list[StepSpec] = []
        self.state: dict[str, Tensor] = {}
        self.constants: list[str] = []  # of ``self.tensors``, the names in the traced graph
        self._values: dict[fx.Node, int] = {}  # the step that gives the value of a node
        self._numbers: dict[str, int] = {}  # of layers and tensors, by their names in the traced graph
        self._output = 0

    def add(self, node: fx.Node) -> None:
        """Write one node."""
        if node.op == "placeholder":
            self._values[node] = 0
        elif node.op == "output":
            self._output = self._values[node.args[0]]  # type: ignore[index]  # one tensor, as the certificate checked
        else:
            self.steps.append(self._step(node))
            self._values[node] = len(self.steps)

    def file(self) -> GraphFile:
        """The whole graph."""
        held = (*self.graph.parameters(), *self.graph.buffers())
        double = next((tensor for tensor in held if tensor.is_floating_point()), torch.zeros(())).dtype is torch.float64
        return GraphFile(
            format="lipbench graph 1",
            dtype="float64" if double else "float32",
            layers=self.layers,
            tensors=self.tensors,
            steps=self.steps,
            output=self._output,
        )

    def _step(self, node: fx.Node) -> StepSpec:
        if node.op == "get_attr":
            return StepSpec(op="tensor", target=self._tensor(str(node.target)))
        given: Any = fx.map_arg((node.args, node.kwargs), self._reference)
        args = [plain_argument(value) for value in given[0]]
        kwargs = {key: plain_argument(value) for key, value in given[1].items()}
        if node.op == "call_module":
            return StepSpec(op="layer", target=self._layer(str(node.target)), args=args, kwargs=kwargs)
        if node.target is getattr:
            return StepSpec(op="attribute", target=_named(node.args[1], ATTRIBUTES), args=args[:1])
        if node.op == "call_method":
            return StepSpec(op="method", target=_named(node.target, METHODS), args=args, kwargs=kwargs)
        name = function_name(node.target)
        if name is None:
            raise ValueError(f"the function {dotted(node.target)}")
        return StepSpec(op="function", target=name, args=args, kwargs=kwargs)

    def _reference(self, node: fx.Node) -> Any:
        return Reference(self._values[node])

    def _layer(self, target: str) -> int:
        if target not in self._numbers:
            layer, number = self.graph.get_submodule(target), len(self.layers)
            spec = layer_spec(layer, _readable(target))
            if spec is None:
                raise ValueError(f"the layer {dotted(type(layer))}")
            self.layers.append(spec)
            self.state |= {f"layers.{number}.{key}": tensor for key, tensor in layer.state_dict().items()}
            self._numbers[target] = number
        return self._numbers[target]

    def _tensor(self, target: str) -> int:
        if target not in self._numbers:
            tensor, number = _attribute(self.graph, target), len(self.tensors)
            dtype: Any = str(tensor.dtype).removeprefix("torch.")
            if dtype not in DTYPES:
                raise ValueError(f"a tensor of {tensor.dtype}")
            self.tensors.append(
                TensorSpec(
                    name=_readable(target),
                    kind="parameter" if isinstance(tensor, nn.Parameter) else "buffer",
                    dtype=dtype,
                    shape=list(tensor.shape),
                )
            )
            self.state[f"tensors.{tensor_name(number)}"] = tensor.detach()
            self.constants.append(target)
            self._numbers[target] = number
        return self._numbers[target]


def _named(target: Any, table: frozenset[str]) -> str:
    if target not in table:
        raise ValueError(f"the function Tensor.{target}")
    return str(target)


def _readable(target: str) -> str:
    """The name in the network: the tracer puts it into a chain of one."""
    return target.removeprefix("0.")[:200]


def _attribute(graph: fx.GraphModule, target: str) -> Tensor:
    path, _, name = target.rpartition(".")
    found: Tensor = getattr(graph.get_submodule(path), name)
    return found


def _refuse_rounded_constants(module: nn.Module, graph: fx.GraphModule, names: list[str]) -> None:
    """Raise ValueError for a constant that the forward computes with roundings: in float64 it is another one."""
    double = traced(frozen(module).double())
    for name in names:
        if name.startswith("_tensor_constant"):
            held, exact = _attribute(graph, name), _attribute(double, name)
            if not torch.equal(held.to(exact.dtype), exact):
                raise ValueError(
                    "a constant that the forward computes anew from buffers, with other roundings in each precision: "
                    "compute it once, in the constructor"
                )
