"""``lipbench list``."""

import inspect
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from lipbench.errors import LipbenchError

if TYPE_CHECKING:
    from lipbench.attacks.base import Attack

Row = tuple[str, ...]
_KINDS = ("models", "recipes", "suites", "attacks", "losses", "architectures", "datasets", "checks")


@click.command("list")
@click.argument("what", type=click.Choice(_KINDS))
@click.argument("name", required=False)
def command(what: str, name: str | None) -> None:
    """List models (of the zoo NAME), recipes, suites, attacks, losses, architectures, datasets, or the linter's checks.
    With attacks, NAME is an attack whose parameters are printed.

    \b
    Example: lipbench list attacks
             lipbench list attacks gradient/pgd
    """
    if name is None:
        _table(list(_LISTS[what]()))
    elif what == "models":
        _table(list(_models(name)))
    elif what == "attacks":
        _attack(name)
    else:
        raise LipbenchError(f"list {what} takes no name, got {name!r}; only models and attacks take one")


def _table(rows: list[Row]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1 if rows else 0)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        click.echo("  ".join([*cells, row[-1]]))


def _models(zoo: str = "digits") -> Iterator[Row]:
    from lipbench.models import cards
    from lipbench.models.zoo import find_zoo, model_folders

    for folder in model_folders(find_zoo(zoo)):
        card = cards.read(folder)
        hyperparameters = ", ".join(f"{name} {value:g}" for name, value in card.loss.hyperparameters.items())
        claim = "no claim" if card.claimed is None else f"claims L = {card.claimed.constant:g}"
        yield card.name, card.data, card.family, hyperparameters or "-", claim


def _recipes() -> Iterator[Row]:
    from lipbench.training import recipes

    for name in recipes.names():
        recipe = recipes.load(recipes.find(name))
        settings = recipe.training_jobs()
        epochs = sum(setting.training.epochs for setting in settings)
        shown = ", ".join(sorted({setting.loss.name for setting in settings}))
        yield name, recipe.data, f"{len(settings)} models", f"{epochs} epochs", shown


def _suites() -> Iterator[Row]:
    from lipbench.attacks import suites

    for name in suites.names():
        suite = suites.load(name)
        eps = ", ".join(f"{value:g}" for value in suite.eps)
        yield suite.name, suite.norm.value, f"eps {eps}", suite.description


def _attacks() -> Iterator[Row]:
    from lipbench.attacks import base

    for name in base.names():
        try:
            attack = base.named(name)
        except LipbenchError as error:  # of a plugin
            yield name, "-", "-", str(error)
            continue
        yield name, _norms(attack), "minimal norm" if attack.minimal_norm else "at eps", attack.summary


def _attack(name: str) -> None:
    """Print what one attack declares; for each parameter its name, default, limits and meaning."""
    from lipbench.attacks import base

    attack = base.named(name)
    eps = "one for all samples, or one for each sample" if attack.per_sample_eps else "one for all samples"
    most = "" if attack.max_classes is None else f", at most {attack.max_classes}"
    click.echo(f"{name}: {attack.summary}")
    click.echo(f"norms: {_norms(attack)}")
    click.echo(f"eps: {'none, it searches the smallest perturbation' if attack.minimal_norm else eps}")
    click.echo(f"classes: at least {attack.min_classes}{most}")
    click.echo("parameters:" if attack.parameters else "parameters: none")
    declared = attack.parameters.items()
    _table([(f"  {key}", f"default {_plain(one.default)}", one.expected, one.meaning) for key, one in declared])


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _norms(attack: "Attack") -> str:
    return ", ".join(sorted(norm.value for norm in attack.norms))


def _checks() -> Iterator[Row]:
    from lipbench.verification import linter

    yield from linter.summaries().items()


def _registered(registry_name: str) -> Callable[[], Iterator[Row]]:
    def rows() -> Iterator[Row]:
        from lipbench._internal import registry

        kind = getattr(registry, registry_name)
        for name in kind.names():
            item = kind.get(name)
            yield name, _arguments(item), (inspect.getdoc(item) or "").split("\n")[0]

    return rows


def _architectures() -> Iterator[Row]:
    from lipbench.models.architectures import summary

    shape = "x".join(str(size) for size in summary.SHAPE)
    for name, arguments, description in _registered("ARCHITECTURES")():
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


_LISTS: dict[str, Callable[[], Iterator[Row]]] = {
    "models": _models,
    "recipes": _recipes,
    "suites": _suites,
    "attacks": _attacks,
    "losses": _registered("LOSSES"),
    "architectures": _architectures,
    "datasets": _registered("DATASETS"),
    "checks": _checks,
}
