"""A network from the name of an architecture, a set of layers, and arguments."""

import inspect
from typing import Any

from torch import nn

from lipbench._internal.registry import ARCHITECTURES
from lipbench.errors import LipbenchError, quoted, reason
from lipbench.models.architectures.layers import Layers
from lipbench.models.architectures.parts import Shape


def build(name: str, layers: Layers, input_shape: Shape, num_classes: int, args: dict[str, Any]) -> nn.Sequential:
    """The architecture called ``name``, from one set of layers.

    ``num_classes``: outputs of the head (1 for a single-logit head). Raises LipbenchError for an unknown name or
    argument, for arguments that do not fit the input, and for any exception of a plugin.
    """
    factory = ARCHITECTURES.get(name)
    with ARCHITECTURES.calling(name):
        known = [p.name for p in inspect.signature(factory).parameters.values() if p.kind is p.KEYWORD_ONLY]
    unknown = sorted(set(args) - set(known))
    if unknown:
        raise LipbenchError(f"architecture {name!r} has no argument {unknown[0]!r}: it takes {', '.join(known)}")
    try:
        with ARCHITECTURES.calling(name):
            return nn.Sequential(*factory(layers, tuple(input_shape), num_classes, **args))
    except LipbenchError:
        raise
    except Exception as error:  # of a wrong argument, or of a plugin's layers
        raise LipbenchError(f"architecture {name!r} cannot be built with {quoted(args)}: {reason(error)}") from error
