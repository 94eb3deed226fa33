"""What each hyperparameter does to accuracies, the gap and tightness: the shape of the effect, and the size of a step.

Settings that differ in one hyperparameter alone are a line: all else on their cards is equal, other hyperparameters
of the loss among it. Each line has its rows; where a loss has several hyperparameters there are several lines, and the
mean over those with the same values has rows as well. Everything is computed from the means over seeds, and its
uncertainty from the resamples of ``resampling``.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lipbench._internal.arrays import Floats
from lipbench.report import columns, notation
from lipbench.report.columns import (
    EPS,
    FAMILY,
    GROUP,
    HYPERPARAMETERS,
    OF_GROUPS,
    OF_SETTINGS,
    RESAMPLES,
    SETTING,
    Column,
    alike,
    hyperparameter_columns,
    setting_columns,
)
from lipbench.report.formatting import general
from lipbench.report.intervals import spearman_interval
from lipbench.report.metrics import CERTIFIED, CLEAN, GAP, MEAN_GAP, ROBUST, TIGHTNESS
from lipbench.report.resampling import Draws, ends

MEASURED = (CLEAN, CERTIFIED, ROBUST, GAP, MEAN_GAP, TIGHTNESS)
NOISE = 1e-12  # a slope below is rounding
FEWEST = 5  # settings from which on there is a rank correlation
LEVEL, RISES, FALLS, PEAKS, DIPS = "level", "rises", "falls", "peaks", "dips"
TURNS = (PEAKS, DIPS)  # at a value
SHAPES = {
    RISES: "smallest at the first value, largest at the last",
    FALLS: "largest at the first value, smallest at the last",
    PEAKS: "largest at a value between, ``turn``",
    DIPS: "largest at an end, smallest at a value between, ``turn``",
    LEVEL: "the same at all values",
}
EFFECTS: tuple[Column, ...] = (  # every column of effects.csv
    *(*OF_GROUPS, EPS),
    *(column for column in OF_SETTINGS if column not in (SETTING, HYPERPARAMETERS)),
    Column("hyperparameter", "text", "", "the hyperparameter of the loss that differs"),
    Column(
        "others",
        "text",
        "",
        "values of the other hyperparameters of the loss, the same along the line; `mean` of all lines; empty if none",
    ),
    Column("values", "text", "", "the values that it takes, ascending, with semicolons between"),
    Column("n_settings", "count", "", "settings of the line, or of all lines"),
    Column("n_models", "count", "", "the smallest number of models (seeds) of a setting"),
    Column("metric", "text", "", "what it has an effect on"),
    Column("shape", "text", "", "; ".join(f"{name}: {words}" for name, words in SHAPES.items())),
    Column("turn", "number", "", "the value at which it peaks or dips", optional=True),
    Column("shape_probability", "share", RESAMPLES, "share of resamples with this shape and turn"),
    Column("step", "text", "", "what a step is"),
    Column("steps", "number", "steps", "from the first value to the last"),
    Column("per_step", "number", "", "slope of the least-squares line: change of the metric in one step"),
    Column("per_step_lo", "number", "", "lower end of its 95 % interval, over seeds and samples"),
    Column("per_step_hi", "number", "", "upper end of its 95 % interval, over seeds and samples"),
    Column(
        "rho",
        "number",
        "",
        f"Spearman's rank correlation over settings (means over seeds); n/a with fewer than {FEWEST} settings",
        optional=True,
    ),
    Column("rho_lo", "number", "", "lower end of its 95 % interval (Bonett and Wright 2000)", optional=True),
    Column("rho_hi", "number", "", "upper end of its 95 % interval (Bonett and Wright 2000)", optional=True),
)
MEAN = "mean"  # of all lines, in the column ``others``


@dataclass(frozen=True)
class Line:
    """Settings that differ in one hyperparameter alone, which takes V values; or the mean of several lines."""

    hyperparameter: str
    others: str  # values of the other hyperparameters, in words
    taken: tuple[float, ...]  # the values, ascending
    settings: tuple[tuple[str, ...], ...]  # for each value the setting that has it; of the mean, one of each line
    kind: Mapping[str, object]  # family, architecture and all else that the settings share, by column

    def mean_of(self, draws: Draws, per_setting: Floats) -> Floats:
        """Numbers per setting (..., S) as numbers per value (..., V)."""
        return np.stack(
            [per_setting[..., [draws.settings.index(one) for one in group]].mean(axis=-1) for group in self.settings],
            axis=-1,
        )


def frame(settings: pd.DataFrame, draws: Mapping[tuple[str, str], Draws]) -> pd.DataFrame:
    """One row per suite, norm, eps, line and metric; ``EFFECTS`` declares the columns.

    settings: of ``hyperparameters.over_seeds``; draws: by (suite, norm).
    """
    rows = []
    for keys, one in draws.items():
        part = settings[(settings[GROUP] == list(keys)).all(axis=1)]
        for line in lines(part):
            about = dict(zip(GROUP, keys, strict=True)) | dict(line.kind)
            rows += [about | row for row in _rows(line, part, one)]
    found = pd.DataFrame(rows, columns=None if rows else [column.name for column in EFFECTS if not column.prefix])
    return columns.typed(found[columns.ordered(found, EFFECTS)], EFFECTS)


def lines(settings: pd.DataFrame) -> Iterator[Line]:
    """Every line of the settings of one suite with at least two values; the mean of lines after its parts."""
    once = settings.drop_duplicates(SETTING.name)
    names = hyperparameter_columns(once)
    kind = [name for name in setting_columns(once) if name not in (SETTING.name, *names)]
    for _, part in once.groupby(alike(once, kind), sort=False):
        shared = {name: part[name].iloc[0] for name in kind}
        for name in names:
            others = [other for other in names if other != name and part[other].notna().any()]
            known = part[part[name].notna()]
            if known.empty:
                continue
            strata = list(known.groupby(alike(known, others), sort=False)) if others else [("", known)]
            found = [_line(name, others, stratum, shared) for _, stratum in strata]
            found = [line for line in found if len(line.taken) > 1]
            yield from found
            if len(found) > 1 and len({line.taken for line in found}) == 1:
                together = tuple(tuple(line.settings[v][0] for line in found) for v in range(len(found[0].taken)))
                yield Line(found[0].hyperparameter, MEAN, found[0].taken, together, shared)


def _line(name: str, others: Sequence[str], stratum: pd.DataFrame, shared: Mapping[str, object]) -> Line:
    ordered = stratum.drop_duplicates(name).sort_values(name, kind="stable")
    start, first = HYPERPARAMETERS.name, ordered.iloc[0]
    symbols = notation.symbols([str(shared[FAMILY.name])])
    words = [f"{symbols.get(n, n)}={general(first[o])}" for o in others for n in [o.removeprefix(start)]]
    values = tuple(float(value) for value in ordered[name])
    return Line(
        name.removeprefix(start), ", ".join(words), values, tuple((one,) for one in ordered[SETTING.name]), shared
    )


def _rows(line: Line, settings: pd.DataFrame, draws: Draws) -> Iterator[dict[str, object]]:
    scale = notation.scale(str(line.kind[FAMILY.name]), line.hyperparameter, line.taken)
    members = [one for group in line.settings for one in group]
    held = settings[settings[SETTING.name].isin(members)]
    places, grid = np.array(scale.places(line.taken)), [float(eps) for eps in held[EPS.name].unique()]
    about = {
        "hyperparameter": line.hyperparameter,
        "others": line.others,
        "values": "; ".join(map(general, line.taken)),
        "n_settings": len(members),
        "n_models": int(held["n_models"].min()),
        "step": scale.step,
        "steps": float(places[-1] - places[0]),
    }
    for eps in grid:
        for metric in MEASURED:
            at = line.mean_of(draws, draws.estimate(metric.name, eps))
            if np.isnan(at).any():
                continue
            drawn = line.mean_of(draws, draws.drawn(metric.name, eps))
            shape, turn, probability = shape_of(at, drawn)
            slope, (low, high) = float(slopes(places, at)), ends(slopes(places, drawn))
            yield about | {
                EPS.name: eps,
                "metric": metric.name,
                "shape": shape,
                "turn": float("nan") if turn is None else line.taken[turn],
                "shape_probability": probability,
                **{
                    name: 0.0 if abs(value) < NOISE else value
                    for name, value in (("per_step", slope), ("per_step_lo", float(low)), ("per_step_hi", float(high)))
                },
                **_correlation(line, draws, draws.estimate(metric.name, eps)),
            }


def shape_of(at: Floats, drawn: Floats) -> tuple[str, int | None, float]:
    """The shape of values (V,) along a line, the place where it turns, and the share of resamples with both.

    drawn: (B, V), the values in each resample.
    """
    (shape,), (turn,) = _shapes(at[None])
    shapes, turns = _shapes(drawn)
    if shape == LEVEL and (shapes != LEVEL).any():  # equal by chance: what the resamples show most
        pairs, counts = np.unique(np.stack([shapes, turns.astype(str)]), axis=1, return_counts=True)
        shape, turn = pairs[0, counts.argmax()], int(pairs[1, counts.argmax()])
    return str(shape), int(turn) if shape in TURNS else None, float(((shapes == shape) & (turns == turn)).mean())


def _shapes(values: Floats) -> tuple[NDArray[np.str_], NDArray[np.intp]]:
    """The shape of each row (B, V), and the place where it turns; -1 for one that does not: (B,) each.

    A value between is a peak only if it is above both ends, and a dip only if it is below them: a plateau is neither.
    """
    first, last = values[:, 0], values[:, -1]
    peaks, dips = values.max(axis=1) > np.maximum(first, last), values.min(axis=1) < np.minimum(first, last)
    shapes = np.select([peaks, dips, first < last, first > last], [PEAKS, DIPS, RISES, FALLS], LEVEL)
    return shapes, np.select([peaks, dips], [values.argmax(axis=1), values.argmin(axis=1)], -1)


def slopes(places: Floats, values: Floats) -> Floats:
    """The slope of the least-squares line through values (..., V) at places (V,): (...)."""
    centred = places - places.mean()
    return np.asarray(values @ centred / (centred @ centred))


def _correlation(line: Line, draws: Draws, estimate: Floats) -> dict[str, float]:
    """Spearman's rho of a metric with the hyperparameter, over settings, with its interval; NaN for few settings."""
    pairs = [
        (value, estimate[draws.settings.index(one)])
        for value, group in zip(line.taken, line.settings, strict=True)
        for one in group
    ]
    found = pd.DataFrame(pairs, columns=["value", "metric"]).dropna()
    rho = float("nan")
    if len(found) >= FEWEST and len(set(found["metric"])) > 1:
        rho = float(found["value"].rank().corr(found["metric"].rank()))
    low, high = spearman_interval(rho, len(found))
    return {"rho": rho, "rho_lo": low, "rho_hi": high}
