"""The tables of a report as text, for the terminal, Markdown, HTML and TeX."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lipbench.attacks.eps import Eps, same
from lipbench.certification.grades import GRADES, NONE
from lipbench.report import columns, hyperparameters, metrics
from lipbench.report import settings as cards
from lipbench.report.cautions import NO_CERTIFICATE
from lipbench.report.columns import Metric, alike, further_columns, setting_columns
from lipbench.report.formatting import (
    claim,
    differences,
    general,
    labels,
    number,
    of_grade,
    over_seeds,
    percent,
    rows,
    strongest,
    suites,
    unit,
    violations,
    with_interval,
)
from lipbench.report.metrics import (
    CERTIFIED,
    CERTIFIED_BY_GRADE,
    GAP,
    MCR,
    MEAN_GAP,
    METRICS,
    OVER_SEEDS,
    SHARES,
    TIGHTNESS,
)
from lipbench.report.signs import SIGNS

WHOLE = 1000  # a mean of counts from here on has no decimals
FEW = 3  # rows that a table keeps, even if they say the same
LABEL = 48  # characters of a setting's label in the terminal


@dataclass(frozen=True)
class Table:
    """A table of text. ``groups``: (title, number of columns) of the headings above the columns, or empty."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    groups: tuple[tuple[str, int], ...] = ()
    words: bool = False  # no numbers: all columns are aligned to the left

    @property
    def flat_columns(self) -> tuple[str, ...]:
        """One heading per column, for formats without grouped headings."""
        over = [title for title, span in self.groups for _ in range(span)] or [""] * len(self.columns)
        return tuple(f"{name}, {title}" if title else name for name, title in zip(self.columns, over, strict=True))

    @property
    def sentence(self) -> str:
        """What all rows say, where they are of models or settings and say the same; empty elsewhere."""
        said = {row[1:] for row in self.rows}
        if self.columns[0] not in ("model", "setting") or len(self.rows) < FEW or len(said) != 1:
            return ""
        pairs = [f"{name} {cell}" for name, cell in zip(self.flat_columns[1:], said.pop(), strict=True)]
        return f"The same for every {self.columns[0]}, {len(self.rows)} in all: {', '.join(pairs)}."


@dataclass(frozen=True)
class Group:
    """The frames of one suite: all sections, tables and figures come once per group."""

    suite: str
    norm: str
    summary: pd.DataFrame  # of ``metrics.summary``, the rows of this suite
    settings: pd.DataFrame  # of ``hyperparameters.over_seeds``, likewise
    eps: tuple[Eps, ...]  # ascending, each as it was given
    comparisons: pd.DataFrame  # of ``comparisons.frame``, likewise; empty where nobody asks for intervals
    effects: pd.DataFrame  # of ``effects.frame``, likewise

    @property
    def grade(self) -> str:
        """The grade of certified accuracy, gap and tightness, but for settings that are marked with another."""
        return strongest(self.settings)

    @property
    def unit(self) -> str:
        """The unit of eps."""
        return unit(self.norm)

    def shown(self, eps: float) -> str:
        """An eps of the group as it was given."""
        return next(each for each in self.eps if each == eps).shown

    @property
    def sizes(self) -> str:
        """The numbers of samples."""
        return " or ".join(map(str, sorted(self.summary["n"].unique())))

    @property
    def checked(self) -> bool:
        """Whether AutoAttack was run alone beside the suite."""
        return bool(self.summary["robust_alone"].notna().any())

    def by_setting(self, *, short: bool = False) -> list[tuple[str, list[dict[str, Any]]]]:
        """Each setting's label and its rows, one per eps in ascending order."""
        named = labels(self.settings, short=short)
        parts = [rows(part) for _, part in self.settings.groupby("setting", sort=False)]
        return [(named[part[0]["setting"]], part) for part in parts]


def titles(shown: Iterable[Metric]) -> tuple[str, ...]:
    """The headings of columns."""
    return tuple(metric.title for metric in shown)


def groups(
    summary: pd.DataFrame,
    given: Iterable[Eps] = (),
    settings: pd.DataFrame | None = None,
    comparisons: pd.DataFrame | None = None,
    effects: pd.DataFrame | None = None,
) -> list[Group]:
    """The frames of a run, suite by suite, in its order.

    given: the eps of the run, as tables print them; settings: those of ``hyperparameters.over_seeds`` by default, which
    have no intervals.
    """
    settings = hyperparameters.over_seeds(summary) if settings is None else settings
    found, as_given = [], {eps: eps for eps in given}
    for keys in suites(summary):
        parts = [_part(frame, keys) for frame in (summary, settings, comparisons, effects)]
        grid = tuple(as_given.get(eps, Eps(eps)) for eps in sorted(parts[0]["eps"].unique().tolist()))
        found.append(Group(*keys, parts[0], parts[1], grid, parts[2], parts[3]))
    return found


def _part(frame: pd.DataFrame | None, keys: tuple[str, str]) -> pd.DataFrame:
    """The rows of one suite."""
    if frame is None or frame.empty:
        return pd.DataFrame()
    return frame[(frame[columns.GROUP] == list(keys)).all(axis=1)]


def model_table(group: Group) -> Table:
    """Rows: model and eps, each accuracy with its interval."""
    # ``certified`` repeats the strongest grade
    body, shares = [], [metric for metric in METRICS if metric.interval and metric is not CERTIFIED]
    for row in rows(group.summary):
        shown = [with_interval(row, metric.name) for metric in shares]
        tightness = f"{number(row['tightness'], 2)} ({row['tightness_n']})"
        broken = " / ".join(general(row[metric.name]) for metric in metrics.VIOLATIONS.values())
        start = (row["model"], group.shown(row["eps"]))
        gaps = (percent(row[metric.name]) for metric in (GAP, MEAN_GAP))
        body.append((*start, *shown, *gaps, tightness, number(row["mcr"]), broken))
    graded = f"gap and tightness of grade {group.grade}" if group.grade != NONE else of_grade(NONE)
    columns = ("model", "eps", *titles(shares), *titles((GAP, MEAN_GAP)))
    last = ("tightness (samples)", MCR.title, f"violations ({' / '.join(GRADES)})")
    title = f"Every model, with 95 % Clopper-Pearson intervals, n = {group.sizes}; {graded}"
    return Table(title, (*columns, *last), tuple(body))


def grade_table(group: Group) -> Table:
    """Rows: models. Columns: bound, certified accuracy of every grade at each eps, the claim."""
    body = []
    for name, frame in group.summary.groupby("model", sort=False):
        part = rows(frame)
        cells = [percent(row[metric.name]) for row in part for metric in CERTIFIED_BY_GRADE]
        body.append((str(name), general(part[0]["lipschitz_bound"], 9), *cells, claim(part[0])))
    heads = [("", 2), *((f"certified, eps {eps.shown}", len(GRADES)) for eps in group.eps), ("", 1)]
    columns = ("model", "Lipschitz bound", *GRADES * len(group.eps), "claim")
    return Table("Grades of the certificates: float beside real beside nominal", columns, tuple(body), tuple(heads))


def attack_table(group: Group) -> Table:
    """Rows: attacks. Columns: mean number of samples per model that each attack saw at each eps."""
    seen = [name for name in metrics.attacked_columns(group.summary) if group.summary[name].notna().any()]
    names = {name: name.removeprefix(metrics.ATTACKED.name) for name in seen}
    names |= {metric.name: metric.title for metric in metrics.WORK}
    means = rows(cards.distinct(group.summary).groupby("eps")[list(names)].mean().astype(float))
    body = tuple((shown, *(_mean_count(row[name]) for row in means)) for name, shown in names.items())
    heads = ("attack", *(f"eps {eps.shown}" for eps in group.eps))
    title = (
        f"Samples that each attack saw, of {group.summary['n'].max()}, mean over models; minimal-norm attacks serve "
        "every eps, and count at each"
    )
    if any("#" in name for name in seen):
        title += "; #2: the same attack again, with another seed or other arguments"
    return Table(title, heads, body)


def _mean_count(value: float) -> str:
    return number(value, 0 if value >= WHOLE else 1)


def signs_table(group: Group) -> Table:
    """Rows: models. Columns: signs that attacks fail, each at the eps where it shows most."""
    shown = [m for m in sorted(SIGNS, key=lambda sign: sign.rank) if group.checked or not m.compared]
    body = tuple(
        (str(name), *(percent(frame[metric.name].max()) for metric in shown))
        for name, frame in group.summary.groupby("model", sort=False)
    )
    return Table("Signs that attacks fail, in percent of the samples", ("model", *titles(shown)), body)


def alone_table(group: Group) -> Table | None:
    """Rows: models. Columns: robust accuracy beside that of AutoAttack alone; None where it was not run."""
    if not group.checked:
        return None
    body = []
    for name, frame in group.summary.groupby("model", sort=False):
        shares = [percent(row[key]) for row in rows(frame) for key in ("robust", "robust_alone")]
        counts = [number(frame[key].sum(), 0) for key in ("only_suite", "only_alone")]
        alone, spent = frame["evaluations_alone"].sum(), int((frame["forward"] + frame["backward"]).sum())
        body.append((str(name), *counts, number(alone / spent if spent else float("nan"), 1), *shares))
    columns = ("model", "suite only", "alone only", "alone / suite", *("suite", "alone") * len(group.eps))
    heads = [("", 1), ("samples broken by", 2), ("evaluations", 1)]
    heads += [(f"robust, eps {eps.shown}", 2) for eps in group.eps]
    title = "AutoAttack standard alone, on every correct sample, beside the suite: robust accuracy in percent"
    return Table(title, columns, tuple(body), tuple(heads))


def matched_table(group: Group) -> Table | None:
    """Rows: settings of the loss that several 1-Lipschitz architectures were trained with, side by side; None if none.

    Accuracies are at the eps at which certified accuracy differs most between settings.
    """
    at = group.settings[group.settings["constrained"].astype(bool)]
    at = at[at["eps"] == hyperparameters.chosen_eps(group.settings)]
    further = further_columns(at)
    loss = [key for key in setting_columns(at) if key not in ("setting", "architecture", *further)]
    body = []
    for _, part in at.groupby(alike(at, loss), sort=False):
        if len(part["architecture"].unique()) > 1:
            named = labels(part, without=("architecture", *further))
            for row in rows(part):
                cells = [over_seeds(row, metric) for metric in (TIGHTNESS, *SHARES)]
                built = ", ".join([row["architecture"], *differences(row, rows(part), further)])
                body.append((named[row["setting"]], built, str(row["n_models"]), *cells))
    if not body:
        return None
    title = f"Architectures under the same loss, at eps {group.shown(at['eps'].iloc[0])}, {of_grade(group.grade)}"
    columns = ("loss", "architecture", "models", *titles((TIGHTNESS, *SHARES)))
    return Table(title, columns, tuple(body))


def _mean(row: Mapping[str, Any], metric: Metric) -> str:
    value = row[f"{metric.name}_mean"]
    return percent(value) if metric.kind == "share" else number(value, metric.digits)


def short(found: Iterable[Group], show: Eps | None = None) -> str:
    """The table for the terminal, up to 110 columns: a row per setting, mean over seeds, an eps per suite. Without MCR.

    show: the eps of the table, where a suite has it; elsewhere, and for None, the one that
    ``hyperparameters.chosen_eps`` chooses.
    """
    blocks, shown = [], [metric for metric in OVER_SEEDS if metric is not MCR]
    for group in found:
        wanted = [] if show is None else same(show, group.eps)
        eps = wanted[0] if wanted else hyperparameters.chosen_eps(group.settings)
        body: list[tuple[str, ...]] = [("setting (mean over seeds)", "models", *titles(shown))]
        for name, part in group.by_setting():
            row = next(row for row in part if row["eps"] == eps)
            short_name = name if len(name) <= LABEL else f"{name[: LABEL - 3]}..."
            body.append((short_name, str(row["n_models"]), *(_mean(row, metric) for metric in shown)))
        widths = [max(map(len, column)) for column in zip(*body, strict=True)]
        certified = f"certified is grade {group.grade}" if group.grade != NONE else of_grade(NONE)
        meaning = f"accuracies in percent; {certified}"
        blocks += [f"suite {group.suite}, eps {group.shown(eps)} ({group.unit}), n = {group.sizes}; {meaning}"]
        blocks += ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in body]
        broken = ", ".join(f"{count} of grade {grade}" for grade, count in violations(group.summary).items())
        blocks.append(f"violations: {broken or NO_CERTIFICATE}")
        if group.summary["robust_alone"].notna().any():
            only = [int(group.summary[key].sum()) for key in ("only_alone", "only_suite")]
            blocks.append(
                f"AutoAttack alone breaks {only[0]} that the suite does not, the suite {only[1]} that it does not"
            )
        blocks.append("")
    return "\n".join(blocks[:-1])
