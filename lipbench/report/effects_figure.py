"""What each hyperparameter does: accuracies, the gap and tightness over its values, a column of panels for each."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lipbench.certification.grades import NONE
from lipbench.report import captions, effects, notation, style
from lipbench.report import settings as cards
from lipbench.report.columns import Metric
from lipbench.report.effects import Line
from lipbench.report.formatting import family, few, general, percent
from lipbench.report.metrics import CERTIFIED, CLEAN, GAP, ROBUST, TIGHTNESS
from lipbench.report.style import Size
from lipbench.report.tables import Group

RADII = {1: 4, 2: 3}  # eps in a panel, by the number of lines of settings; the chosen one alone where there are more
LINES = 4  # of settings in a panel
BANDS = 2  # rows of panels with all three quantities
PANEL = 1.15  # inches, height
STROKES: tuple[Literal["-", "--", ":", "-."], ...] = ("-", "--", ":", "-.")


@dataclass(frozen=True)
class Panel:
    """One hyperparameter of one kind of network."""

    lines: tuple[Line, ...]  # differ in the other hyperparameters
    title: str
    scale: notation.Scale

    @property
    def values(self) -> list[float]:
        """All that it takes, ascending, as the axis has them."""
        return sorted({self.scale.shown(value) for line in self.lines for value in line.taken})


def panels(group: Group) -> list[Panel]:
    """Every hyperparameter that takes two values, all else equal."""
    found: dict[tuple[str, str], list[Line]] = {}
    for line in effects.lines(group.settings):
        if line.others != effects.MEAN:
            found.setdefault((repr(sorted(line.kind.items(), key=str)), line.hyperparameter), []).append(line)
    return [_panel(lines, group) for lines in found.values()]


def _panel(lines: Sequence[Line], group: Group) -> Panel:
    taken = [value for line in lines for value in line.taken]
    scale = notation.scale(str(lines[0].kind["family"]), lines[0].hyperparameter, taken)
    kind, usual = lines[0].kind, captions.usual(group.settings)
    word, built = family(str(kind["family"]), short=True), str(kind["architecture"])
    return Panel(tuple(few(lines, LINES)), f"{word} ({built})" if usual and built != usual else word, scale)


def effects_figure(group: Group, eps: float, size: Size) -> Figure:
    """Three panels for each hyperparameter, one below the other; more in the next band."""
    known = group.grade != NONE
    rows: tuple[Metric, ...] = (CERTIFIED, GAP, TIGHTNESS) if known else (ROBUST,)
    every = panels(group)
    found = every[: BANDS * size.across]
    if not found:
        return style.blank("no hyperparameter takes two values", size)
    across = min(size.across, len(found))
    bands = -(-len(found) // across)
    figure = style.new(
        size.width if across > 1 else min(size.width, 4.5), PANEL * bands * len(rows) + 0.45 * bands + 0.35
    )
    axes = figure.subplots(bands * len(rows), across, squeeze=False)
    frames = {float(e): group.settings[group.settings["eps"] == e].set_index("setting") for e in group.eps}
    models = cards.distinct(group.summary)
    used = {radius for panel in found for radius in _radii(panel, list(frames), eps)}
    shades = {radius: shade for radius, shade in _shades(group).items() if radius in used}
    for place, panel in enumerate(found):
        column = [axes[(place // across) * len(rows) + row, place % across] for row in range(len(rows))]
        for ax, metric in zip(column, rows, strict=True):
            _draw(ax, panel, metric, frames, models, shades, eps, size)
        _label(column, panel, frames[eps], rows[0], size, across)
    for band in range(bands):
        for row, metric in enumerate(rows):
            _level(list(axes[band * len(rows) + row, : len(found) - band * across]), metric)
    for ax in list(axes.flat):
        if not ax.has_data():
            ax.remove()
    if len(every) > len(found):
        figure.supxlabel(f"the first {len(found)} of {len(every)} hyperparameters", fontsize=size.small)
    _legend(figure, group, shades, rows[0], eps, size)
    return figure


def _shades(group: Group) -> dict[float, Any]:
    colours = mpl.colormaps["viridis"](np.linspace(0, 0.85, len(group.eps)))
    return dict(zip(map(float, group.eps), colours, strict=True))


def _radii(panel: Panel, grid: Sequence[float], chosen: float) -> list[float]:
    """The eps that a panel shows, the chosen one among them."""
    most = RADII.get(len(panel.lines), 1)
    spread = few(list(grid), most) if most > 1 else [chosen]
    nearest = min(spread, key=lambda eps: abs(eps - chosen))
    return [chosen if eps == nearest else eps for eps in spread]


def _draw(
    ax: Axes,
    panel: Panel,
    metric: Metric,
    frames: Mapping[float, pd.DataFrame],
    models: pd.DataFrame,
    shades: Mapping[float, Any],
    eps: float,
    size: Size,
) -> None:
    """One quantity over the values of a hyperparameter: a curve per eps and line of settings."""
    shown = [eps] if metric is TIGHTNESS else _radii(panel, list(frames), eps)
    few_curves = len(shown) * len(panel.lines) <= 6
    for (line, stroke), radius in itertools.product(zip(panel.lines, STROKES, strict=False), shown):
        black = metric is TIGHTNESS
        curve = _curve(line, panel, frames[radius], models[models["eps"] == radius], metric)
        _plot(ax, curve, "black" if black else shades[radius], stroke, band=few_curves or radius == eps)
    if metric in (CERTIFIED, ROBUST):
        for line, stroke in zip(panel.lines, STROKES, strict=False):
            clean = _curve(line, panel, frames[eps], models[models["eps"] == eps], CLEAN)
            ax.plot(clean.x, clean.mean, stroke, color="black", linewidth=0.8)
    style.value_ticks(ax.xaxis, panel.values, panel.scale.log, near=0.16 if size is style.WIDE else 0.2)


@dataclass(frozen=True)
class _Curve:
    x: list[float]
    mean: Any
    low: Any
    high: Any
    seeds: list[tuple[float, float]]  # x and the value of a model, where a setting has several


def _curve(line: Line, panel: Panel, at: pd.DataFrame, models: pd.DataFrame, metric: Metric) -> _Curve:
    names = [members[0] for members in line.settings]
    scale = 100 if metric.kind == "share" else 1
    x = [panel.scale.shown(value) for value in line.taken]
    mean, low, high = (scale * at.loc[names, f"{metric.name}_{end}"].to_numpy() for end in ("mean", "lo", "hi"))
    held = [models.loc[models["setting"] == name, metric.name] for name in names]
    seeds = [(place, scale * value) for place, each in zip(x, held, strict=True) if len(each) > 1 for value in each]
    return _Curve(x, mean, low, high, seeds)


def _plot(ax: Axes, curve: _Curve, colour: Any, stroke: str, *, band: bool) -> None:
    ax.plot(curve.x, curve.mean, stroke, color=colour, marker="o", markersize=2.6, linewidth=1.1, zorder=3)
    if band:
        ax.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.13, linewidth=0)
    if curve.seeds:
        ax.plot(*zip(*curve.seeds, strict=True), ".", color=colour, markersize=2.4, zorder=4)


def _label(column: Sequence[Axes], panel: Panel, at: pd.DataFrame, goal: Metric, size: Size, across: int) -> None:
    """The title with the best value, the ring around it, the name of the axis, and the other hyperparameters."""
    means = at[f"{goal.name}_mean"]
    pairs = [(line, value, one) for line in panel.lines for value, one in zip(line.taken, line.settings, strict=True)]
    found = [(float(means[one[0]]), value, line) for line, value, one in pairs]
    known = [each for each in found if not np.isnan(each[0])]
    title = panel.title
    if known:
        top, value, line = max(known, key=lambda each: each[0])
        symbol = notation.symbols([str(line.kind["family"])]).get(line.hyperparameter, line.hyperparameter)
        words = ", ".join(filter(None, [f"{symbol}={general(value)}", line.others]))
        title += f"\nbest {words}: {percent(top)} %"
        ring: dict[str, Any] = {"markersize": 6.5, "markerfacecolor": "none", "color": "black", "zorder": 4}
        column[0].plot(panel.scale.shown(value), 100 * top, "o", **ring)
    wrapped = [style.wrap(part, int(18 * size.width / across)) for part in title.split("\n")]
    column[0].set_title("\n".join(wrapped), fontsize=size.small)
    column[-1].set_xlabel(captions.axis(panel.scale))
    for ax in column[:-1]:
        ax.tick_params(labelbottom=False)
    if len(panel.lines) > 1:
        handles = [Line2D([], [], color="black", linestyle=stroke, linewidth=0.9) for stroke in STROKES]
        names = [style.entry(style.wrap(line.others, 22)) for line in panel.lines]
        column[-1].legend(handles[: len(names)], names, fontsize=size.small - 0.5, handlelength=1.8, labelspacing=0.2)


def _level(axes: Sequence[Axes], metric: Metric) -> None:
    """One scale for the panels of a row, with its title at the first."""
    shown = [ax for ax in axes if ax.has_data()]
    if not shown:
        return
    if metric is TIGHTNESS:
        low, high = 0.0, 1.04
    else:
        low, high = min(ax.get_ylim()[0] for ax in shown), max(ax.get_ylim()[1] for ax in shown)
    for ax in shown:
        ax.set_ylim(max(low, -12), min(high, 103))
        ax.margins(x=0.06)
    for ax in shown[1:]:
        ax.tick_params(labelleft=False)
    titles = {GAP: "gap (points)", TIGHTNESS: "tightness"}
    shown[0].set_ylabel(titles.get(metric, f"clean, {metric.title} (%)"))


def _legend(figure: Figure, group: Group, shades: Mapping[float, Any], goal: Metric, eps: float, size: Size) -> None:
    several = group.settings["n_models"].max() > 1
    ring = f"best {goal.title} at eps {group.shown(eps)}"
    handles = [Line2D([], [], color="black", linewidth=0.8, label="clean")]
    for each, shade in shades.items():
        handles.append(Line2D([], [], color=shade, marker="o", markersize=2.6, label=f"eps {group.shown(each)}"))
    if several:
        handles.append(Line2D([], [], color="#444444", marker=".", markersize=2.5, linewidth=0, label="seeds"))
    handles.append(Line2D([], [], color="black", marker="o", markersize=6, mfc="none", linewidth=0, label=ring))
    room, longest = figure.get_figwidth() * 72, max(len(str(handle.get_label())) for handle in handles)
    columns = max(1, min(len(handles), int(room / (0.5 * size.small * longest + 24))))
    figure.legend(handles=handles, loc="outside upper center", ncols=columns, columnspacing=1.0, fontsize=size.small)
