"""``lipbench compare``."""

from pathlib import Path
from typing import Any

import click


@click.command("compare")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("other", metavar="[RUN]", type=click.Path(path_type=Path), required=False)
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="NAME",
    help="Model to compare; may be given twice. With two runs, once: that model in both.",
)
@click.option(
    "--setting",
    "settings",
    multiple=True,
    metavar="NAME",
    help="Setting to compare, as tables print it, or its digest; may be given twice.",
)
@click.option(
    "--eps",
    metavar="E1,E2,...",
    help="Only these radii, such as 36/255.  [default: the one at which certified accuracy differs most]",
)
@click.option("--csv", type=click.Path(path_type=Path), metavar="FILE", help="Also write every number into FILE.")
def command(run: Path, other: Path | None, **chosen: Any) -> None:
    """Compare two models or settings, or two runs.

    RUN is the run folder of a finished evaluation. One run takes the names of two of its models or settings. Of two
    runs, all models and settings that both have are compared: models with the same weights, else with the same name.

    Differences have 95 % intervals, paired over samples where both sides were measured on the same ones. Models also
    have McNemar's exact test.

    \b
    Example: lipbench compare lipbench-run --model A --model B
             lipbench compare runs/float64 runs/float32 --eps 36/255 --csv differences.csv
    """
    from lipbench import api

    click.echo(str(api.compare(run, other, **chosen)))
