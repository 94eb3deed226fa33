"""``lipbench list``."""

import inspect
from collections.abc import Callable, Iterator

import click

from lipbench.errors import LipbenchError
from lipbench.models.zoo import find_zoo, model_folders

Row = tuple[str, ...]
_KINDS = ("models", "recipes", "suites", "attacks", "losses", "architectures", "datasets", "checks")


@click.command("list")
@click.argument("what", type=click.Choice(_KINDS))
@click.argument("zoo", default="digits")
def command(what: str, zoo: str) -> None:
    """List what there is: models (of ZOO), recipes, suites, attacks, losses, architectures, datasets, or the linter's
    checks.

    \b
    Example: lipbench list attacks
    """
    rows = list(_LISTS[what](zoo))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1 if rows else 0)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        click.echo("  ".join([*cells, row[-1]]))


def _models(zoo: str) -> Iterator[Row]:
    from lipbench.models import cards

    for folder in model_folders(find_zoo(zoo)):
        card = cards.read(folder)
        hyperparameters = ", ".join(f"{name} {value:g}" for name, value in card.loss.hyperparameters.items())
        claim = "no claim" if card.claimed is None else f"claims L = {card.claimed.constant:g}"
        yield card.name, card.data, card.family, hyperparameters or "-", claim


def _recipes(zoo: str) -> Iterator[Row]:
    from lipbench.training import recipes

    for name in recipes.names():
        recipe = recipes.load(recipes.find(name))
        settings = recipe.training_jobs()
        epochs = sum(setting.training.epochs for setting in settings)
        shown = ", ".join(sorted({setting.loss.name for setting in settings}))
        yield name, recipe.data, f"{len(settings)} models", f"{epochs} epochs", shown


def _suites(zoo: str) -> Iterator[Row]:
    from lipbench.attacks import suites

    for name in suites.names():
        suite = suites.load(name)
        eps = ", ".join(f"{value:g}" for value in suite.eps)
        yield suite.name, suite.norm.value, f"eps {eps}", suite.description


def _attacks(zoo: str) -> Iterator[Row]:
    from lipbench._internal.registry import BACKENDS
    from lipbench.attacks import guard

    for name in BACKENDS.names():
        for attack in guard.get(name).attacks.values():
            norms = ", ".join(sorted(norm.value for norm in attack.norms))
            yield (
                f"{name}/{attack.name}",
                norms,
                "minimal norm" if attack.minimal_norm else "at eps",
                attack.summary,
            )


def _checks(zoo: str) -> Iterator[Row]:
    from lipbench.verification import linter

    yield from linter.checks().items()


def _registered(registry_name: str) -> Callable[[str], Iterator[Row]]:
    def rows(zoo: str) -> Iterator[Row]:
        from lipbench._internal import registry

        kind = getattr(registry, registry_name)
        for name in kind.names():
            item = kind.get(name)
            yield name, _arguments(item), (inspect.getdoc(item) or "").split("\n")[0]

    return rows


def _architectures(zoo: str) -> Iterator[Row]:
    from lipbench.models.architectures import summary

    shape = "x".join(str(size) for size in summary.SHAPE)
    for name, arguments, description in _registered("ARCHITECTURES")(zoo):
        try:
            found = summary.summarize(name)
        except LipbenchError:  # of a plugin: its defaults do not fit the shape
            yield name, "-", "-", arguments, description
            continue
        size = f"{found.parameters:,} parameters ({shape}, {summary.CLASSES} classes)"
        kept = [f"{layers} {_kept(share)}" for layers, share in found.gradient_norm.items()]
        yield name, size, f"gradient norm: {', '.join(kept)}", arguments, description


def _kept(share: float | None) -> str:
    if share is None:
        return "not available"
    return "preserved" if share > 0.999 else f"not preserved ({share:.2g} of it left at initialisation)"


def _arguments(item: Callable[..., object]) -> str:
    function = item.__init__ if inspect.isclass(item) else item
    parameters = [p for p in inspect.signature(function).parameters.values() if p.name != "self"]
    if not inspect.isclass(item):
        parameters = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    return ", ".join(p.name for p in parameters) or "-"


_LISTS: dict[str, Callable[[str], Iterator[Row]]] = {
    "models": _models,
    "recipes": _recipes,
    "suites": _suites,
    "attacks": _attacks,
    "losses": _registered("LOSSES"),
    "architectures": _architectures,
    "datasets": _registered("DATASETS"),
    "checks": _checks,
}
