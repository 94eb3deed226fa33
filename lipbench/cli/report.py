"""``lipbench report``."""

from pathlib import Path

import click

from lipbench.cli import failures


@click.command("report")
@click.argument("run", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    help="Folder of the report; needed for several runs.  [default: RUN/report]",
)
@click.option("--check", is_flag=True, help="Write nothing; compare the report in --out with the records.")
@click.option("--columns", type=int, default=1, show_default=True, help="Columns of the paper's page, 1 or 2.")
@click.option("--eps", help="Radius of LaTeX tables and figures.  [default: where settings differ most]")
@click.option("--family", multiple=True, help="Loss in LaTeX tables and figures; repeatable.  [default: all]")
@click.option("--metric", multiple=True, help="Column of LaTeX tables; repeatable.  [default: what fits]")
def command(
    run: tuple[Path, ...],
    out: Path | None,
    check: bool,
    columns: int,
    eps: str | None,
    family: tuple[str, ...],
    metric: tuple[str, ...],
) -> None:
    """Write the report of a run, or one report of several runs.

    RUN is a run folder. The report has tables (CSV, Markdown, LaTeX), figures, and one HTML page. That of several runs
    has a part for each, and begins with what they share, side by side. Check it with the options that it was written
    with.

    \b
    Example: lipbench report lipbench-run -o paper/tables --columns 2 --eps 36/255 --family HKR
             lipbench report runs/float64 runs/float32 -o both
    """
    from lipbench.report import writer
    from lipbench.report.choice import choose

    runs, target = writer.runs_and_target(run, out)
    choice = choose(runs, columns, eps, family, metric)
    if check:
        writer.refuse_different(runs, target, choice)
        click.echo(f"{target} is what the records of {' and '.join(map(str, run))} give")
        return
    for one in runs:
        if len(runs) > 1:
            click.echo(f"{one.run_folder.path}:")
        click.echo(one.table(choice.eps if choice.eps in one.eps else None))
        failures.show_warnings(one.warnings())
        failures.show(one.failures)
    writer.write(runs, target, choice)
    for finding in runs[0].findings()[:1] if len(runs) == 1 else ():
        click.echo(f"\n{finding}")
    click.echo(f"\nreport: {target / 'report.html'}")
