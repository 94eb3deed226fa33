"""A report on disk: CSV, Markdown, TeX and HTML files, figures, and the check against a rebuild."""

import csv
import math
import os
import re
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
import pandas as pd

from lipbench._internal import arguments, files
from lipbench.errors import LipbenchError
from lipbench.report import definitions, document
from lipbench.report.document import Report
from lipbench.report.results import Results
from lipbench.report.tables import Table
from lipbench.runs.folder import RunFolder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FRAMES = ("summary.csv", "hyperparameters.csv", "comparisons.csv", "effects.csv")
FILES = (*FRAMES, "report.md", "tables.tex", "report.html")  # and figures
PICTURES = ("png", "pdf")
StrPath = str | os.PathLike[str]
ROUNDING = 1e-12  # of computed numbers, from one machine to another
_TEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"$<$",
    ">": r"$>$",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "∞": r"$_\infty$",
}
_GREEK = "greek small letter "


def tex(text: str) -> str:
    """Plain text as TeX source: what TeX reads as commands is escaped, ``a ± b`` gets a small ``b``."""
    text = re.sub(r"^(.*\d) ± ([\d.]+)$", "\\1\0\\2", text)
    escaped = "".join(_TEX.get(letter) or _greek(letter) for letter in text)
    escaped = re.sub("\0(.*)$", r"{\\tiny$\\pm$\1}", escaped)
    return re.sub(r"^-(?=\d)", "$-$", escaped)


def _greek(letter: str) -> str:
    """A Greek letter, the symbol of a hyperparameter, as a command of TeX; any other letter as it is."""
    name = unicodedata.name(letter, "").lower()
    if not name.startswith(_GREEK) or " " in name.removeprefix(_GREEK):
        return letter
    return rf"$\{name.removeprefix(_GREEK).replace('lamda', 'lambda')}$"


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
    environment.filters |= {"tex": tex, "markdown": markdown}
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
        "report.md": plain.get_template("report.md.j2").render(report=report, definitions=_definitions()),
        "tables.tex": plain.get_template("tables.tex.j2").render(report=report),
    }


def _definitions() -> Table:
    rows = tuple((one.word, one.meaning) for one in definitions.definitions())
    return Table(definitions.TITLE, definitions.COLUMNS, rows)


def draw(report: Report) -> "dict[str, Figure]":
    """The figures of every section, by the names of their files without suffix."""
    from lipbench.report import figures  # imports matplotlib, which tables do not need

    drawn: dict[str, Figure] = {}
    for section in report.sections:
        key = (section.group.suite, section.group.norm)
        some = [item for item in report.items if (item.suite.name, str(item.suite.norm)) == key]
        drawn |= {section.files[name]: figure for name, figure in figures.draw(section.group, some).items()}
    return drawn


def write(results: Results, out: Path) -> list[Path]:
    """Write the report of a finished run into ``out`` and return the paths of its files.

    The same run gives the same bytes. Other files in ``out`` stay as they are. Raises LipbenchError if ``out`` cannot
    be written, or if it holds a file of a report's name that lipbench did not write, or that was changed since.
    """
    from lipbench.report import page, style  # imports matplotlib

    report, run_folder = document.build(results), results.run_folder
    if out.parent == run_folder.path:
        files.refuse_link(out)
    files.make_folder(out)  # before the work of drawing, so that a folder of no use is known at once
    whole = {name: text.encode() for name, text in texts(report).items()}
    drawn = draw(report)
    data = page.payload((report, results))
    whole["report.html"] = page.render(report, _definitions(), data, list(whole)).encode()
    for name, figure in drawn.items():
        whole |= {f"{name}.{kind}": style.encode(figure, kind) for kind in PICTURES}
    files.write_among_others(out, whole, hint(run_folder, out))
    return [out / name for name in whole]


def report_run(run: StrPath, out: StrPath | None = None, *, check: bool = False) -> list[Path]:
    """Write the report of a finished run, and return the paths of its files.

    run: the run folder; out: the folder of the report, by default ``report`` in the run folder; check: write nothing,
    and compare the report in ``out`` with the records: an empty list. Raises LipbenchError if the run is not finished
    or damaged, as ``write`` does, and for a report that the records contradict.
    """
    folder = arguments.path("the run folder", run)
    results = Results.load(RunFolder(folder))
    target = folder / "report" if out is None else arguments.path("out", out)
    if not arguments.truth("check", check):
        return write(results, target)
    refuse_different(results, target)
    return []


def refuse_different(results: Results, published: Path) -> None:
    """Raise LipbenchError if a rebuild contradicts the report in ``published``, see ``check``."""
    different = check(results, published)
    if different:
        run = results.run_folder.path
        raise LipbenchError(f"{published} is not what the records of {run} give: {', '.join(different)} differ")


def refuse_changed(run_folder: RunFolder, out: Path) -> None:
    """Raise LipbenchError if ``out`` holds files of a report that lipbench did not write, or that were changed since.

    ``write`` refuses them as well, but needs a finished run: this check comes before the run.
    """
    files.refuse_changed(out, FILES, hint(run_folder, out))


def hint(run_folder: RunFolder, out: Path) -> str:
    """What to do about a file that is in the way of a report."""
    run = run_folder.path
    again = f"lipbench report {run}" + ("" if out == run / "report" else f" -o {out}")
    return f"move it away and run `{again}`, or write the report elsewhere with `lipbench report {run} -o FOLDER`"


def check(results: Results, published: Path) -> list[str]:
    """The files of a report in ``published`` that a rebuild contradicts, each with its first line that does.

    Empty if there are none. CSV, Markdown and TeX files are compared as text. Figures and HTML need only exist: fonts
    are drawn differently from machine to machine.
    """
    report, faults = document.build(results), []
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
            faults.append(f"{name} (line {line})")
    pictures = [f"{name}.{kind}" for s in report.sections for name in s.files.values() for kind in PICTURES]
    return faults + [f"{name} (missing)" for name in ["report.html", *pictures] if not (published / name).is_file()]


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
