"""Objects that were given in Python where names are expected, on their way to the processes of an executor."""

import logging
import pickle
import sys
from dataclasses import dataclass
from typing import Any

from lipbench._internal.registry import REGISTRIES, SHOWN, Registry
from lipbench.errors import LipbenchError, one_line

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Given:
    """The objects given so far. A copy in another process registers them there; in this one it does nothing.

    Raises LipbenchError when it is pickled and an object cannot be found from another process.
    """

    def __reduce__(self) -> Any:
        sent = [
            (registry.group, name, _sent(registry, name, found))
            for registry in REGISTRIES
            for name, found in registry.given.items()
        ]
        return _receive, (sent,)


HERE = Given()


def _sent(registry: Registry, name: str, found: Any) -> bytes:
    kind = found if isinstance(found, type) or hasattr(found, "__qualname__") else type(found)
    interactive = kind.__module__ == "__main__" and not hasattr(sys.modules["__main__"], "__file__")
    try:
        data = pickle.dumps(found)
        if interactive:
            raise LookupError("it is defined in a notebook or at a prompt")
    except Exception as error:
        raise LipbenchError(
            f"the {registry.kind} {name!r} was given as an object that other processes cannot find: define it at the "
            f"top of a module, or use one process ({one_line(error)[:SHOWN]})"
        ) from error
    return data


def _receive(sent: list[tuple[str, str, bytes]]) -> Given:
    registries = {registry.group: registry for registry in REGISTRIES}
    for group, name, data in sent:
        try:
            registries[group].given.setdefault(name, pickle.loads(data))
        except Exception as error:  # the work that needs it says that the name is unknown
            LOG.warning("the %s %r is not found in this process: %s", registries[group].kind, name, one_line(error))
    return HERE
