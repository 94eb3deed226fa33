"""What a hyperparameter does, in words: from the rows of effects.csv to a sentence.

A shape is stated if ``LIKELY`` resamples show it, and a direction if the 95 % interval of the slope excludes 0; else
there is "no clear trend".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lipbench._internal.words import listed
from lipbench.report import columns, notation
from lipbench.report.columns import Metric, alike
from lipbench.report.effects import FALLS, LEVEL, MEAN, RISES, TURNS
from lipbench.report.formatting import differences, general, number, rows, share
from lipbench.report.metrics import GAP, MEAN_GAP, ROBUST
from lipbench.report.tables import Group

LIKELY = 0.9  # the share of resamples from which on a shape is stated
NO_TREND = "no clear trend"
SMALL = 0.005  # of a share, over all values of a line: less is no effect that is worth a word
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Trend:
    """One line of effects.csv: settings that differ in one hyperparameter alone, or the mean of several lines."""

    symbol: str  # of the hyperparameter
    where: str  # "on average over m", "at m=1", "mlp", or empty
    found: Mapping[tuple[str, float], Row]  # by metric and eps
    parts: tuple["Trend", ...] = ()  # the lines that it is the mean of

    def sentence(self, metric: Metric, eps: float, group: Group) -> str:
        """What it does to ``metric`` at eps and to the mean gap, and whether the gap changes its direction with eps."""
        shown = metric if (metric.name, eps) in self.found else ROBUST
        said = [f"{noun(shown, eps, group)} {self._does(shown, eps)}."]
        if (MEAN_GAP.name, eps) in self.found:
            said.append(f"The mean gap {self._does(MEAN_GAP, eps)}.")
        text = " ".join([*said, *self._over_eps(group)])
        if not self.where or all(self._opposite(shown, eps)):
            return text
        return f"{self.where[0].upper()}{self.where[1:]}, {text[0].lower()}{text[1:]}"

    def brief(self, metric: Metric, eps: float) -> str:
        """The same about one metric, without numbers."""
        said = self._does(metric, eps, brief=True) if (metric.name, eps) in self.found else "n/a"
        return f"({self.where}) {said}" if self.where and not all(self._opposite(metric, eps)) else said

    def direction(self, metric: Metric, eps: float) -> int:
        """1 where the metric rises, -1 where it falls, 0 where the interval of its slope includes 0."""
        row = self.found.get((metric.name, eps))
        return 0 if row is None else int(row["per_step_lo"] > 0) - int(row["per_step_hi"] < 0)

    def _does(self, metric: Metric, eps: float, *, brief: bool = False) -> str:
        row, direction = self.found[metric.name, eps], self.direction(metric, eps)
        up, down = self._opposite(metric, eps)
        if up and down:
            mean = self.direction(metric, eps)
            if not mean:
                return f"{RISES} with {self.symbol} {listed(up)} and {FALLS} {listed(down)}"
            words = (RISES, FALLS, down) if mean > 0 else (FALLS, RISES, up)
            return f"{words[0]} with {self.symbol} on average, but {words[1]} {listed(words[2])}"
        chance = f" ({share(row['shape_probability'])} of resamples)" * (not brief)
        word = {1: RISES, -1: FALLS}.get(direction, "")
        by = f"by {_slope(row)}"
        small = metric.kind == "share" and abs(row["per_step"]) * row["steps"] < SMALL
        if small and row["shape"] not in (LEVEL, *TURNS):
            return f"hardly changes with {self.symbol}" + f" ({by.removeprefix('by ')})" * (not brief)
        if row["shape_probability"] < LIKELY:
            if not direction:
                return f"has {NO_TREND} in {self.symbol}"
            return f"{word} with {self.symbol} on the whole" + (f", {by}" * (not brief))
        if row["shape"] == LEVEL:
            return f"is the same for all values of {self.symbol}{chance}"
        if row["shape"] in TURNS:
            turn = f"{row['shape']} at {self.symbol}={general(row['turn'])}{chance}"
            return turn + f" and {word} {by} on the whole" * (bool(direction) and not brief)
        return f"{row['shape']} with {self.symbol}{chance}" + f", {by}" * (bool(direction) and not brief)

    def _opposite(self, metric: Metric, eps: float) -> tuple[list[str], list[str]]:
        """The lines of a mean on which the metric rises, and those on which it falls."""
        up, down = ([part.where for part in self.parts if part.direction(metric, eps) == sign] for sign in (1, -1))
        return up, down

    def _over_eps(self, group: Group) -> list[str]:
        """A sentence if the gap at single eps rises at one and falls at another."""
        signs = {eps.shown: self.direction(GAP, eps) for eps in group.eps}
        up, down = ([shown for shown, sign in signs.items() if sign == wanted] for wanted in (1, -1))
        if not (up and down):
            return []
        return [
            f"The gap at a single eps changes its direction: with {self.symbol} it {RISES} at eps {listed(up)} and "
            f"{FALLS} at eps {listed(down)}."
        ]


def noun(metric: Metric, eps: float, group: Group) -> str:
    """``Certified accuracy at eps 0.3``; the mean gap is of no eps."""
    text = metric.term if metric is MEAN_GAP else f"{metric.term} at eps {group.shown(eps)}"
    return f"{text[0].upper()}{text[1:]}"


def by_family(effects: pd.DataFrame) -> dict[str, list[Trend]]:
    """One trend per hyperparameter of each family.

    effects: rows of ``effects.frame``, of one suite. Where a hyperparameter has several lines, their mean is taken, or
    else the line with the most values, then the most settings, then the first.
    """
    if effects.empty:
        return {}
    return {
        str(name): [_main(str(name), held) for _, held in part.groupby("hyperparameter", sort=False)]
        for name, part in effects.groupby("family", sort=False)
    }


def _main(family: str, held: pd.DataFrame) -> Trend:
    """The trend of one hyperparameter of one family."""
    kind = [name for name in columns.setting_columns(held) if name not in (columns.SETTING.name, "family")]
    lines = [rows(part) for _, part in held.groupby(alike(held, [*kind, "others"]), sort=False)]
    firsts = [line[0] for line in lines]
    chosen = max(
        lines, key=lambda line: (line[0]["others"] == MEAN, line[0]["values"].count(";"), line[0]["n_settings"])
    )
    symbol = notation.symbols([family]).get(chosen[0]["hyperparameter"], chosen[0]["hyperparameter"])
    same = [line for line in lines if all(_equal(line[0][name], chosen[0][name]) for name in kind)]
    parts = tuple(
        Trend(symbol, f"at {line[0]['others']}", _found(line)) for line in same if line[0]["others"] not in ("", MEAN)
    )
    several = len({row["architecture"] for row in firsts}) > 1
    further = [*columns.adversarial_columns(held), *columns.further_columns(held)]
    where = [f"for {chosen[0]['architecture']}"] * several
    where += [f"with {each}" for each in differences(chosen[0], firsts, further)]
    if chosen[0]["others"] == MEAN:
        where.append(f"on average over {_averaged(same)}")
        return Trend(symbol, ", ".join(where), _found(chosen), parts)
    where += [f"at {chosen[0]['others']}"] * bool(chosen[0]["others"])
    return Trend(symbol, ", ".join(where), _found(chosen))


def _found(line: list[dict[str, Any]]) -> dict[tuple[str, float], Row]:
    return {(row["metric"], row["eps"]): row for row in line}


def _averaged(lines: list[list[dict[str, Any]]]) -> str:
    """The symbols of the hyperparameters that the mean of lines is over."""
    texts = [part for line in lines if line[0]["others"] != MEAN for part in line[0]["others"].split(", ")]
    return listed(list(dict.fromkeys(text.split("=")[0] for text in texts)))


def _equal(one: Any, other: Any) -> bool:
    return repr(one) == repr(other)  # NaN equals NaN


def _slope(row: Row) -> str:
    """``8.7 [7.5, 9.8] points per doubling of τ``, without a sign."""
    ends = sorted(abs(100 * row[name]) for name in ("per_step_lo", "per_step_hi"))
    value = abs(100 * row["per_step"])
    digits = 1 if value >= 1 else 2
    return f"{number(value, digits)} [{number(ends[0], digits)}, {number(ends[1], digits)}] points per {row['step']}"
