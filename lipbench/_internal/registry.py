"""Names to objects: bundled ones imported on first use, others through entry points, or given in Python.

A plugin registers an object under its name in the entry point group ``lipbench.<kind>s``, for instance

    [project.entry-points."lipbench.losses"]
    my_loss = "my_package:my_loss"
"""

import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from lipbench._internal.discovery import import_modules, objects_in
from lipbench.errors import LipbenchError, one_line, unknown_name

SHOWN = 200  # characters of a message of other code
PLAIN = (str, int, float, bool, list, tuple, dict, type(None))  # what stands in a file: a name, or a mistake


@dataclass(frozen=True)
class Origin:
    """Where a name comes from: lipbench, a package with an entry point, or an object given in Python (no package)."""

    package: str
    version: str = ""
    value: str = ""  # of an entry point: "module:attribute"

    @property
    def is_plugin(self) -> bool:
        """Whether it is an entry point of another package."""
        return bool(self.value)

    def __str__(self) -> str:
        return " ".join(filter(None, (self.package, self.version)))


BUNDLED, IN_PYTHON = Origin("bundled"), Origin("given in Python")


class Registry:
    """Objects of one kind by name.

    ``declared``: the bundled ones by name, each as "module:attribute", as "module", or as the object itself; or a
    function that returns such a mapping. Where it is a mapping, listing the names imports nothing. ``expected``: what a
    registered object must be, in words, and ``accepts``: whether one is. ``given``: those that were given in Python, in
    this process or in the one that started it.
    """

    def __init__(
        self,
        kind: str,
        group: str,
        declared: Mapping[str, Any] | Callable[[], Mapping[str, Any]],
        expected: str = "something to call",
        accepts: Callable[[Any], bool] = callable,
    ):
        self.kind = kind
        self.group = group
        self.given: dict[str, Any] = {}
        self._declared = declared
        self._expected = expected
        self._accepts = accepts

    @cached_property
    def bundled(self) -> dict[str, Any]:
        """What needs no entry point, in the order of declaration. A test or a notebook may add to it."""
        return dict(self._declared() if callable(self._declared) else self._declared)

    def names(self) -> list[str]:
        """All registered names, sorted."""
        return sorted({*self.bundled, *(point.name for point in _points(self.group)), *self.given})

    def origins(self, name: str) -> list[Origin]:
        """Where the name comes from: none for an unknown one, several where packages clash."""
        points = sorted((_origin(point) for point in _points(self.group) if point.name == name), key=str)
        return [BUNDLED] * (name in self.bundled) + points + [IN_PYTHON] * (name in self.given)

    def said(self, name: str) -> str:
        """The name with its kind and where it comes from, as messages have it."""
        origins = self.origins(name)
        return f"the {self.kind} {name!r}" + (f" of {origins[0]}" if len(origins) == 1 and origins[0].is_plugin else "")

    def get(self, name: str) -> Any:
        """The object called ``name``.

        Raises LipbenchError with the closest name if there is none, for a name with several sources, and for a plugin
        that cannot be imported or that is another kind of object.
        """
        origins = self.origins(name)
        if not origins:
            raise unknown_name(self.kind, name, self.names())
        if len(origins) > 1:
            sources = [f"{origin} ({origin.value})" if origin.is_plugin else str(origin) for origin in origins]
            raise LipbenchError(
                f"the {self.kind} {name!r} has {len(sources)} sources: {' and '.join(sources)}; uninstall all but one, "
                "or register it under another name"
            )
        if name in self.given:
            return self.given[name]
        if name in self.bundled:
            found = self.bundled[name]
            return _imported(found) if isinstance(found, str) else found
        (point,) = (point for point in _points(self.group) if point.name == name)
        with self.calling(name, f"cannot be imported from {point.value}"):
            found = point.load()
        if not self._accepts(found):
            raise LipbenchError(f"{self.said(name)} must be {self._expected}, got {repr(found)[:SHOWN]}")
        return found

    @contextmanager
    def calling(self, name: str, what: str = "failed") -> Iterator[None]:
        """Run code of the object called ``name``: an exception of a plugin's becomes a LipbenchError that names it."""
        try:
            yield
        except LipbenchError:
            raise
        except (Exception, SystemExit) as error:
            if name in self.bundled:
                raise
            said = f"{type(error).__name__}: {one_line(error)}"[:SHOWN]
            raise LipbenchError(f"{self.said(name)} {what}: {said}") from error

    def name_of(self, value: Any) -> Any:
        """The name of an object that is given where a name is expected; the object is registered in this process.

        Plain data come back as they are; an entry point's object has the name of the entry point. Raises ValueError for
        an object without a name of its own, and for one whose name belongs to another.
        """
        if isinstance(value, PLAIN):
            return value
        place = f"{getattr(value, '__module__', '')}:{getattr(value, '__qualname__', '')}"
        for point in _points(self.group):
            if point.value == place:
                return point.name
        name = getattr(value, "name", None) or getattr(value, "__name__", None)
        if not isinstance(name, str) or name == "<lambda>":
            raise ValueError(
                f"an object that stands for the name of its {self.kind} needs a name of its own: define a function "
                f"with def, or set an attribute name; got {repr(value)[:SHOWN]}"
            )
        if self.bundled.get(name) is value:
            return name
        others = [origin for origin in self.origins(name) if origin != IN_PYTHON]
        if others or not _may_replace(self.given.get(name, value), value):
            raise ValueError(f"{self.said(name)} is another object than the one given here: rename one of them")
        self.given[name] = value
        return name


def _may_replace(known: Any, value: Any) -> bool:
    """Whether it is the same object, or the same function or class, defined again."""
    places = [(getattr(one, "__module__", None), getattr(one, "__qualname__", None)) for one in (known, value)]
    return known is value or (places[0] == places[1] and "<locals>" not in (places[0][1] or "<locals>"))


def _imported(place: str) -> Any:
    """The object "module:attribute", or the module without an attribute."""
    module, _, attribute = place.partition(":")
    found = importlib.import_module(module)
    return getattr(found, attribute) if attribute else found


def _points(group: str) -> tuple[EntryPoint, ...]:
    return _points_on(group, tuple(sys.path))


@functools.lru_cache
def _points_on(group: str, path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """The entry points of a group; looking for them reads all installed packages."""
    return tuple(entry_points(group=group))


def _origin(point: EntryPoint) -> Origin:
    if point.dist is None:
        return Origin(point.module.partition(".")[0], value=point.value)
    return Origin(point.dist.name, point.dist.version, point.value)


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


def _anything(found: Any) -> bool:
    """The room of this kind checks the object itself, and says more than a registry could."""
    return True


# what `lipbench list` lists; here, as the command line may import neither torch nor pandas for its help
LISTED = (
    "models", "recipes", "suites", "attacks", "losses", "architectures", "layers", "datasets", "rules", "optimizers",
    "executors", "checks",
)  # fmt: skip
LOSSES = Registry("loss", "lipbench.losses", _bundled_losses, "a class or a function (logits, labels)")
ARCHITECTURES = Registry(
    "architecture",
    "lipbench.architectures",
    objects_in("models/architectures/chains"),
    "a function (layers, input_shape, num_classes, *, arguments)",
)
LAYERS = Registry(
    "set of layers",
    "lipbench.layers",
    {
        name: f"lipbench.models.architectures.layers:{name}"
        for name in ("torchlip", "orthogonium", "groupsort8", "fullsort")
    },
    accepts=_anything,
)
ATTACKS = Registry("attack", "lipbench.attacks", _bundled_attacks, accepts=_anything)
DATASETS = Registry(
    "data set", "lipbench.datasets", objects_in("data/sets", "load"), "a function (argument, data_dir) -> Dataset"
)
RULES = Registry(
    "set of rules",
    "lipbench.rules",
    {name: place.partition(":")[0] for name, place in objects_in("certification/lipschitz/rules").items()},
    "a module, or a function without arguments, that registers rules with lipbench.rule",
    lambda found: callable(found) or inspect.ismodule(found),
)
OPTIMIZERS = Registry(
    "optimizer",
    "lipbench.optimizers",
    {name: f"lipbench.training.optimizers:{name}" for name in ("adam", "sgd")},
    "a class or a function (parameters, lr, weight_decay, **arguments) -> torch.optim.Optimizer",
)
EXECUTORS = Registry(
    "executor",
    "lipbench.executors",
    {"local": "lipbench.work.executors.local:LocalExecutor", "ray": "lipbench.work.executors.ray:RayExecutor"},
    "a class or a function (jobs, threads) -> an object with run(function, tasks)",
)
REGISTRIES = (LOSSES, ARCHITECTURES, LAYERS, ATTACKS, DATASETS, RULES, OPTIMIZERS, EXECUTORS)
