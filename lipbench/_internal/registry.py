"""Names to objects: bundled ones imported on first use, others through entry points.

A plugin registers an object under its name in the entry point group ``lipbench.<kind>s``, for instance

    [project.entry-points."lipbench.losses"]
    my_loss = "my_package:my_loss"
"""

import importlib
import inspect
from collections.abc import Callable, Mapping
from functools import cached_property
from importlib.metadata import entry_points
from typing import Any

from lipbench._internal.discovery import import_modules, objects_in
from lipbench.errors import LipbenchError, one_line, unknown_name


class Registry:
    """Objects of one kind by name.

    ``declared``: the bundled ones by name, each as "module:attribute" or as the object itself; or a function that
    returns such a mapping. Where it is a mapping, listing the names imports nothing.
    """

    def __init__(self, kind: str, group: str, declared: Mapping[str, Any] | Callable[[], Mapping[str, Any]]):
        self.kind = kind
        self.group = group
        self._declared = declared

    @cached_property
    def bundled(self) -> dict[str, Any]:
        """What needs no entry point, in the order of declaration. A test or a notebook may add to it."""
        return dict(self._declared() if callable(self._declared) else self._declared)

    def names(self) -> list[str]:
        """All registered names, sorted."""
        return sorted({*self.bundled, *(point.name for point in entry_points(group=self.group))})

    def get(self, name: str) -> Any:
        """The object called ``name``; raises LipbenchError with the closest name if there is none."""
        if name in self.bundled:
            found = self.bundled[name]
            if not isinstance(found, str):
                return found
            module, _, attribute = found.partition(":")
            return getattr(importlib.import_module(module), attribute)
        for point in entry_points(group=self.group):
            if point.name == name:
                try:
                    return point.load()
                except Exception as error:
                    raise LipbenchError(
                        f"the {self.kind} {name!r} of {point.value} cannot be imported: {one_line(error)}"
                    ) from error
        raise unknown_name(self.kind, name, self.names())


def _bundled_attacks() -> dict[str, Any]:
    """The ``ATTACK``, or the attacks ``DECLARED``, of each module in the packages of ``lipbench.attacks``, by name."""
    modules = import_modules(importlib.import_module("lipbench.attacks"))
    single = [module.ATTACK for module in modules if hasattr(module, "ATTACK")]
    attacks = [*single, *(attack for module in modules for attack in getattr(module, "DECLARED", ()))]
    return {attack.name: attack for attack in attacks}


def _bundled_losses() -> dict[str, Any]:
    """The classes in the modules of ``lipbench.training.losses`` that declare a name, by that name.

    Multiclass losses come first, then binary ones, each in the order in which their modules define them.
    """
    modules = import_modules(importlib.import_module("lipbench.training.losses"))
    classes: list[Any] = [kind for module in modules for kind in vars(module).values() if inspect.isclass(kind)]
    losses = [kind for kind in dict.fromkeys(classes) if "name" in vars(kind)]
    return {loss.name: loss for loss in sorted(losses, key=lambda loss: bool(loss.binary))}


# what `lipbench list` lists; here, as the command line may import neither torch nor pandas for its help
LISTED = ("models", "recipes", "suites", "attacks", "losses", "architectures", "datasets", "checks")
LOSSES = Registry("loss", "lipbench.losses", _bundled_losses)
ARCHITECTURES = Registry(
    "architecture",
    "lipbench.architectures",
    objects_in("models/architectures/chains"),
)
ATTACKS = Registry("attack", "lipbench.attacks", _bundled_attacks)
DATASETS = Registry(
    "data set",
    "lipbench.datasets",
    objects_in("data/sets", "load"),
)
