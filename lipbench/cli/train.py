"""``lipbench train``."""

from pathlib import Path
from typing import Any

import click

from lipbench.cli import options


@click.command("train")
@click.argument("recipe")
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="Folder of the zoo.")
@options.training_data
@options.data_dir
@options.executor
@options.jobs
@options.address
@options.gpus
@options.device
@options.quiet
def command(recipe: str, out: Path, data_spec: str | None, quiet: bool, **execution: Any) -> None:
    """Train every model of RECIPE (TOML: data, architectures, losses with lists of hyperparameters, seeds).

    RECIPE is a path, or the name of a bundled one (`lipbench list recipes`). A finished model is not trained again.
    Rerun the same command to resume a killed sweep, each model after its last whole epoch. Several processes, on
    several machines, may share one zoo. A model whose training diverges does not stop the others.

    \b
    Example: lipbench train recipe.toml -o zoos/mine --jobs 2
             lipbench train mnist --data-dir ~/data -o zoos/mnist
    """
    from lipbench.training.sweep import train_zoo

    done = train_zoo(recipe, out, data=data_spec, progress=not quiet, **execution)
    said = f"{len(done)} model{'s' * (len(done) != 1)} trained" if done else "all models are there already"
    click.echo(f"{said}, zoo: {out}")
