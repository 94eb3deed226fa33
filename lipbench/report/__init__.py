"""Reports: tables, figures and one page, each a pure function of a run folder.

write(RunFolder(path), out)          # every file of a report
check(RunFolder(path), published)    # what in a published report differs from a rebuild
tables.summary(RunFolder(path))      # the pandas frame behind all of it
"""

from pathlib import Path
from typing import TYPE_CHECKING

from lipbench._internal import files

if TYPE_CHECKING:
    from lipbench.runs.folder import RunFolder

__all__ = ["FILES", "check", "refuse_changed", "write"]

FILES = ("summary.csv", "hyperparameters.csv", "report.md", "tables.tex", "report.html")  # and figures


def write(run_folder: "RunFolder", out: Path) -> list[Path]:
    """Write the report of a finished run into ``out``; the same run gives the same bytes.

    Other files there stay as they are. Raises LipbenchError if records are missing or damaged, if ``out`` cannot be
    written, or if it holds a file of a report's name that lipbench did not write, or that was changed since.
    """
    import lipbench.report.writer as page  # imports matplotlib: not wanted by those who only need a table

    return page.write(run_folder, out)


def refuse_changed(run_folder: "RunFolder", out: Path) -> None:
    """Raise LipbenchError if ``out`` holds files of a report that lipbench did not write, or that were changed since.

    ``write`` does so as well, but needs a finished run: who makes one asks before.
    """
    files.refuse_changed(out, FILES, hint(run_folder, out))


def hint(run_folder: "RunFolder", out: Path) -> str:
    """What to do about a file that is in the way of a report."""
    run = run_folder.path
    again = f"lipbench report {run}" + ("" if out == run / "report" else f" -o {out}")
    return f"move it away and run `{again}`, or write the report elsewhere with `lipbench report {run} -o FOLDER`"


def check(run_folder: "RunFolder", published: Path) -> list[str]:
    """The files of a report in ``published`` that a rebuild contradicts, each with where; empty if none.

    CSV, Markdown and TeX files are compared as text. Figures and HTML need only exist: fonts are drawn
    differently from machine to machine.
    """
    import lipbench.report.writer as page

    return page.check(run_folder, published)
