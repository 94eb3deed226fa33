"""``lipbench evaluate``."""

import warnings
from pathlib import Path
from typing import Any

import click

from lipbench.cli import failures, options
from lipbench.errors import EXIT_HOLDS, EXIT_WRONG_USE, LeftOutWarning


@click.command("evaluate")
@click.argument("models", metavar="[MODEL|ZOO]...", nargs=-1)
@click.option(
    "--suite",
    multiple=True,
    default=("quick",),
    show_default=True,
    metavar="NAME|PATH",
    help="Suite of attacks; may be given several times.",
)
@click.option(
    "--eps",
    metavar="E1,E2,...",
    help="Radii to use instead of the suite's, such as 0.1,8/255, in units of the input range [0, 1].",
)
@click.option(
    "--show-eps",
    metavar="E",
    help="The eps of the table that is printed.  [default: the one at which certified accuracy differs most]",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=Path("lipbench-run"),
    show_default=True,
    help="Run folder; the report goes into its subfolder report.",
)
@click.option("--title", metavar="TEXT", help="Title of the report, such as the name of the data set.")
@options.data
@options.data_dir
@options.num_classes
@options.trust
@options.samples
@click.option(
    "--seed",
    "seeds",
    type=int,
    multiple=True,
    default=(0,),
    show_default=True,
    metavar="N",
    help="Seed of the attacks. May be given several times: each further seed repeats them on what is still open.",
)
@click.option(
    "--audit",
    type=float,
    default=0.01,
    show_default=True,
    help="Share of the certified samples that is attacked as a check.",
)
@click.option(
    "--prune/--no-prune",
    default=True,
    show_default=True,
    help="Attack only the samples that no bound decides yet, or every correct sample at every eps.",
)
@click.option(
    "--reference-attack",
    metavar="NAME",
    help="Also run this attack alone on every correct sample, and look for signs of masked gradients: autoattack.",
)
@click.option(
    "--shard",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="Samples in one task; memory grows with it.",
)
@options.dtype
@options.executor
@options.jobs
@options.address
@options.gpus
@options.device
@options.threads
@options.progress
def command(models: tuple[str, ...], suite: tuple[str, ...], out: Path, **chosen: Any) -> int:
    """Certify and attack models and write a report.

    MODEL is the folder of a model, ZOO a folder of models or the name of a bundled zoo; by default digits.

    Rerun the same command to resume an interrupted run. Rerun it with another zoo, suite, more eps or more seeds to
    extend the run. Results in the run folder are never computed again. Several processes, on several machines, may
    share one run folder.

    A model that fails is named and left out, and the others are evaluated. The exit status is then 2, and the same
    command tries it again.

    \b
    Example: lipbench evaluate digits --suite standard --suite standard-linf -o runs/digits --jobs 2
    """
    from lipbench import api
    from lipbench.evaluation.evaluate import UnfinishedError
    from lipbench.report import writer
    from lipbench.runs.folder import RunFolder

    writer.refuse_changed(RunFolder(out), out / "report")  # before hours of work
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LeftOutWarning)  # printed below
            results = api.evaluate(models or "digits", suite, out=out, **chosen)
    except UnfinishedError as others:
        click.echo(str(others))
        return failures.show({name: one.reason for name, one in RunFolder(out).failures.read().items()})
    click.echo(results.table())
    failures.show_warnings(results.warnings())
    with results.run_folder.leases.waiting("report"):  # of several processes all are done at about the same time
        written = results.report(out / "report")
    for finding in results.findings()[:1]:
        click.echo(f"\n{finding}")
    page = next(path for path in written if path.suffix == ".html")
    tables = ", ".join(path.name for path in written if path.suffix in (".csv", ".md", ".tex"))
    click.echo(f"\nreport: {page}\ntables: {page.parent}{'/'}{{{tables}}}")
    return max(failures.show(results.failures), EXIT_HOLDS if results.complete else EXIT_WRONG_USE)
