"""``lipbench list``."""

from typing import TYPE_CHECKING

import click

from lipbench._internal.registry import LISTED

if TYPE_CHECKING:
    import pandas as pd


@click.command("list")
@click.argument("what", type=click.Choice(LISTED))
@click.argument("name", required=False)
def command(what: str, name: str | None) -> None:
    """List what has a name.

    These are the models (of the zoo NAME), recipes, suites, attacks, losses, architectures, sets of layers, data sets,
    sets of rules, optimizers, executors, and checks of the linter. What packages may add has its origin: bundled, or
    package and version. For attacks, NAME is an attack, and the list is of its parameters.

    \b
    Example: lipbench list attacks
             lipbench list attacks gradient/pgd
    """
    from lipbench.report import catalogue

    if what == "attacks" and name is not None:
        click.echo(_attack(name))
        _table(catalogue.catalogue(what, name), indent="  ")
    else:
        _table(catalogue.catalogue(what, name))


def _table(frame: "pd.DataFrame", indent: str = "") -> None:
    rows = [list(map(str, row)) for row in frame.itertuples(index=False)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(frame.columns) - 1 if rows else 0)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        click.echo(indent + "  ".join([*cells, row[-1]]))


def _attack(name: str) -> str:
    """What an attack serves, line by line."""
    from lipbench.report import catalogue

    attack = catalogue.attack_named(name)
    eps = "one for all samples, or one for each sample" if attack.per_sample_eps else "one for all samples"
    most = "" if attack.max_classes is None else f", at most {attack.max_classes}"
    return (
        f"{name}: {attack.summary}\n"
        f"norms: {catalogue.norms(attack)}\n"
        f"inputs: {catalogue.inputs(attack)}\n"
        f"eps: {'none, it searches the smallest perturbation' if attack.minimal_norm else eps}\n"
        f"classes: at least {attack.min_classes}{most}\n"
        f"parameters{' (name, default, limits, meaning):' if attack.parameters else ': none'}"
    )
