"""From the bytes of a ``graph.json`` to a network without weights: all checks, before anything is allocated.

The network is run once on the meta device, where tensors have shapes and no memory, step by step, so that a shape that
is too large is refused before it is computed.
"""

import operator
from typing import Any

import torch
from torch import Tensor

from lipbench.errors import LipbenchError, one_line
from lipbench.models.graphs import layers
from lipbench.models.graphs.form import (
    DTYPES,
    LARGEST,
    MOST_ARGUMENTS,
    GraphFile,
    Reference,
    StepSpec,
    argument,
    items,
    not_in_table,
    parse,
    references,
)
from lipbench.models.graphs.network import GraphNetwork, Step, filled
from lipbench.models.graphs.operations import ATTRIBUTES, FUNCTIONS, METHODS

SAMPLES = 2  # in the run on the meta device
MOST_NUMBERS = 2**26  # in one value of one sample
MOST_IN_ALL = 2**30  # in all values of one sample; ResNet-152 at 224 x 224 computes 1.5e8
MOST_WEIGHTS = 2**33  # numbers in all weights together
MOST_PARTS = 4096  # tensors or numbers in a tuple that a step gives


def read_network(data: bytes, where: str, input_shape: tuple[int, ...], num_classes: int) -> GraphNetwork:
    """The network of a graph, its weights on the meta device, for ``load_state_dict(assign=True)``.

    data: the bytes of ``graph.json``; where: its place, for messages; input_shape: of one input. Raises LipbenchError
    for anything that is not a graph of operations in the table, that does not run on such inputs, that needs more than
    the limits of this module, or that gives other outputs than (n, num_classes), or (n, 1) for two classes.
    """
    graph = parse(data, where)
    for place, step in enumerate(graph.steps, 1):
        _check_step(graph, step, place, where)
    if not 0 < graph.output <= len(graph.steps):
        raise LipbenchError(f"{where}: the output is step {graph.output}, and the graph has {len(graph.steps)}")
    built = []
    for number, spec in enumerate(graph.layers):
        try:
            built.append(layers.build(spec))
        except LipbenchError as error:
            raise LipbenchError(f"{where}: layer {number}: {error}") from error
    try:
        network = GraphNetwork(graph, built).to(DTYPES[graph.dtype])
    except (RuntimeError, ValueError, OverflowError) as error:  # a shape that not even the meta device has
        raise LipbenchError(f"{where}: {one_line(error)[:200]}") from error
    weights = sum(tensor.numel() for tensor in (*network.parameters(), *network.buffers()))
    if weights > MOST_WEIGHTS:
        raise LipbenchError(f"{where}: the weights are {weights} numbers, more than {MOST_WEIGHTS}")
    _check_output(_run(network, input_shape, where), num_classes, where)
    return network.eval()


# --- the form of a step ----------------------------------------------------------------------------------------------


def _check_step(graph: GraphFile, step: StepSpec, place: int, where: str) -> None:
    """Raise LipbenchError for a step that is not an operation in the table on the values of earlier steps."""
    try:
        args = [argument(value) for value in step.args]
        kwargs = {key: argument(value) for key, value in step.kwargs.items()}
    except ValueError as error:
        raise LipbenchError(f"{where}: step {place} has {error}") from error
    count = sum(1 for _ in items([args, kwargs]))
    if count > MOST_ARGUMENTS:
        raise LipbenchError(f"{where}: step {place} has {count} arguments, more than {MOST_ARGUMENTS}")
    for reference in references([args, kwargs]):
        if not 0 <= reference.step < place:
            raise LipbenchError(f"{where}: step {place} takes step {reference.step}, which does not come before it")
    _check_target(graph, step, place, where)
    if step.op in ("method", "attribute") and not (args and isinstance(args[0], Reference)):
        raise LipbenchError(f"{where}: step {place}: a {step.op} is of an earlier step, the first argument")
    if (step.op == "attribute" and (len(args) != 1 or kwargs)) or (step.op == "tensor" and (args or kwargs)):
        raise LipbenchError(f"{where}: step {place}: a step of this kind takes no further arguments")


def _check_target(graph: GraphFile, step: StepSpec, place: int, where: str) -> None:
    numbered = {"layer": len(graph.layers), "tensor": len(graph.tensors)}
    if step.op in numbered:
        if not isinstance(step.target, int) or step.target >= numbered[step.op]:
            raise LipbenchError(
                f"{where}: step {place} is {step.op} {step.target}, and the graph has {numbered[step.op]}"
            )
        return
    table = {"function": FUNCTIONS.keys(), "method": METHODS, "attribute": ATTRIBUTES}[step.op]
    if step.target not in table:
        raise LipbenchError(f"{where}: step {place}: {not_in_table(step.op, step.target, table)}")


# --- one run without memory ------------------------------------------------------------------------------------------


@torch.no_grad()
def _run(network: GraphNetwork, input_shape: tuple[int, ...], where: str) -> Any:
    """The output of the network on the meta device. Raises LipbenchError for a step that fails or is too large."""
    values: list[Any] = [torch.empty(SAMPLES, *input_shape, dtype=DTYPES[network.graph["dtype"]], device="meta")]
    total = 0
    for place, step in enumerate(network.steps, 1):
        try:
            _refuse_repetition(step, values)
            value = network.compute(step, values)
        except Exception as error:  # whatever the operation makes of wrong arguments
            raise LipbenchError(
                f"{where}: step {place} ({step.op} {step.target}) fails: {one_line(error)[:200]}"
            ) from error
        total += _checked_size(value, place, where)
        if total > MOST_IN_ALL:
            raise LipbenchError(f"{where}: steps 1 to {place} give {total} numbers a sample, more than {MOST_IN_ALL}")
        values.append(value)
    return values[network.output]


def _refuse_repetition(step: Step, values: list[Any]) -> None:
    """Raise ValueError for Python's own products of sequences, whose results are made before they can be counted."""
    if step.op != "function" or not str(step.target).startswith("operator.") or step.target == "operator.getitem":
        return
    sums = FUNCTIONS[str(step.target)] in (operator.add, operator.iadd)
    for value in (*filled(step.args, values), *filled(step.kwargs, values).values()):
        if not isinstance(value, Tensor | int | float) and not (sums and isinstance(value, tuple)):
            raise ValueError(f"an operator on a {type(value).__name__}")


def _checked_size(value: Any, place: int, where: str) -> int:
    """How many numbers of one sample a value holds.

    Raises LipbenchError for one that is too large, or of a kind that no network computes with.
    """
    parts = list(value) if isinstance(value, tuple | list) else [value]
    numbers = 0
    for part in parts[: MOST_PARTS + 1]:
        if isinstance(part, Tensor):
            numbers += part.numel()
        elif isinstance(part, int | float):
            if not abs(part) <= LARGEST:
                raise LipbenchError(f"{where}: step {place} gives {str(part)[:40]}, a number out of bounds")
        elif part is not None and not isinstance(part, torch.dtype | torch.device):
            raise LipbenchError(f"{where}: step {place} gives a {type(part).__name__}, expected tensors or numbers")
    if len(parts) > MOST_PARTS or numbers > SAMPLES * MOST_NUMBERS:
        raise LipbenchError(
            f"{where}: step {place} gives {len(parts)} values with {numbers // SAMPLES} numbers a sample: at most "
            f"{MOST_PARTS} values and {MOST_NUMBERS} numbers are read"
        )
    return numbers // SAMPLES


def _check_output(out: Any, num_classes: int, where: str) -> None:
    expected = {(SAMPLES, num_classes), *([(SAMPLES, 1)] if num_classes == 2 else [])}
    found = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
    if found not in expected:
        raise LipbenchError(
            f"{where}: the network gives {found} for {SAMPLES} inputs, expected logits (n, {num_classes}) for the "
            f"{num_classes} classes on the card"
        )
