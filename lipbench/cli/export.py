"""``lipbench export``."""

from pathlib import Path
from typing import Any

import click


@click.command("export")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--samples",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="One row per model, suite and sample, both bounds: .parquet or .csv.",
)
@click.option(
    "--summary",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="One row per model, suite and eps: .parquet or .csv.",
)
@click.option(
    "--witnesses",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The closest adversarial input of each model, suite and sample: .npz.",
)
@click.option("--force", is_flag=True, help="Replace files that exist.")
def command(run: Path, **chosen: Any) -> None:
    """Write what a run found into files for other tools.

    RUN is the run folder of a finished evaluation.

    \b
    Example: lipbench export lipbench-run --samples samples.parquet
             lipbench export lipbench-run --summary summary.csv --witnesses witnesses.npz
    """
    from lipbench import api

    for path in api.export(run, **chosen):
        click.echo(path)
