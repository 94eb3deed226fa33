"""A report on disk: CSV, Markdown, TeX and HTML files, figures, and the check against a rebuild."""

import csv
import math
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
import pandas as pd

from lipbench._internal import arguments, files
from lipbench.errors import LipbenchError, quoted
from lipbench.report import across, captions, definitions, document
from lipbench.report.choice import DEFAULT_CHOICE, Choice, choose
from lipbench.report.document import PICTURES, Report
from lipbench.report.results import Results
from lipbench.report.tables import Table
from lipbench.report.tex import papers
from lipbench.runs.folder import RunFolder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FRAMES = ("summary.csv", "hyperparameters.csv", "comparisons.csv", "effects.csv", "factors.csv")
FILES = (*FRAMES, "report.md", "tables.tex", "report.html")  # and figures
PAIRS = "pairs.csv"  # of a report of several runs
StrPath = str | os.PathLike[str]
ROUNDING = 1e-12  # of computed numbers, from one machine to another


def markdown(text: str) -> str:
    """Plain text in Markdown, in a cell of a table or outside."""
    return re.sub(r"([\\|*_`<>\[\]])", r"\\\1", re.sub(r"[\r\n]+", " ", text))


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=False,  # Markdown and TeX have escapes of their own
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["markdown"] = markdown
    return environment


def _csv(frame: pd.DataFrame) -> str:
    """Every number as the shortest text that is read back as the same float64: CSV files are to be computed with."""
    return frame.to_csv(index=False, lineterminator="\n")


def texts(report: Report) -> dict[str, str]:
    """The files that are compared letter by letter, by name."""
    plain = _environment()
    return {
        "summary.csv": _csv(report.summary),
        "hyperparameters.csv": _csv(report.settings),
        "comparisons.csv": _csv(report.comparisons),
        "effects.csv": _csv(report.effects),
        "factors.csv": _csv(report.factors),
        **({} if report.pairs is None else {PAIRS: _csv(report.pairs)}),
        "report.md": plain.get_template("report.md.j2").render(
            report=report, definitions=_definitions(), titles=captions.TITLES
        ),
        "tables.tex": papers.source(
            [run.headed(run.verdict, report) for run in report.runs],
            report.choice,
            [table for section in report.sections for table in section.tex],
        ),
    }


def _definitions() -> Table:
    rows = tuple((one.word, one.meaning) for one in definitions.definitions())
    return Table(definitions.TITLE, definitions.COLUMNS, rows)


def draw(report: Report) -> "dict[str, Figure]":
    """The figures of every section, by the names of their files without what follows the point."""
    from lipbench.report import figures  # imports matplotlib, which tables do not need

    drawn: dict[str, Figure] = {}
    for run in report.runs:
        for section in run.sections:
            some = run.results.under(section.group.suite, section.group.norm)
            shown, eps = report.choice.of(section.group), report.choice.at(section.group)
            drawn |= figures.draw(shown, some, eps, section.files)
    return drawn


def pictures(report: Report) -> list[str]:
    """The files of all figures."""
    return [name + ending for section in report.sections for name in section.files.values() for ending in PICTURES]


def write(results: Results | Sequence[Results], out: Path, choice: Choice = DEFAULT_CHOICE) -> list[Path]:
    """Write the report of a finished run, or of several, into ``out`` and return the paths of its files.

    choice: of its tables and figures for papers. The same runs and choice give the same bytes. Other files in ``out``
    stay as they are. Raises LipbenchError if ``out`` cannot be written, if it holds a file of a report's name that
    lipbench did not write, or that was changed since, and, for several runs, if it is inside of one of them.
    """
    from lipbench.report import page, style  # imports matplotlib

    runs = _several(results)
    _refuse_inside(runs, out)
    report = document.build(*runs, choice=choice)
    if out.parent == runs[0].run_folder.path:
        files.refuse_link(out)
    files.make_folder(out)  # before the work of drawing, so that a folder of no use is known at once
    whole = {name: text.encode() for name, text in texts(report).items()}
    drawn = draw(report)
    parts = [name.rpartition(".") for name in pictures(report)]
    encoded = {f"{name}.{kind}": style.encode(drawn[name], kind) for name, _, kind in parts}
    whole["report.html"] = page.render(report, _definitions(), page.payload(report), list(whole)).encode()
    files.write_among_others(out, whole | encoded, hint([one.run_folder for one in runs], out))
    return [out / name for name in whole | encoded]


def _several(results: Results | Sequence[Results]) -> list[Results]:
    return [results] if isinstance(results, Results) else list(results)


def _refuse_inside(runs: Sequence[Results], out: Path) -> None:
    """Raise LipbenchError where the report of several runs would be in the folder of one."""
    for one in runs if len(runs) > 1 else ():
        if out.resolve().is_relative_to(one.run_folder.path.resolve()):
            raise LipbenchError(f"{out} is inside of the run {one.run_folder.path}: choose another folder with -o")


def report_run(
    run: StrPath | Sequence[StrPath],
    out: StrPath | None = None,
    *,
    check: bool = False,
    columns: int = 1,
    eps: float | str | None = None,
    family: str | Sequence[str] | None = None,
    metric: str | Sequence[str] | None = None,
) -> list[Path]:
    """Write the report of a finished run, or one report of several, and return the paths of its files.

    run: the run folder, or several of them; out: the folder of the report, for one run by default ``report`` in the run
    folder; check: write nothing, and compare the report in ``out`` with the records: an empty list. columns, eps,
    family, metric: what tables.tex and the figures show, see ``Results.report``. Raises LipbenchError if a run is not
    finished or damaged, or is there twice, as ``write`` does, for a choice that no run has, and for a report that the
    records contradict.
    """
    arguments.truth("check", check)
    runs, target = runs_and_target(run, out)
    choice = choose(runs, columns, eps, family, metric)
    if not check:
        return write(runs, target, choice)
    refuse_different(runs, target, choice)
    return []


def runs_and_target(run: StrPath | Sequence[StrPath], out: StrPath | None) -> tuple[list[Results], Path]:
    """The results of one run or several, and the folder of their report, as ``report_run`` takes them."""
    given = [run] if isinstance(run, str | os.PathLike) or not isinstance(run, Iterable) else list(run)
    folders = [arguments.path("the run folder", one) for one in given]
    if not folders:
        raise LipbenchError("a report of which run? name a run folder, or several")
    if out is None and len(folders) > 1:
        raise LipbenchError("a report of several runs needs a folder of its own: name it with -o (out=...)")
    target = folders[0] / "report" if out is None else arguments.path("out", out)
    runs = [Results.load(RunFolder(folder)) for folder in folders]
    across.refuse_twice(runs)
    _refuse_inside(runs, target)
    return runs, target


def refuse_different(results: Results | Sequence[Results], published: Path, choice: Choice = DEFAULT_CHOICE) -> None:
    """Raise LipbenchError if a rebuild contradicts the report in ``published``, see ``check``."""
    runs = _several(results)
    different = check(runs, published, choice)
    if different:
        names = " and ".join(str(one.run_folder.path) for one in runs)
        raise LipbenchError(f"{published} is not what the records of {names} give: {', '.join(different)} differ")


def refuse_changed(run_folder: RunFolder, out: Path) -> None:
    """Raise LipbenchError if ``out`` holds files of a report that lipbench did not write, or that were changed since.

    ``write`` refuses them as well, but needs a finished run: this check comes before the run.
    """
    files.refuse_changed(out, FILES, hint([run_folder], out))


def hint(run_folders: Sequence[RunFolder], out: Path) -> str:
    """What to do about a file that is in the way of a report."""
    runs = " ".join(str(one.path) for one in run_folders)
    again = f"lipbench report {runs}" + ("" if out == run_folders[0].path / "report" else f" -o {out}")
    return f"move it away and run `{again}`, or write the report elsewhere with `lipbench report {runs} -o FOLDER`"


def check(results: Results | Sequence[Results], published: Path, choice: Choice = DEFAULT_CHOICE) -> list[str]:
    """The files of a report in ``published`` that a rebuild contradicts, each with its first line that does.

    Empty if there are none. choice: the one that the report was made with. CSV, Markdown and TeX files are
    compared as text. Figures and HTML need only exist: fonts are drawn differently from machine to machine.
    """
    report, faults = document.build(*_several(results), choice=choice), []
    for name, text in texts(report).items():
        path = published / name
        if not path.is_file():
            faults.append(f"{name} (missing)")
            continue
        there, rebuilt = path.read_text(encoding="utf-8", errors="replace").splitlines(), text.splitlines()
        equal = _equal_rows if path.suffix == ".csv" else str.__eq__
        same = (equal(old, new) for old, new in zip(there, rebuilt, strict=False))
        line = next((place for place, found in enumerate(same, 1) if not found), min(len(there), len(rebuilt)) + 1)
        if line <= max(len(there), len(rebuilt)):
            faults.append(f"{name} (line {line}{_other_choice(there, choice) if name == 'tables.tex' else ''})")
    return faults + [
        f"{name} (missing)" for name in ["report.html", *pictures(report)] if not (published / name).is_file()
    ]


def _other_choice(there: Sequence[str], choice: Choice) -> str:
    """The options that a published tables.tex was made with, where they are not those of ``choice``."""
    made = papers.options(there)
    return "" if made == choice.options else f", made with {quoted(made) if made else 'no options'}"


def _equal_rows(there: str, rebuilt: str) -> bool:
    """Whether two lines of a CSV file say the same, up to the last digits of numbers that were computed elsewhere."""
    if there == rebuilt:
        return True
    old, new = next(csv.reader([there]), []), next(csv.reader([rebuilt]), [])
    return len(old) == len(new) and all(map(_equal_cells, old, new))


def _equal_cells(there: str, rebuilt: str) -> bool:
    try:
        return there == rebuilt or math.isclose(float(there), float(rebuilt), rel_tol=ROUNDING, abs_tol=ROUNDING)
    except ValueError:
        return False
