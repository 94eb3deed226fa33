"""The figures of a report, each for both columns of a page of a paper, and for one.

Figures are drawn as ``Figure`` objects, without pyplot, so that nothing global is touched.
"""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from lipbench.report import style
from lipbench.report.effects_figure import effects_figure
from lipbench.report.heat_figure import heat
from lipbench.report.pareto import pareto
from lipbench.report.sandwich import sandwich
from lipbench.report.settings_figure import settings_figure
from lipbench.report.style import Size
from lipbench.report.tables import Group
from lipbench.runs.results import ModelResults


def draw(group: Group, items: Sequence[ModelResults], eps: float, files: Mapping[str, str]) -> dict[str, Figure]:
    """The figures of one suite, by the names of their files: each with the suffix of its size, as ``pareto-column``.

    items: those of that suite; eps: of what is shown at one eps; files: the names of figures to those of files.
    """
    drawn: dict[str, Figure] = {}
    for size in style.SIZES:
        with style.look(size):
            for name, file in files.items():
                figure = _figure(name, group, items, eps, size)
                style.settle(figure)
                drawn[f"{file}{size.suffix}"] = figure
    return drawn


def _figure(name: str, group: Group, items: Sequence[ModelResults], eps: float, size: Size) -> Figure:
    makers = {"settings": settings_figure, "pareto": pareto, "effects": effects_figure, "heat": heat}
    return sandwich(group, items, eps, size) if name == "sandwich" else makers[name](group, eps, size)
