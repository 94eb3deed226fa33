"""``lipbench status``."""

from pathlib import Path

import click


@click.command("status")
@click.argument("run", type=click.Path(path_type=Path), default=Path("lipbench-run"))
def command(run: Path) -> None:
    """Show how far the evaluation in the run folder RUN is: done, running, left, and the time it expects.

    \b
    Example: lipbench status runs/digits
    """
    from lipbench.runs import status
    from lipbench.runs.folder import RunFolder

    click.echo(status.show(status.status_of(RunFolder(run))))
