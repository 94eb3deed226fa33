"""``lipbench status``."""

from pathlib import Path

import click


@click.command("status")
@click.argument("run", type=click.Path(path_type=Path), default=Path("lipbench-run"))
def command(run: Path) -> None:
    """Show the progress of an evaluation.

    RUN is its run folder. Shown are the units done, running and left, and an estimate of the time left.

    \b
    Example: lipbench status runs/digits
    """
    from lipbench.runs import status
    from lipbench.runs.folder import RunFolder

    click.echo(status.show(status.status_of(RunFolder(run))))
