"""The forward of a network as a graph of ``torch.fx``, and the values that in-place operations in it overwrite."""

import operator
from typing import Any

from torch import fx, nn

from lipbench.certification.lipschitz.batch import about_shape
from lipbench.certification.lipschitz.replaced import refuse_hooks
from lipbench.certification.lipschitz.selections import is_selecting, is_selecting_layer
from lipbench.certification.lipschitz.table import MAY_RETURN_ITS_INPUT, find
from lipbench.errors import UnsupportedError, one_line

_VIEWING_ATTRIBUTES = {"data", "real", "H", "mH"}  # besides those that have a rule
_IN_PLACE_OPERATORS = {operator.iadd, operator.isub, operator.imul, operator.itruediv, operator.setitem}


class _Proxy(fx.Proxy):
    """Keeps ``y += x`` apart from ``y = y + x``, which fx does not: see ``_refuse_aliases``."""

    def __iadd__(self, other: Any) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", operator.iadd, (self, other), {})

    def __isub__(self, other: Any) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", operator.isub, (self, other), {})

    def __imul__(self, other: Any) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", operator.imul, (self, other), {})

    def __itruediv__(self, other: Any) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", operator.itruediv, (self, other), {})


class _Tracer(fx.Tracer):
    def proxy(self, node: fx.Node) -> fx.Proxy:
        """The stand-in for a value while the forward is traced."""
        return _Proxy(node, self)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Layers with a rule and torch's own are steps; containers and the users' modules are opened."""
        if isinstance(m, nn.Sequential | nn.ModuleList | nn.ModuleDict):
            return False
        return is_layer(m) or type(m).__module__.startswith("torch.nn.modules")


def is_layer(module: nn.Module) -> bool:
    """True for a module whose type has a rule."""
    return is_selecting_layer(module) or find(type(module)) is not None


def traced(network: nn.Module) -> fx.GraphModule:
    """The graph of a frozen network. Raises UnsupportedError where it cannot be traced."""
    for part in network.modules():
        refuse_hooks(part)
    root = nn.Sequential(network)  # the root itself is always opened
    try:
        graph = _Tracer().trace(root)
    except Exception as error:  # whatever the network's own code raises when it is given no numbers
        raise UnsupportedError(
            f"the forward of {type(network).__name__} cannot be traced: {reason(error)}; "
            "control flow must not depend on the data"
        ) from error
    _refuse_aliases(graph, root)  # before dead code is removed: a dead in-place operation still overwrites
    module = fx.GraphModule(root, graph)
    module.graph.eliminate_dead_code()
    module.recompile()
    return module


def reason(error: Exception) -> str:
    """The first line of an error's message: fx appends the traceback of the traced code."""
    return one_line(ValueError(str(error).splitlines()[0] if str(error) else type(error).__name__))


# --- in-place operations ---------------------------------------------------------------------------------------------


def in_place(node: fx.Node, root: nn.Module) -> bool:
    """True if a node overwrites its first argument."""
    if node.op == "call_module":
        return bool(getattr(root.get_submodule(str(node.target)), "inplace", False))
    if node.op == "call_method":
        return str(node.target).endswith("_") and not str(node.target).endswith("__")
    if node.op == "call_function":
        name = getattr(node.target, "__name__", "")
        return node.target in _IN_PLACE_OPERATORS or name.endswith("_") or bool(node.kwargs.get("inplace", False))
    return False


def _refuse_aliases(graph: fx.Graph, root: nn.Module) -> None:
    """An in-place operation is the same as its plain form only if nothing else reads what it overwrites."""
    order = {node: place for place, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        if not in_place(node, root) or not node.all_input_nodes:
            continue
        if node.target is operator.setitem:
            raise UnsupportedError("no Lipschitz rule for assignment into a slice of a tensor: write it with torch.cat")
        for alias in _sharing(node, root):
            if alias is not _overwritten(node) and alias in node.all_input_nodes:
                raise UnsupportedError(
                    f"{node.name} changes a tensor in place that it reads through a view: use the plain form"
                )
            later = [user for user in alias.users if order[user] > order[node] and not about_shape(user)]
            if later:
                raise UnsupportedError(
                    f"{node.name} changes a tensor in place that {later[0].name} reads afterwards: use the plain form"
                )


def _sharing(node: fx.Node, root: nn.Module) -> set[fx.Node]:
    """The nodes that may share the memory that an in-place operation overwrites: its input, views of it, its bases."""
    seen, waiting = set(), [_overwritten(node)]
    while waiting:
        current = waiting.pop()
        seen.add(current)
        before = current.all_input_nodes[:1] if _may_view(current, root) else []
        after = [user for user in current.users if _may_view(user, root)]
        waiting += [other for other in (*before, *after) if other not in seen and other is not node]
    return seen


def _overwritten(node: fx.Node) -> fx.Node:
    """The node that an in-place operation writes to: its first argument, given by position or by name."""
    first = node.kwargs.get("input", node.args[0] if node.args else None)
    return first if isinstance(first, fx.Node) else node.all_input_nodes[0]


def _may_view(node: fx.Node, root: nn.Module) -> bool:
    if in_place(node, root):
        return True
    if node.op == "call_module":
        return is_selecting_layer(root.get_submodule(str(node.target)))
    if node.target is getattr and node.args[1] in _VIEWING_ATTRIBUTES:
        return True
    return is_selecting(node) or node.target in MAY_RETURN_ITS_INPUT
