"""``lipbench reproduce``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lipbench.cli import options

if TYPE_CHECKING:
    from lipbench.experiments.writing import Result


@click.command("reproduce")
@click.argument("names", metavar="NAME...", nargs=-1)
@click.option("--list", "listed", is_flag=True, help="List the experiments with their claims.")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=Path("lipbench-reproduce"),
    show_default=True,
    help="Folder of the experiments: each has a folder of its name in it.",
)
@click.option(
    "--scale",
    default="small",
    show_default=True,
    metavar="small|paper",
    help="small: minutes on two CPU cores. paper: as near to the paper's set-up as known, for a GPU.",
)
@options.data_dir
@options.device
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="Number of processes.",
)
@options.progress
def command(names: tuple[str, ...], listed: bool, **chosen: Any) -> None:
    """Reproduce claims of "Pay attention to your loss" (Béthune et al., NeurIPS 2022).

    NAME is an experiment, or several, or `all`. Each trains networks, measures, states the paper's figure beside ours,
    and says whether the claim held, held in part, or did not hold, by a rule that it prints.

    Rerun the same command to resume. A verdict other than "held" is a result, not an error.

    \b
    Example: lipbench reproduce --list
             lipbench reproduce koch-snowflake -o paper
             lipbench reproduce all --scale paper --device cuda --data-dir ~/data
    """
    if listed:
        from lipbench.experiments import experiment

        for name in experiment.names():
            click.echo(f"{name:18}  {experiment.find(name).claim}")
        return
    from lipbench.experiments.reproduce import reproduce

    def show(result: "Result") -> None:
        click.echo(f"{result}\n")

    reproduce(names, done=show, **chosen)
    click.echo(f"report: {chosen['out'] / 'report.md'}")
