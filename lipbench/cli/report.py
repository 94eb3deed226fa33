"""``lipbench report``."""

from pathlib import Path

import click

from lipbench.cli import failures


@click.command("report")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Folder of the report.  [default: RUN/report]")
@click.option("--check", is_flag=True, help="Write nothing; compare the report in --out with the records.")
def command(run: Path, out: Path | None, check: bool) -> None:
    """Write the report of a run.

    RUN is a run folder. The report has tables (CSV, Markdown, LaTeX), figures, and one HTML page.

    \b
    Example: lipbench report lipbench-run -o paper/tables
    """
    from lipbench.report import Results, writer
    from lipbench.runs.folder import RunFolder

    results, target = Results.load(RunFolder(run)), out or run / "report"
    if check:
        writer.refuse_different(results, target)
        click.echo(f"{target} is what the records of {run} give")
        return
    click.echo(results.table())
    failures.show_warnings(results.warnings())
    failures.show(results.failures)
    results.report(target)
    for finding in results.findings()[:1]:
        click.echo(f"\n{finding}")
    click.echo(f"\nreport: {target / 'report.html'}")
