"""A network from the name of an architecture, a set of layers, and arguments."""

import inspect
from typing import Any

from torch import nn

from lipbench._internal.registry import ARCHITECTURES
from lipbench.errors import LipbenchError, quoted
from lipbench.models.architectures.layers import Layers
from lipbench.models.architectures.parts import Shape


def build(name: str, layers: Layers, input_shape: Shape, num_classes: int, args: dict[str, Any]) -> nn.Sequential:
    """The architecture called ``name``, from one set of layers.

    ``num_classes``: outputs of the head (1 for a single-logit head). Raises LipbenchError for an unknown name or
    argument, and for arguments that do not fit the input.
    """
    factory = ARCHITECTURES.get(name)
    known = [p.name for p in inspect.signature(factory).parameters.values() if p.kind is p.KEYWORD_ONLY]
    unknown = sorted(set(args) - set(known))
    if unknown:
        raise LipbenchError(f"architecture {name!r} has no argument {unknown[0]!r}: it takes {', '.join(known)}")
    try:
        return nn.Sequential(*factory(layers, tuple(input_shape), num_classes, **args))
    except (TypeError, ValueError, RuntimeError) as error:
        raise LipbenchError(
            f"architecture {name!r} cannot be built with {quoted(args)}: {str(error).splitlines()[0]}"
        ) from error
