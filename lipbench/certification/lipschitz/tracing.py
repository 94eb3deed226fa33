"""A network to its graph of steps, checked against the network itself.

``torch.fx`` traces the forward; layers with a rule, and all of torch's own, are steps as they are, other modules are
opened. A trace cannot see control flow that depends on the data: such a forward is refused. The trace is run beside
the network, so that a graph that computes something else is refused too; so is a network that changes while it runs, or
whose outputs for one sample depend on the others.
"""

import copy

import torch
from torch import Tensor, nn

from lipbench._internal.precision import without_autocast
from lipbench._internal.randomness import keeping_random_numbers
from lipbench.certification.lipschitz import agreement, plugin_rules, rule_checks, state
from lipbench.certification.lipschitz.effects import EXACT, Effect, Shape
from lipbench.certification.lipschitz.forward import reason, traced
from lipbench.certification.lipschitz.freezing import frozen
from lipbench.certification.lipschitz.graph import Graph, Step
from lipbench.certification.lipschitz.selections import BATCH
from lipbench.certification.lipschitz.steps import StepBuilder
from lipbench.errors import LipbenchError, UnsupportedError


def trace(module: nn.Module, input_shape: Shape) -> Graph:
    """The graph of a network; ``input_shape``: of one input, without the batch, such as (1, 28, 28).

    Raises UnsupportedError for a network that has a layer or function without a rule, or that cannot be traced;
    LipbenchError for inputs that do not fit.
    """
    if not all(size > 0 for size in input_shape):
        raise LipbenchError(f"expected the shape of one input, such as (1, 28, 28), got {input_shape}")
    plugin_rules.load()
    with torch.inference_mode(False), torch.no_grad(), without_autocast(), keeping_random_numbers():
        return _trace(module, input_shape)


def _trace(module: nn.Module, input_shape: Shape) -> Graph:
    given, module = module, frozen(module)
    for part in module.modules():
        if part.training:
            raise UnsupportedError(f"{type(part).__name__} stays in training mode when the network is put in eval mode")
    try:
        graph = _checked_graph(module, input_shape)
    except LipbenchError:
        raise
    except Exception as error:  # whatever the network's own code raises
        raise LipbenchError(f"the network does not accept inputs of shape {input_shape}: {reason(error)}") from error
    _check_output(graph)
    agreement.check_copy(given, module, input_shape)
    return graph


def _checked_graph(module: nn.Module, input_shape: Shape) -> Graph:
    """The graph of a frozen network. Raises UnsupportedError where it does not compute what the network does."""
    x = agreement.probes(module, input_shape)
    double = copy.deepcopy(module).double()
    in_float64 = traced(double)
    graph = Graph(traced(module), [Step("input", Effect((1.0,), EXACT), (), tuple(input_shape), 1.0)])
    if str(in_float64.graph) != str(graph.module.graph):
        raise UnsupportedError("the forward depends on the precision of its numbers")
    StepBuilder(graph, in_float64).run(x[:BATCH].to(torch.float64, copy=True))
    agreement.outputs(module, x)  # the same input before both snapshots
    before = state.snapshot(module)
    rule_checks.check_steps(graph, x)
    single = agreement.check_same(graph.module, module, x)
    if _runs(double, x.double()):  # a cast inside may leave it without a form in float64
        agreement.check_precision(single, agreement.check_same(in_float64, double, x.double()))
    agreement.outputs(module, x)
    state.check(before, state.snapshot(module))
    return graph


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
