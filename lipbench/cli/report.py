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
def command(run: tuple[Path, ...], out: Path | None, check: bool) -> None:
    """Write the report of a run, or one report of several runs.

    RUN is a run folder. The report has tables (CSV, Markdown, LaTeX), figures, and one HTML page. That of several runs
    has a part for each, and begins with what they share, side by side.

    \b
    Example: lipbench report lipbench-run -o paper/tables
             lipbench report runs/float64 runs/float32 -o both
    """
    from lipbench.report import writer

    runs, target = writer.runs_and_target(run, out)
    if check:
        writer.refuse_different(runs, target)
        click.echo(f"{target} is what the records of {' and '.join(map(str, run))} give")
        return
    for one in runs:
        if len(runs) > 1:
            click.echo(f"{one.run_folder.path}:")
        click.echo(one.table())
        failures.show_warnings(one.warnings())
        failures.show(one.failures)
    writer.write(runs, target)
    click.echo(f"\nreport: {target / 'report.html'}")
