"""Numbers and settings in words, as tables and figures print them. Accuracies become percent here."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from lipbench.certification.grades import FROM_THE_STRONGEST, NONE
from lipbench.models.cards import UNSPECIFIED
from lipbench.report import columns, notation
from lipbench.report.cautions import NO_CERTIFICATE
from lipbench.report.columns import Metric
from lipbench.report.metrics import VIOLATIONS

MISSING = "n/a"
FAMILY = columns.FAMILY.name
_T = TypeVar("_T")


def few(values: Sequence[_T], most: int) -> list[_T]:
    """Up to ``most`` of ``values``, evenly spread from the first to the last; of one, the middle."""
    if most == 1:
        return [values[len(values) // 2]]
    return [values[round(place)] for place in np.linspace(0, len(values) - 1, min(most, len(values)))]


def number(value: Any, digits: int = 3) -> str:
    """A number with fixed decimals, or n/a."""
    return MISSING if pd.isna(value) else f"{value:.{digits}f}"


def general(value: Any, digits: int = 4) -> str:
    """A number in the fewest digits, or n/a."""
    return MISSING if pd.isna(value) else f"{value:.{digits}g}"


def percent(value: Any) -> str:
    """A share in [0, 1] as percent, without the sign."""
    return MISSING if pd.isna(value) else f"{100 * value:.1f}"


def share(value: float) -> str:
    """A share of resamples in whole percent, rounded down: ``94 %``; neither 0 nor 100 % where it is only close."""
    near = "under 1" if 0 < value < 0.01 else "over 99" if 0.99 < value < 1 else f"{math.floor(100 * value + 1e-9)}"
    return f"{near} %"


def with_interval(row: Mapping[str, Any], name: str) -> str:
    """An accuracy and its 95 % interval: ``82.4 [78.0, 86.1]``."""
    value = percent(row[name])
    return value if value == MISSING else f"{value} [{percent(row[f'{name}_lo'])}, {percent(row[f'{name}_hi'])}]"


def interval(value: float, low: float, high: float, *, scale: float = 100, digits: int = 1, sign: bool = False) -> str:
    """A number and its interval: ``82.4 [78.0, 86.1]``, with ``sign`` ``+1.2 [-0.3, +2.7]``; n/a for NaN."""
    if pd.isna(value):
        return MISSING
    show = signed if sign else number
    return f"{show(scale * value, digits)} [{show(scale * low, digits)}, {show(scale * high, digits)}]"


def signed(value: float, digits: int = 1) -> str:
    """A number with its sign, such as ``+1.2``; 0 has none."""
    shown = f"{value:+.{digits}f}"
    return shown[1:] if float(shown) == 0 else shown


def drawn(row: Mapping[str, Any], metric: Metric) -> str:
    """The mean over seeds and its interval over seeds and samples: ``82.4 [78.0, 86.1]``."""
    scale, digits = (100, 1) if metric.kind == "share" else (1, metric.digits)
    ends = (row[f"{metric.name}_{end}"] for end in ("mean", "lo", "hi"))
    return interval(*ends, scale=scale, digits=digits)


def over_seeds(row: Mapping[str, Any], metric: Metric) -> str:
    """Mean and standard deviation over seeds: ``82.4 ± 1.0``; the mean alone where there is one seed."""
    mean, std = row[f"{metric.name}_mean"], row[f"{metric.name}_std"]
    scale, digits = (100, 1) if metric.kind == "share" else (1, metric.digits)
    if pd.isna(mean):
        return MISSING
    shown = f"{scale * mean:.{digits}f}"
    return shown if pd.isna(std) else f"{shown} ± {scale * std:.{digits}f}"


def claim(row: Mapping[str, Any]) -> str:
    """What became of the Lipschitz constant that a card claims."""
    if pd.isna(row["claimed"]):
        return "no claim"
    if pd.isna(row["claim_confirmed"]):
        return "not checked"
    if row["claim_confirmed"]:
        return "confirmed"
    bound, claimed = general(row["lipschitz_bound"], 9), general(row["claimed"], 9)
    return f"claim not confirmed: computed bound {bound} > claimed {claimed}"


def family(name: str, *, short: bool) -> str:
    """A family as tables print it, or in the notation of figures and TeX."""
    return notation.word(name) if short else name


def labels(
    frame: pd.DataFrame,
    *,
    short: bool = False,
    whole: bool = True,
    without: Sequence[str] = (),
    between: str = ", ",
) -> dict[str, str]:
    """Each setting of ``frame`` in words, such as ``hkr, alpha 10, min_margin 0.1412``. ``short``: in the notation.

    The architecture comes first where ``frame`` holds more than one, and stands alone where no loss is named. What a
    loss does not have is left out, and so are arguments of adversarial training, other than eps, that are the same in
    all of ``frame``. Settings that would read the same are distinguished by what they differ in, such as
    ``training.epochs 2``. The grade comes last where it is weaker than that of others. Not ``whole``: without the
    family, where all of ``frame`` share it and anything else is left to say. ``without``: columns left out; without
    the family, labels are distinguished within each family, and may be empty. ``between``: what separates the parts.
    """
    settings, best = rows(frame.drop_duplicates("setting")), strongest(frame)
    words = _words(frame, settings, short=short, whole=whole, without=without)
    further = [name for name in ("constrained", *columns.further_columns(frame)) if name not in without]
    by_family = FAMILY in without
    for same in _same(settings, words, by_family):
        for row in same:
            words[row["setting"]] += differences(row, same, further)
    for same in _same(settings, words, by_family):
        if len(same) > 1 and not set(without) - {FAMILY}:
            for row in same:
                words[row["setting"]].append(f"setting {row['setting']}")
    for row in settings:
        parts = words[row["setting"]]
        if not parts and not by_family:
            parts.append(family(row["family"], short=short))
        if row["grade"] != best:
            parts.append(NO_CERTIFICATE if row["grade"] == NONE else f"grade {row['grade']}")
    return {digest: printable(between.join(parts)) for digest, parts in words.items()}


def _words(
    frame: pd.DataFrame, settings: Sequence[Mapping[str, Any]], *, short: bool, whole: bool, without: Sequence[str]
) -> dict[str, list[str]]:
    """Architecture, family and numbers of each setting, as ``labels`` has them."""
    several = len(frame["architecture"].unique()) > 1 and "architecture" not in without
    named = whole or len(frame["family"].unique()) > 1
    shown_by = {name: _shown(frame[name]) for name in _labelled(frame) if name not in without}
    symbols = notation.symbols(frame["family"].unique()) if short else {}
    found = {}
    for row in settings:
        unnamed = row["family"] == UNSPECIFIED and "architecture" not in without
        parts = [str(row["architecture"])] if several or unnamed else []
        parts += [family(row["family"], short=short)] if named and not unnamed and FAMILY not in without else []
        parts += ["adversarial training"] if row["adversarial"] and row["constrained"] else []
        parts += [
            _start(name, symbols) + shown(row[name]) for name, shown in shown_by.items() if not pd.isna(row[name])
        ]
        found[row["setting"]] = parts
    return found


def _start(column: str, symbols: Mapping[str, str]) -> str:
    """What comes before a number in a label."""
    if columns.ADVERSARIAL_ARGUMENTS.covers(column):
        return f"{column.removeprefix(columns.ADVERSARIAL_ARGUMENTS.name)} "
    name = column.removeprefix(columns.HYPERPARAMETERS.name)
    return f"{symbols[name]}=" if name in symbols else f"{name} "


def differences(row: Mapping[str, Any], others: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[str]:
    """What distinguishes a setting from ``others``: ``training.epochs 2``, for each of ``names`` that differs."""
    differing = [name for name in names if len({repr(other[name]) for other in others}) > 1]
    return [f"{name} {_shown(pd.Series([other[name] for other in others]))(row[name])}" for name in differing]


def _same(
    settings: Sequence[Mapping[str, Any]], words: Mapping[str, list[str]], by_family: bool
) -> list[list[Mapping[str, Any]]]:
    """The settings with the same words so far, together; ``by_family``: those of a family."""
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for row in settings:
        of_family = (str(row[FAMILY]),) if by_family else ()
        groups.setdefault((*of_family, *words[row["setting"]]), []).append(row)
    return list(groups.values())


def _shown(values: "pd.Series[Any]") -> Callable[[Any], str]:
    """How a label prints the values of a column: in few digits, unless different ones would look the same."""
    known = dict.fromkeys(map(repr, rows(values.dropna().to_frame("value"))))
    short = {_short(row["value"]) for row in rows(values.dropna().to_frame("value"))}
    return _short if len(short) == len(known) else repr


def _short(value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "none" if pd.isna(value) else general(value)
    return str(value)


def printable(text: str) -> str:
    """Names may hold any character; a table has one line for each."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _labelled(frame: pd.DataFrame) -> list[str]:
    """The columns that a label shows: hyperparameters, eps of adversarial training, and what else differs there."""
    adversarial, arguments = frame["adversarial"].astype(bool), columns.adversarial_columns(frame)
    differ = [name for name in arguments if len(frame.loc[adversarial, name].unique()) > 1]
    eps = f"{columns.ADVERSARIAL_ARGUMENTS.name}eps"
    kept = [name for name in arguments if name == eps or name in differ]
    return [*columns.hyperparameter_columns(frame), *kept]


def strongest(frame: pd.DataFrame) -> str:
    """The grade of the headline numbers of ``frame``, settings that are marked with a weaker one apart."""
    return min(frame["grade"].unique(), key=FROM_THE_STRONGEST.index)


def violations(summary: pd.DataFrame) -> dict[str, int]:
    """How many certificates are false, by grade: those that a model of ``summary`` has."""
    once = summary.drop_duplicates(["model", *columns.GROUP])
    counts = {grade: once[metric.name] for grade, metric in VIOLATIONS.items()}
    return {grade: int(count.sum()) for grade, count in counts.items() if count.notna().any()}


def legend(frame: pd.DataFrame) -> str:
    """What the short words stand for that figures and TeX use for the settings of ``frame``; empty if none."""
    start, families = columns.HYPERPARAMETERS.name, list(frame["family"].unique())
    known = {name.removeprefix(start) for name in columns.hyperparameter_columns(frame) if frame[name].notna().any()}
    pairs = [f"{word} is {name}" for name, word in notation.words(families).items()]
    pairs += [f"{symbol} is {name}" for name, symbol in notation.symbols(families).items() if name in known]
    return f"{', '.join(pairs)}." if pairs else ""


def of_grade(grade: str) -> str:
    """What numbers of certificates are of, in titles."""
    return f"certified n/a: {NO_CERTIFICATE}" if grade == NONE else f"certified of grade {grade}"


def unit(norm: str) -> str:
    """The unit of eps, as axes and captions print it."""
    return f"{'L∞' if norm == 'Linf' else norm}, input range [0, 1]"


def rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a frame as dictionaries. ``to_dict`` takes ten times as long for few rows with many columns."""
    names = [str(name) for name in frame]
    columns = (values.tolist() for _, values in frame.items())
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def suites(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """(suite, norm) in the order of the run."""
    return list(dict.fromkeys((row["suite"], row["norm"]) for row in rows(frame[columns.GROUP])))
