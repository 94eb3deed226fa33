"""The lines about what failed, which all commands print alike, and the exit status that follows."""

from collections.abc import Iterable, Mapping

import click

from lipbench.errors import EXIT_HOLDS, EXIT_WRONG_USE, left_out


def show(failures: Mapping[str, str]) -> int:
    """A line on stderr for each model that was left out, by name with the reason; returns the exit status."""
    for name, why in failures.items():
        click.echo(f"lipbench: {left_out(name, why)}", err=True)
    return EXIT_WRONG_USE if failures else EXIT_HOLDS


def show_warnings(lines: Iterable[str]) -> None:
    """A line for each model that there is something to know about, after the table."""
    for line in lines:
        click.echo(f"WARNING {line}")
