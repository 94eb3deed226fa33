"""``lipbench train``."""

from pathlib import Path

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
def command(
    recipe: str,
    out: Path,
    data_spec: str | None,
    data_dir: Path | None,
    executor: str,
    jobs: int,
    address: str | None,
    gpus_per_task: float | None,
    device: str,
    quiet: bool,
) -> None:
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
    from lipbench import data
    from lipbench.attacks.network import resolve_device
    from lipbench.training import recipes, sweep
    from lipbench.work import executors

    # one thread each: the weights would depend on their number
    workers = executors.build(executor, jobs=jobs, threads=1, address=address, gpus=gpus_per_task)
    target = resolve_device(device)
    path = recipes.find(recipe)
    dataset = data.load(data_spec or recipes.load(path).data, data_dir)
    done = sweep.train(path, out, dataset, device=target, executor=workers, data_dir=data_dir, progress=not quiet)
    told = f"{len(done)} model{'s' * (len(done) != 1)} trained" if done else "all models are there already"
    click.echo(f"{told}, zoo: {out}")
