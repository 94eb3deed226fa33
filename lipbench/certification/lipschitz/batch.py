"""Values in a graph that depend on the number of samples: they are symbolic, and may not reach a rule.

The size of dimension 0 is marked where it is read, and so is every value that is computed from it: the sizes at which a
graph is run do not matter. The size itself may only stand where a view puts it, in dimension 0.
"""

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx

from lipbench.errors import UnsupportedError

_COUNTS = {"numel", "nelement"}
# their results do not depend on the values of a tensor
_ABOUT_SHAPE = {"size", "shape", "dim", "ndim", "ndimension", "dtype", "device", "is_floating_point"} | _COUNTS
_VIEWS = {"view", "reshape", "expand", "unflatten", torch.reshape}
_MESSAGE = "the outputs for a sample depend on the other samples of a batch, or on their number: "


class BatchSize(int):
    """The number of samples itself; numbers computed from it are plain."""


class BatchMarks:
    """The nodes of a graph that hold the number of samples, or a value that is computed from it."""

    def __init__(self) -> None:
        self._visible: set[fx.Node] = set()  # they hold it as ``BatchSize`` alone
        self._derived: set[fx.Node] = set()
        self._laid_out: set[fx.Node] = set()  # constants with one row for each sample, all rows the same

    def marked(
        self, node: fx.Node, arguments: tuple[Any, ...], keywords: dict[str, Any], value: Any, *, dependent: bool
    ) -> Any:
        """The value of a node, with the number of samples as ``BatchSize``; remembers the nodes that hold it.

        dependent: whether the node takes a tensor that depends on the network's input; arguments, keywords: their
        values.
        """
        if not dependent:
            self._mark_constant(node, arguments, keywords, value)
            return value
        return self._marked_shape(node, arguments, keywords, value) if about_shape(node) else value

    def _marked_shape(self, node: fx.Node, arguments: tuple[Any, ...], keywords: dict[str, Any], value: Any) -> Any:
        """The value of a node that reads a tensor's shape, with the number of samples as ``BatchSize``."""
        if node.target in _COUNTS:
            self._derived.add(node)
        elif isinstance(value, torch.Size):
            value = torch.Size((BatchSize(value[0]), *value[1:])) if value else value
        elif node.target == "size" and _dimension(arguments, keywords) % arguments[0].ndim == 0:
            value = BatchSize(value)
        if _holds(value):
            self._visible.add(node)
        return value

    def _mark_constant(self, node: fx.Node, arguments: tuple[Any, ...], keywords: dict[str, Any], value: Any) -> None:
        """Remember a node that depends on no input, but on the number of samples."""
        inputs = node.all_input_nodes
        if any(one in self._derived for one in inputs):
            self._derived.add(node)
        elif any(one in self._laid_out for one in inputs):
            (self._laid_out if node.target in _VIEWS and _rows_are_equal(value) else self._derived).add(node)
        elif any(one in self._visible for one in inputs):
            if arguments and isinstance(arguments[0], tuple) and node.target in (operator.getitem, operator.add):
                if _holds(value):
                    self._visible.add(node)
            elif (
                node.target in ("expand", "repeat")
                and _are_sizes(_given(arguments, keywords))
                and _rows_are_equal(value)
            ):
                self._laid_out.add(node)  # such as ``token.expand(x.size(0), -1, -1)``
            else:
                self._derived.add(node)

    def check(self, node: fx.Node, arguments: tuple[Any, ...], keywords: dict[str, Any], name: str) -> None:
        """Raise UnsupportedError if a step takes the number of samples anywhere but as dimension 0 of a view."""
        inputs = node.all_input_nodes
        if any(one in self._derived for one in inputs):
            raise UnsupportedError(_MESSAGE + f"{name} takes a number that is computed from the size of the batch")
        if not any(one in self._visible for one in inputs):
            return
        if node.target not in _VIEWS or not _are_sizes(_given(arguments, keywords)):
            where = "which may only be dimension 0 of a view or reshape"
            raise UnsupportedError(_MESSAGE + f"{name} takes the size of the batch, {where}")


def about_shape(node: fx.Node) -> bool:
    """True for a node that reads the shape or the type of a tensor."""
    if node.op == "call_method":
        return node.target in _ABOUT_SHAPE
    return node.target is getattr and node.args[1] in _ABOUT_SHAPE


def _dimension(arguments: tuple[Any, ...], keywords: dict[str, Any]) -> int:
    return int(arguments[1] if len(arguments) > 1 else keywords.get("dim", 0))


def _given(arguments: tuple[Any, ...], keywords: dict[str, Any]) -> list[Any]:
    """The arguments of a method or function besides its tensor."""
    return [*arguments[1:], *(value for key, value in keywords.items() if key != "input")]


def _are_sizes(given: Sequence[Any]) -> bool:
    """True for sizes that have the number of samples first, and nowhere else."""
    sizes = given[0] if len(given) == 1 and isinstance(given[0], tuple | list) else given
    return bool(sizes) and isinstance(sizes[0], BatchSize) and not _holds(tuple(sizes[1:]))


def _rows_are_equal(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim > 0 and torch.equal(value, value[:1].expand_as(value))


def _holds(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return any(_holds(item) for item in value)
    return isinstance(value, BatchSize)
