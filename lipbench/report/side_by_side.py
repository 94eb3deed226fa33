"""Comparisons as text: tables for the terminal, up to 110 columns, and for the report of several runs."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from lipbench._internal.words import count
from lipbench.attacks.eps import Eps
from lipbench.certification.grades import NONE
from lipbench.report.columns import EPS, Metric
from lipbench.report.formatting import MISSING, interval, number, percent, printable, rows, signed, unit
from lipbench.report.metrics import CERTIFIED, CLEAN, GAP, MEAN_GAP, ROBUST, TIGHTNESS
from lipbench.report.pairs import A_MODEL, A_SETTING, TESTED
from lipbench.report.run_names import cut
from lipbench.report.tables import Table

if TYPE_CHECKING:
    from lipbench.report.across import Comparison

METRICS: Mapping[str, Metric] = {one.name: one for one in (CLEAN, CERTIFIED, ROBUST, GAP, MEAN_GAP, TIGHTNESS)}
SHORT = 36  # characters of a name in the first column
WIDTHS = (24, 41, 41)  # characters of what runs differ in, and of what each has
SMALLEST = 0.001  # p-values below it are not told apart
ONE_SUITE = ["first_suite", "second_suite", "norm", EPS.name]


def p_value(value: Any) -> str:
    """``0.013``, or ``<.001``."""
    if pd.isna(value):
        return MISSING
    return f"<{SMALLEST:g}".replace("0.", ".") if value < SMALLEST else number(value)


def _value(row: Mapping[str, Any], side: str) -> str:
    metric = METRICS[row["metric"]]
    return percent(row[side]) if metric.kind == "share" else number(row[side], metric.digits)


def _difference(row: Mapping[str, Any]) -> str:
    """``-3.8 [-6.2, -1.5]``: points, of tightness the number itself."""
    metric = METRICS[row["metric"]]
    scale, digits = (100, 1) if metric.kind == "share" else (1, metric.digits)
    ends = (row["difference"], row["difference_lo"], row["difference_hi"])
    return interval(*ends, scale=scale, digits=digits, sign=True)


def _pairs(part: pd.DataFrame) -> Iterator[dict[str, dict[str, Any]]]:
    """The rows of each pair, by metric."""
    for _, one in part.groupby(["kind", "first_name", "second_name"], sort=False):
        yield {row["metric"]: row for row in rows(one)}


def _name(row: Mapping[str, Any]) -> str:
    """What both sides are called, once where it is the same."""
    first, second = printable(row["first_name"]), printable(row["second_name"])
    between_runs = row["first_run"] != row["second_run"]
    same = first == second or (between_runs and row["kind"] == A_SETTING)  # labels depend on what else a run holds
    return first if same else f"{first} / {second}"


def _title(part: pd.DataFrame, given: Sequence[Eps]) -> str:
    """Which suite and eps, what differences are, and how sure."""
    row = rows(part)[0]
    eps = next((each.shown for each in given if each == row["eps"]), f"{row['eps']:.4g}")
    suite = " and ".join(dict.fromkeys((row["first_suite"], row["second_suite"])))
    sizes = " and ".join(str(n) for n in dict.fromkeys((row["first_n"], row["second_n"])))
    how = f"paired over {sizes} samples" if row["paired"] else f"not paired: other samples ({sizes})"
    grades = [" or ".join(part[f"{side}_grade"].unique()) for side in ("first", "second")]
    grade = grades[0] if grades[0] == grades[1] else f"{grades[0]} (A) and {grades[1]} (B)"
    certified = "certified n/a" if grade == NONE else f"certified of grade {grade}"
    reach = next((each.shown for each in given if each == row["eps_max"]), f"{row['eps_max']:.4g}")
    return f"suite {suite}, eps {eps} ({unit(row['norm'])}); {how}; {certified}; mean gap from 0 to {reach}"


def _parts(shown: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """The rows of each suite and eps."""
    for _, part in shown.groupby(ONE_SUITE, sort=False):
        yield part


def text(found: "Comparison") -> str:
    """What the command prints: what differs first, then a table per suite and eps."""
    one_run = found.sources[0] == found.sources[1]
    blocks = _pair_heads(found) if one_run else _run_heads(found)
    for part in _parts(found.shown):
        alone = len(part) == len(METRICS)  # one pair
        blocks += ["", *_wrapped(f"{_title(part, found.eps)}; accuracies in percent, B - A with its 95 % interval")]
        if alone:
            blocks += _lines(_pair_table(part))
            continue
        part, equal = _differing(part)
        blocks += equal
        models = part["kind"] == A_MODEL
        if not models.all():
            blocks += _lines(_settings_table(part[~models]))
        if models.any():
            blocks += ["", *_lines(_models_table(part[models]))]
    if found.alone != (0, 0):
        blocks += ["", f"models that the other run lacks: {found.alone[0]} of A, {found.alone[1]} of B"]
    if found.shown["p_value"].notna().any():
        blocks += ["", "only A, only B: samples that count for one of two models alone; p: McNemar's exact test"]
    return "\n".join(blocks)


def _differing(part: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The rows of pairs that differ in something, and a line that counts the others."""
    tested = (part[["only_first", "only_second"]].fillna(0) != 0).any(axis=1)
    both_unknown = part["first"].isna() & part["second"].isna()
    equal = (part[["difference", "difference_lo", "difference_hi"]] == 0).all(axis=1)
    differs = tested | ~(equal | both_unknown)
    names = ["kind", "first_name", "second_name"]
    kept = differs.groupby([part[name] for name in names]).transform("any")
    counts = part[~kept].drop_duplicates(names)["kind"].value_counts()
    said = [count(int(counts[kind]), kind) for kind in (A_SETTING, A_MODEL) if kind in counts]
    return part[kept], [f"equal in every number: {' and '.join(said)}"] if said else []


def _pair_heads(found: "Comparison") -> list[str]:
    row = rows(found.frame)[0]
    return [f"{letter}: {_described(row, side)}" for letter, side in (("A", "first"), ("B", "second"))]


def _described(row: Mapping[str, Any], side: str) -> str:
    models = row[f"{side}_models"]
    return f"{cut(printable(row[f'{side}_name']), 90)} ({models} model{'s' * (models != 1)})"


def _run_heads(found: "Comparison") -> list[str]:
    named = zip("AB", found.runs, found.sources, strict=True)
    heads = [cut(printable(f"{letter}: {run}, {source}"), 110) for letter, run, source in named]
    if not found.differences:
        return [*heads, "", "the runs differ in nothing but their models"]
    body = [tuple(map(cut, map(printable, row), WIDTHS)) for row in found.differences]
    return [*heads, "", *_lines([("what differs", "A", "B"), *body], left=3)]


def _pair_table(part: pd.DataFrame) -> list[tuple[str, ...]]:
    """Rows: metrics of one pair."""
    tested = bool(part["p_value"].notna().any())
    body = [("metric", "A", "B", "B - A [95 %]", *(("only A", "only B", "p") if tested else ()))]
    for row in rows(part):
        counts = _counts(row) if row["metric"] in TESTED else ("", "", "")
        body.append((*_cells(row), *(counts if tested else ())))
    return body


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    return METRICS[row["metric"]].title, _value(row, "first"), _value(row, "second"), _difference(row)


def _counts(row: Mapping[str, Any]) -> tuple[str, str, str]:
    if pd.isna(row["p_value"]):
        return MISSING, MISSING, MISSING
    return str(row["only_first"]), str(row["only_second"]), p_value(row["p_value"])


def _settings_table(part: pd.DataFrame) -> list[tuple[str, ...]]:
    """Rows: a setting and a metric."""
    body: list[tuple[str, ...]] = [("setting (mean over seeds)", "models", "metric", "A", "B", "B - A [95 %]")]
    for one in _pairs(part):
        for place, row in enumerate(one.values()):
            models = " / ".join(str(n) for n in dict.fromkeys((row["first_models"], row["second_models"])))
            start = (_name(row), models) if place == 0 else ("", "")
            body.append((*start, *_cells(row)))
    return body


def _models_table(part: pd.DataFrame) -> list[tuple[str, ...]]:
    """Rows: models. Columns, for clean, certified and robust accuracy: difference, who alone is right, p."""
    body: list[tuple[str, ...]] = [("model", *(cell for name in TESTED for cell in (name, "A : B", "p")))]
    for one in _pairs(part):
        cells = []
        for name in TESTED:
            only_first, only_second, p = _counts(one[name])
            difference = one[name]["difference"]
            counts = MISSING if only_first == MISSING else f"{only_first} : {only_second}"
            cells += [MISSING if pd.isna(difference) else signed(100 * difference), counts, p]
        body.append((_name(next(iter(one.values()))), *cells))
    return body


def _lines(body: Sequence[tuple[str, ...]], left: int = 1) -> list[str]:
    """Columns side by side, the first ``left`` of them aligned to the left.

    A first cell of more than ``SHORT`` characters has a line of its own: two names may differ at any place.
    """
    firsts = [cell for cell, *_ in body if len(cell) <= SHORT]
    widths = [max(map(len, firsts)), *(max(map(len, column)) for column in list(zip(*body, strict=True))[1:])]
    lines = []
    for cell, *others in body:
        if len(cell) > SHORT:
            lines.append(cell)
        row = zip(("" if len(cell) > SHORT else cell, *others), widths, strict=True)
        aligned = (one.ljust(width) if place < left else one.rjust(width) for place, (one, width) in enumerate(row))
        lines.append("  ".join(aligned).rstrip())
    return lines


def _wrapped(line: str, most: int = 110) -> list[str]:
    """A sentence in lines, broken at semicolons where it is too long."""
    lines = [""]
    for part in line.split("; "):
        longer = f"{lines[-1]}; {part}" if lines[-1] else part
        lines = [*lines[:-1], longer] if len(longer) <= most else [*lines[:-1], f"{lines[-1]};", part]
    return lines


def tables(found: "Comparison") -> list[Table]:
    """The tables of a report of several runs: what differs, settings, models; one of each per suite and eps."""
    both = " and ".join(found.runs)
    differing = Table(f"{both}: what differs", ("", *found.runs), found.differences, words=True)
    made = [differing] if found.differences else []
    for part in _parts(found.shown):
        models, title = part["kind"] == A_MODEL, f"{both}: {_title(part, found.eps)}"
        if not models.all():
            made.append(_wide(part[~models], f"{title}; means over seeds, B - A [95 % over seeds and samples]"))
        if models.any():
            head, *body = _models_table(part[models])
            said = "models: B - A, counted for A alone : for B alone, p of McNemar's exact test"
            made.append(Table(f"{title}; {said}", head, tuple(body)))
    return made


def _wide(part: pd.DataFrame, title: str) -> Table:
    """Rows: settings. Columns: of every metric both values and the difference."""
    body = tuple(
        (_name(one["clean"]), *(cell for row in one.values() for cell in _cells(row)[1:])) for one in _pairs(part)
    )
    heads = ("setting", *("A", "B", "B - A") * len(METRICS))
    return Table(title, heads, body, (("", 1), *((metric.title, 3) for metric in METRICS.values())))
