"""``lipbench train``."""

from pathlib import Path

import click

from lipbench.cli import options


@click.command("train")
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="The zoo: one folder per model.")
@options.data_dir
@options.device
@options.quiet
def command(recipe: Path, out: Path, data_dir: Path | None, device: str, quiet: bool) -> None:
    """Train every model of RECIPE (TOML: data, architectures, losses with lists of hyperparameters, seeds).

    A finished model is not trained again: a killed sweep goes on with the same command.

    \b
    Example: lipbench train recipe.toml -o zoos/mine
    """
    from lipbench import data, recipes, training
    from lipbench.network import resolve_device

    target = resolve_device(device)
    dataset = data.load(recipes.load(recipe).data, data_dir)
    done = training.train(recipe, out, dataset, device=target, progress=not quiet)
    click.echo(f"{len(done)} models trained, zoo: {out}")
