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
@options.progress
def command(recipe: str, out: Path, **chosen: Any) -> None:
    """Train the models of a recipe.

    RECIPE is a TOML file (data, architectures, losses with lists of hyperparameters, seeds), or the name of a bundled
    recipe (`lipbench list recipes`).

    Rerun the same command to resume: each model resumes at its last whole epoch, and a finished model is not trained
    again. Several processes, on several machines, may share one zoo. A model whose training diverges does not stop the
    others.

    \b
    Example: lipbench train recipe.toml -o zoos/mine --jobs 2
             lipbench train mnist --data-dir ~/data -o zoos/mnist
    """
    from lipbench.training.sweep import train_zoo

    done = train_zoo(recipe, out, **chosen)
    said = f"{len(done)} model{'s' * (len(done) != 1)} trained" if done else "all models are there already"
    click.echo(f"{said}, zoo: {out}")
