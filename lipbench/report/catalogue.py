"""What has a name: models, recipes, suites, attacks, losses, architectures, layers and so on; one frame each.

What a plugin may register has the column ``origin``: "bundled", or the package and its version. A plugin that cannot be
used is a row all the same, with the reason, and a warning.
"""

import inspect
import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pandas as pd

from lipbench._internal import arguments, registry
from lipbench._internal.registry import Registry
from lipbench.errors import LipbenchError, quoted, unknown_name
from lipbench.models import cards
from lipbench.models.zoo import find_zoo, model_folders

if TYPE_CHECKING:
    from lipbench.attacks.base import Attack

Row = dict[str, str]
LOG = logging.getLogger(__name__)
CANNOT = "cannot be used"  # begins the summary of what is registered and broken


def catalogue(what: str, name: str | None = None) -> pd.DataFrame:
    """What lipbench knows by name, one row each, every cell as text.

    what: "models", "recipes", "suites", "attacks", "losses", "architectures", "layers", "datasets", "rules",
    "optimizers", "executors" or "checks"; name: for models the zoo, by default the bundled one; for attacks the attack
    whose parameters are listed. Raises LipbenchError for an unknown name, and for a name where none is taken.
    """
    if what not in registry.LISTED:
        raise unknown_name("list", what, registry.LISTED)
    if name is None:
        return pd.DataFrame(_LISTS[what]())
    name = arguments.text("name", name)
    if what == "models":
        return pd.DataFrame(_models(name))
    if what == "attacks":
        columns = ["parameter", "default", "limits", "meaning"]
        return pd.DataFrame(_parameters(attack_named(name)), columns=columns)
    raise LipbenchError(f"list {what} takes no name, got {quoted(name)}; only models and attacks take one")


def attack_named(name: str) -> "Attack":
    """The attack called ``name``; raises LipbenchError with the closest name if there is none."""
    from lipbench.attacks import base  # with torch, which other lists do not need

    return base.named(name)


def norms(attack: "Attack") -> str:
    """The norms that an attack serves."""
    return ", ".join(sorted(norm.value for norm in attack.norms))


def inputs(attack: "Attack") -> str:
    """The inputs that an attack serves: vectors, series, images, or any shape."""
    from lipbench.data.arrays import RANKS

    served = ", ".join(RANKS[rank].split()[0] for rank in sorted(attack.ranks))
    return "any shape" if attack.ranks == set(RANKS) else served


def _models(zoo: str = "digits") -> Iterator[Row]:
    for folder in model_folders(find_zoo(zoo)):
        card = cards.read(folder)
        hyperparameters = ", ".join(f"{name} {value:g}" for name, value in card.loss.hyperparameters.items())
        yield {
            "name": card.name,
            "data": card.data,
            "family": card.family,
            "hyperparameters": hyperparameters or "-",
            "claim": "no claim" if card.claimed is None else f"claims L = {card.claimed.constant:g}",
        }


def _recipes() -> Iterator[Row]:
    from lipbench.training import recipes

    for name in recipes.names():
        recipe = recipes.load(recipes.find(name))
        jobs = recipe.training_jobs()
        yield {
            "name": name,
            "data": recipe.data,
            "models": f"{len(jobs)} models",
            "epochs": f"{sum(job.training.epochs for job in jobs)} epochs",
            "losses": ", ".join(sorted({job.loss.name for job in jobs})),
        }


def _suites() -> Iterator[Row]:
    from lipbench.attacks import suites

    for name in suites.names():
        suite = suites.load(name)
        eps = ", ".join(value.shown for value in suite.eps)
        yield {"name": suite.name, "norm": suite.norm.value, "eps": f"eps {eps}", "description": suite.description}


def _attacks() -> Iterator[Row]:
    from lipbench.attacks import base

    kind = registry.ATTACKS
    for name in base.names():
        row = {"name": name, "origin": _origin(kind, name)}
        try:
            attack = base.named(name)
        except LipbenchError as error:  # of a plugin
            yield {**row, "norms": "-", "inputs": "-", "eps": "-", "summary": _broken(error)}
            continue
        eps = "minimal norm" if attack.minimal_norm else "at eps"
        yield {**row, "norms": norms(attack), "inputs": inputs(attack), "eps": eps, "summary": attack.summary}


def _parameters(attack: "Attack") -> Iterator[Row]:
    for name, parameter in attack.parameters.items():
        default = parameter.default
        yield {
            "parameter": name,
            "default": str(default).lower() if isinstance(default, bool) else str(default),
            "limits": parameter.expected,
            "meaning": parameter.meaning,
        }


def _checks() -> Iterator[Row]:
    from lipbench.verification import linter

    for code, summary in linter.summaries().items():
        yield {"code": code, "summary": summary}


def _origin(kind: Registry, name: str) -> str:
    """Where a name comes from; several places where packages clash."""
    return " and ".join(str(origin) for origin in kind.origins(name))


def _broken(error: LipbenchError) -> str:
    """The summary of what cannot be used; the reason is also a warning."""
    LOG.warning("%s", error)
    return f"{CANNOT}: {error}"


def _registered(kind: Registry) -> Callable[[], Iterator[Row]]:
    def rows() -> Iterator[Row]:
        for name in kind.names():
            row = {"name": name, "origin": _origin(kind, name)}
            try:
                item = kind.get(name)
                with kind.calling(name):
                    arguments = _arguments(item)
            except LipbenchError as error:
                yield {**row, "arguments": "-", "summary": _broken(error)}
                continue
            yield {**row, "arguments": arguments, "summary": _summary(item)}

    return rows


def _architectures() -> Iterator[Row]:
    from lipbench.models.architectures import summary

    shape = "x".join(str(size) for size in summary.SHAPE)
    for row in _registered(registry.ARCHITECTURES)():
        unknown = {"name": row["name"], "origin": row["origin"], "size": "-", "gradient_norm": "-"}
        if row["summary"].startswith(CANNOT):
            yield {**unknown, **row}
            continue
        try:
            found = summary.summarize(row["name"])
        except LipbenchError as error:  # of a plugin: it fails, or its defaults do not fit the shape
            LOG.warning("%s", error)
            yield {**unknown, **row}
            continue
        kept = [f"{layers} {_kept(share)}" for layers, share in found.gradient_norm.items()]
        size = f"{found.parameters:,} parameters ({shape}, {summary.CLASSES} classes)"
        yield {**unknown, "size": size, "gradient_norm": f"gradient norm: {', '.join(kept)}", **row}


def _layers() -> Iterator[Row]:
    from lipbench.models import architectures

    for row in _registered(registry.LAYERS)():
        pools, summary = "-", row["summary"]
        if not summary.startswith(CANNOT):
            try:
                pools = f"pools: {', '.join(architectures.layers_of(row['name'], True).pools)}"
            except LipbenchError as error:
                summary = _broken(error)
        yield {"name": row["name"], "origin": row["origin"], "pools": pools, "summary": summary}


def _kept(share: float | None) -> str:
    if share is None:
        return "not available"
    return "preserved" if share > 0.999 else f"not preserved ({share:.2g} of it left at initialisation)"


def _arguments(item: Any) -> str:
    """The arguments that a user may choose: those of a class, or the keyword-only ones of a function."""
    if not callable(item) or inspect.ismodule(item):
        return "-"
    function = item.__init__ if inspect.isclass(item) else item
    parameters = [p for p in inspect.signature(function).parameters.values() if p.name != "self"]
    if not inspect.isclass(item):
        parameters = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    return ", ".join(p.name for p in parameters) or "-"


def _summary(item: Any) -> str:
    """The first line of its docstring; objects may have an attribute ``summary``."""
    said = getattr(item, "summary", None)
    return said if isinstance(said, str) else (inspect.getdoc(item) or "").split("\n")[0]


_OF_EACH: tuple[Callable[[], Iterator[Row]], ...] = (
    _models,
    _recipes,
    _suites,
    _attacks,
    _registered(registry.LOSSES),
    _architectures,
    _layers,
    _registered(registry.DATASETS),
    _registered(registry.RULES),
    _registered(registry.OPTIMIZERS),
    _registered(registry.EXECUTORS),
    _checks,
)
_LISTS = dict(zip(registry.LISTED, _OF_EACH, strict=True))
