"""``lipbench report``."""

from pathlib import Path

import click

from lipbench.cli import failures


@click.command("report")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Folder of the report.  [default: RUN/report]")
@click.option("--check", is_flag=True, help="Write nothing; compare the report in --out with the records.")
@click.option("--columns", type=int, default=1, show_default=True, help="Columns of the paper's page, 1 or 2.")
@click.option("--eps", help="Radius of LaTeX tables and figures.  [default: where settings differ most]")
@click.option("--family", multiple=True, help="Loss in LaTeX tables and figures; repeatable.  [default: all]")
@click.option("--metric", multiple=True, help="Column of LaTeX tables; repeatable.  [default: what fits]")
def command(
    run: Path,
    out: Path | None,
    check: bool,
    columns: int,
    eps: str | None,
    family: tuple[str, ...],
    metric: tuple[str, ...],
) -> None:
    """Write the report of a run.

    RUN is a run folder. The report has tables (CSV, Markdown, LaTeX), figures, and one HTML page. Check it with the
    options that it was written with.

    \b
    Example: lipbench report lipbench-run -o paper/tables --columns 2 --eps 36/255 --family HKR
    """
    from lipbench.report import Results, writer
    from lipbench.report.choice import choose
    from lipbench.runs.folder import RunFolder

    results, target = Results.load(RunFolder(run)), out or run / "report"
    choice = choose(results, columns, eps, family, metric)
    if check:
        writer.refuse_different(results, target, choice)
        click.echo(f"{target} is what the records of {run} give")
        return
    click.echo(results.table())
    failures.show_warnings(results.warnings())
    failures.show(results.failures)
    writer.write(results, target, choice)
    for finding in results.findings()[:1]:
        click.echo(f"\n{finding}")
    click.echo(f"\nreport: {target / 'report.html'}")
