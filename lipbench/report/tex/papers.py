"""Tables for papers: the settings of a run, grouped by loss, at one eps; and what each hyperparameter does."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from lipbench.certification.grades import NONE
from lipbench.report import captions, columns, comparisons, effects
from lipbench.report.answers import HALF
from lipbench.report.choice import Choice
from lipbench.report.columns import Metric
from lipbench.report.formatting import MISSING, differences, family, general, legend, rows, share
from lipbench.report.metrics import MEAN_GAP
from lipbench.report.resampling import Draws
from lipbench.report.tables import Group
from lipbench.report.tex import layout, text
from lipbench.report.tex.layout import HEAD, SCRIPT, Cell, PaperTable, Row, width

SHAPES = {  # of ``effects.SHAPES``, as tables mark them
    effects.RISES: r"\nearrow",
    effects.FALLS: r"\searrow",
    effects.PEAKS: r"\wedge",
    effects.DIPS: r"\vee",
    effects.LEVEL: r"\rightarrow",
}
SMALL = rf"\fontsize{{{SCRIPT:g}}}{{7.2}}\selectfont"
OPTIONS = "% Options: "
PAGES = {
    1: "one column of 5.5 inches; on a page with two columns they span both",
    2: "two columns of 3.25 inches, of which they take one",
}


def source(verdicts: Sequence[str], choice: Choice, tables: Sequence[PaperTable]) -> str:
    """tables.tex as a whole; ``verdicts``: how many certificates are false, of each run."""
    start = [
        r"% Made by lipbench from a run folder. Needs \usepackage{booktabs}.",
        f"% For a page with {PAGES[choice.columns]}.",
        *(f"% {verdict}" for verdict in verdicts),
        *([f"{OPTIONS}{choice.options}"] if choice.options else []),
    ]
    comments = "\n".join("".join(c if c.isprintable() else " " for c in line) for line in start)
    return "\n\n".join([comments, *(table.source for table in tables)]) + "\n"


def options(lines: Sequence[str]) -> str:
    """The options that a tables.tex was made with, from its lines; empty for the default."""
    return next((line.removeprefix(OPTIONS) for line in lines if line.startswith(OPTIONS)), "")


def of_section(group: Group, draws: Draws, choice: Choice, about: str, suffix: str) -> tuple[PaperTable, ...]:
    """The tables of a suite. about: the title of the run, or its data; suffix: of its files, which labels share."""
    shown, eps = choice.of(group), choice.at(group)
    accuracies = f"tab:accuracies{suffix}"
    main = _settings(shown, draws, choice, eps, about, accuracies)
    return main + _effects(shown, choice, eps, about, f"tab:effects{suffix}", accuracies)


# --- settings ---


def _settings(group: Group, draws: Draws, choice: Choice, eps: float, about: str, label: str) -> tuple[PaperTable, ...]:
    at = group.settings[group.settings["eps"] == eps]
    marks = {metric: _marks(draws, metric, eps, list(at["setting"])) for metric in choice.shown}
    several = len(at["n_models"].unique()) > 1
    found: list[Row] = []
    for place, (word, parts) in enumerate(_by_family(at)):
        if len(parts) > 1:
            found.append(_heading(word, place > 0))
        for named, row in parts:
            plain = f"m{named}" if len(parts) > 1 else ", ".join(filter(None, [word, named]))
            shown = text.setting(named or "no hyperparameter")
            shown = rf"\hspace*{{.7em}}{shown}" if len(parts) > 1 else text.setting(plain)
            seeds = (Cell(str(row["n_models"]), 10),) if several else ()
            cells = tuple(_number(row, metric, marks[metric].get(row["setting"], "")) for metric in choice.shown)
            found.append(Row(Cell(shown, width(plain)), seeds + cells, place > 0 and len(parts) == 1))
    heads = [Cell("loss", 16), *([Cell("seeds", 20)] if several else []), *map(_head, choice.shown)]

    def caption(part: Sequence[int]) -> str:
        return _of_settings(group, at, [choice.shown[place] for place in part], eps, about) + _legend_once(
            at, part, label
        )

    return layout.floats(heads, found, int(several), choice.columns, label, caption)


def _legend_once(at: pd.DataFrame, part: Sequence[int], label: str) -> str:
    """The legend in the first table, and in those after it where it is."""
    return rf" Notation: Table~\ref{{{label}}}." if part[0] and _legend(at) else _legend(at)


def _by_family(at: pd.DataFrame) -> Iterator[tuple[str, list[tuple[str, dict[str, Any]]]]]:
    """Each loss in the notation, with its settings: what distinguishes them, and their rows."""
    named, usual = captions.brief(at, families=False), captions.usual(at)
    for each, part in at.groupby(columns.FAMILY.name, sort=False):
        kept = [(named[row["setting"]], row) for row in rows(part)]
        alone = len(kept) == 1 and kept[0][0] == usual
        yield family(str(each), short=True), [("" if alone else name, row) for name, row in kept]


def _heading(word: str, apart: bool) -> Row:
    return Row(Cell(text.tex(word), width(word)), (), apart)


def _head(metric: Metric) -> Cell:
    """The heading of a column, each word on a line."""
    words = metric.title.split(" ")
    lines = r"\\".join(map(text.tex, words))
    size = rf"\fontsize{{{HEAD:g}}}{{8}}\selectfont"
    source = rf"\shortstack[r]{{{lines}}}" if len(words) > 1 else lines
    return Cell(f"{size} {source}", max(width(word, HEAD) for word in words))


def _marks(draws: Draws, metric: Metric, eps: float, among: Sequence[str]) -> dict[str, str]:
    """The command around the number of a setting: the best one's, and that of those not distinguishable from it."""
    found = comparisons.against_best(draws, metric.name, eps, among)
    frame = pd.DataFrame({"setting": draws.settings, **found}).dropna(subset=["difference"])
    marks = {}
    for row in rows(frame):
        if row["difference"] == 0 or row["setting"] == row["best"]:
            marks[row["setting"]] = r"\mathbf"
        elif row["difference_lo"] <= 0 <= row["difference_hi"]:
            marks[row["setting"]] = r"\underline"
    return marks


def _number(row: Mapping[str, Any], metric: Metric, mark: str) -> Cell:
    """The mean over seeds, with the ends of its interval below and above."""
    scale, digits = _scale(metric)
    return _ranged([row[f"{metric.name}_{end}"] for end in ("mean", "lo", "hi")], scale, digits, mark)


def _ranged(values: Sequence[float], scale: float, digits: int, mark: str = "", sign: bool = False) -> Cell:
    """A number and the two ends of its interval."""
    if pd.isna(values[0]):
        return Cell(MISSING, width(MISSING))
    value, *ends = (text.decimal(scale * each, digits, sign) for each in values)
    marked = f"{mark}{{{value}}}" if mark else value
    bold = 1.15 if mark == r"\mathbf" else 1.0
    size = bold * width(value) + max(width(end, SCRIPT) for end in ends) + 1
    return Cell(f"${marked}_{{{ends[0]}}}^{{{ends[1]}}}$", size)


def _scale(metric: Metric) -> tuple[float, int]:
    return (100, 1) if metric.kind == "share" else (1, metric.digits)


def _of_settings(group: Group, at: pd.DataFrame, metrics: Sequence[Metric], eps: float, about: str) -> str:
    mean_gap = f"; mean gap from 0 to {text.number(group.eps[-1].shown)}" if MEAN_GAP in metrics else ""
    tightness = " (tightness: a ratio)" if any(metric.kind != "share" for metric in metrics) else ""
    several = len(at) > 1
    choice = (
        r" Bold: the best of a column; underlined: not distinguishable from it, the paired 95\,\% interval of the "
        f"difference contains 0. The best is not corrected for being chosen among {len(at)} settings."
    )
    return (
        f"{_set_up(group, about)}, {text.eps(group.shown(eps))}{mean_gap}. In percent{tightness}, "
        rf"{captions.averaged(at)}; sub- and superscripts: the ends of the 95\,\% interval {captions.covers(at)}."
        f"{choice * several}"
    )


def _set_up(group: Group, about: str) -> str:
    """Data, samples, norm, suite and grade."""
    grade = "no certificate" if group.grade == NONE else f"certificates of grade {text.tex(group.grade)}"
    return (
        f"{text.tex(about)}: $n={text.tex(group.sizes)}$ samples, suite {text.tex(group.suite)}, {grade}, "
        f"{text.norm(group.norm)}"
    )


def _legend(at: pd.DataFrame) -> str:
    """The architecture that labels leave out, and what their short words stand for."""
    words = legend(at)
    return text.tex(captions.built(at)) + (f" {text.legend(words)}" if words else "")


# --- effects ---


def _effects(
    group: Group, choice: Choice, eps: float, about: str, label: str, accuracies: str
) -> tuple[PaperTable, ...]:
    """Two rows for each line of settings: the size of a step, and the shape with its probability."""
    if group.effects.empty:
        return ()
    part = group.effects[group.effects["eps"] == eps]
    kinds = [*(name for name in columns.setting_columns(part) if name != columns.FAMILY.name)]
    several, once = len(part["n_models"].unique()) > 1, rows(part.drop_duplicates(kinds))
    built = len(part["architecture"].unique()) > 1
    found: list[Row] = []
    for place, (_, lines) in enumerate(part.groupby(columns.alike(part, [columns.FAMILY.name, *kinds]), sort=False)):
        row = rows(lines)[0]
        names = [row["architecture"]] if built else []
        names += [family(row["family"], short=True), *differences(row, once, columns.further_columns(part))]
        found.append(_heading(", ".join(names), place > 0))
        for _, line in lines.groupby(columns.alike(lines, ["hyperparameter", "others"]), sort=False):
            found += _line({each["metric"]: each for each in rows(line)}, choice, several)
    heads = [Cell("loss", 16), *([Cell("seeds", 20)] if several else []), *map(_head, choice.shown)]

    def caption(part: Sequence[int]) -> str:
        ratio = " (tightness: of the ratio)" if any(choice.shown[place].kind != "share" for place in part) else ""
        return (
            f"{_set_up(group, about)}, {text.eps(group.shown(eps))}: effect of each hyperparameter, all else equal. "
            f"Change in points{ratio} per doubling, least squares, sub- and superscripts: the ends of "
            rf"the 95\,\% interval {captions.covers(group.settings)} ({captions.seeds(group.settings)}). "
            r"Below: shape from first to last value, rises $\nearrow$, falls $\searrow$, peaks $\wedge$ or dips "
            r"$\vee$ at a value, and the share of resamples with that shape; ? below one half. "
            rf"Notation: Table~\ref{{{accuracies}}}."
        )

    return layout.floats(heads, found, int(several), choice.columns, label, caption)


def _line(found: Mapping[str, Mapping[str, Any]], choice: Choice, several: bool) -> list[Row]:
    first = next(iter(found.values()))
    step = str(first["step"])
    unit, _, name = step.partition(" of ")
    others = {"": "", effects.MEAN: "mean of these"}.get(first["others"], first["others"])
    values = str(first["values"]).split("; ")
    plain = ", ".join(filter(None, [name, others]))
    shown = text.symbol(name) + (f", {text.setting(others)}" if others else "")
    above = [found.get(metric.name) for metric in choice.shown]
    numbers = [_step(row, metric) for row, metric in zip(above, choice.shown, strict=True)]
    shapes = [_shape(row) for row in above]
    seeds = ([Cell(str(first["n_models"]), 10)], [Cell()]) if several else ([], [])
    per = "" if unit == "doubling" else f" per {unit}"
    taken = f"{values[0]} to {values[-1]}{per}"
    return [
        Row(Cell(rf"\hspace*{{.7em}}{shown}", width(f"m{plain}")), (*seeds[0], *numbers)),
        Row(Cell(rf"\hspace*{{.7em}}{SMALL} {text.tex(taken)}", width(f"mmm{taken}", 6)), (*seeds[1], *shapes)),
    ]


def _step(row: Mapping[str, Any] | None, metric: Metric) -> Cell:
    if row is None:
        return Cell(MISSING, width(MISSING))
    scale, digits = _scale(metric)
    digits = digits + 1 if metric.kind != "share" else digits
    return _ranged([row[f"per_step{end}"] for end in ("", "_lo", "_hi")], scale, digits, sign=True)


def _shape(row: Mapping[str, Any] | None) -> Cell:
    if row is None:
        return Cell()
    if row["shape_probability"] < HALF:
        return Cell(rf"{SMALL} ?", width("?", 6))
    turn = general(row["turn"]) if row["shape"] in effects.TURNS else ""
    chance = share(row["shape_probability"]).removesuffix(" %").replace("over ", ">").replace("under ", "<")
    mark = SHAPES[row["shape"]] + (rf"_{{{text.number(turn)}}}" if turn else "")
    return Cell(rf"{SMALL} ${mark}$ {chance}\,\%", width(f"m{chance} %", 6) + width(turn, 5))
