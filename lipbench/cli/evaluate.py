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
    help="Attack suite; may be given several times.",
)
@click.option(
    "--eps",
    metavar="E1,E2,...",
    help="Another grid of radii for the suite, in units of the input range [0, 1].",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=Path("lipbench-run"),
    show_default=True,
    help="Run folder; the report goes to its subfolder report.",
)
@click.option("--title", metavar="TEXT", help="Title of the report, such as the data set's name.")
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
    help="Seed of the attacks. Given several times, they run again with each on what is still open.",
)
@click.option(
    "--audit",
    type=float,
    default=0.01,
    show_default=True,
    help="Share of the certified samples that is attacked all the same.",
)
@click.option("--no-prune", is_flag=True, help="Attack every correct sample at every eps.")
@click.option(
    "--check-strength",
    is_flag=True,
    help="Run AutoAttack standard alone, too, on every correct sample, and look for gradients that mislead.",
)
@click.option(
    "--shard",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="Samples in one piece of work; memory grows with it.",
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
    check_strength: bool,
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
    """Certify and attack every model of ZOO (a folder, or a bundled zoo), and write the comparison report.

    What the run folder holds already is not computed again: a killed run goes on with the same command, and the same
    command with another zoo, more eps, more seeds or another suite adds what is missing. Several processes, on several
    machines, may share one run folder.

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
        strength=check_strength,
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
    click.echo(tables.short(tables.summary(run_folder)))
    with run_folder.claims.waiting("report"):  # of several processes all are done at about the same time
        written = reports.write(run_folder, out / "report")
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
