"""``lipbench evaluate``."""

import contextlib
from pathlib import Path

import click

from lipbench.cli import options
from lipbench.errors import LipbenchError
from lipbench.evaluation.evaluate import data_of, evaluate_zoo
from lipbench.evaluation.options import EvaluateOptions
from lipbench.models.zoo import find_zoo


@click.command("evaluate")
@click.argument("zoo", default="digits")
@click.option(
    "--suite",
    "suite_names",
    multiple=True,
    default=("quick",),
    show_default=True,
    metavar="NAME|PATH",
    help="Suite of attacks; may be given several times.",
)
@click.option(
    "--eps",
    metavar="E1,E2,...",
    help="Radii to use instead of the suite's, as decimal numbers in units of the input range [0, 1].",
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
@click.option("--no-prune", is_flag=True, help="Attack every correct sample at every eps.")
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
@options.quiet
def command(
    zoo: str,
    suite_names: tuple[str, ...],
    eps: str | None,
    out: Path,
    title: str | None,
    data_spec: str | None,
    data_dir: Path | None,
    samples: int | None,
    seeds: tuple[int, ...],
    audit: float,
    no_prune: bool,
    reference_attack: str | None,
    shard: int,
    dtype: str,
    executor: str,
    jobs: int,
    address: str | None,
    gpus_per_task: float | None,
    device: str,
    threads: int,
    quiet: bool,
) -> None:
    """Certify and attack models and write a report.

    ZOO is a folder of models, the folder of one model, or the name of a bundled zoo.

    Rerun the same command to resume an interrupted run. Rerun it with another zoo, suite, more eps or more seeds to
    extend the run. Results in the run folder are never computed again. Several processes, on several machines, may
    share one run folder.

    \b
    Example: lipbench evaluate digits --suite standard --suite standard-linf -o runs/digits --jobs 2
    """
    from lipbench import data
    from lipbench import report as reports
    from lipbench.attacks import suites
    from lipbench.report import tables
    from lipbench.runs.folder import RunFolder
    from lipbench.work.execution import Execution

    chosen = [suites.load(name) for name in suite_names]
    if eps is not None:
        chosen = [suite.with_grid(_numbers(eps)) for suite in chosen]
    chosen_options = EvaluateOptions(
        samples=samples,
        seeds=seeds,
        audit=audit,
        prune=not no_prune,
        dtype=dtype,
        shard=shard,
        reference_attack=reference_attack,
    )
    execution = Execution(device, executor, jobs, threads, address, gpus_per_task)
    folder = find_zoo(zoo)
    dataset = data.load(data_spec or data_of(folder), data_dir)
    reports.refuse_changed(RunFolder(out), out / "report")  # before hours of work
    run_folder = evaluate_zoo(
        folder,
        chosen,
        dataset,
        out,
        chosen_options,
        execution,
        data_dir=data_dir,
        title=title,
        progress=not quiet,
    )
    others = run_folder.missing(run_folder.read())
    if others:
        click.echo(
            f"{len(others)} units of models that joined this run elsewhere are missing: `lipbench status {out}` shows "
            f"how far they are, `lipbench report {out}` writes the report when they are done"
        )
        return
    results = reports.Results.load(run_folder)
    click.echo(tables.short(results.summary()))
    with run_folder.leases.waiting("report"):  # of several processes all are done at about the same time
        written = reports.write(results, out / "report")
    page = next(path for path in written if path.suffix == ".html")
    click.echo(
        f"\nreport: {page}\ntables: {page.parent}{'/'}{{summary.csv, hyperparameters.csv, report.md, tables.tex}}"
    )


def _numbers(text: str) -> list[float]:
    found: list[float] = []
    with contextlib.suppress(ValueError):
        found = [float(part) for part in text.split(",") if part.strip()]
    if not found:
        raise LipbenchError(f"--eps takes numbers with commas between them, such as 0.1,0.2; got {text!r}")
    return found
