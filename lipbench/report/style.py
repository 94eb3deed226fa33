"""How figures look, and how they become bytes: the same figure gives the same bytes."""

import contextlib
import io
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same on every machine
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "figure.constrained_layout.use": False,  # see new and settle
    "figure.autolayout": False,
    "text.parse_math": False,  # a name is a name, whatever dollar signs it has
    "pdf.fonttype": 42,  # TrueType: text stays text in an editor
    "svg.hashsalt": "lipbench",
    "savefig.dpi": 200,
}
METADATA: dict[str, dict[str, Any]] = {  # no dates, no versions: the same run gives the same bytes
    "png": {"Software": None},
    "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
    "svg": {"Date": None, "Creator": None},
}
# Okabe and Ito's palette, which readers with any colour vision can distinguish; a family keeps its colour and marker.
FAMILIES = {
    "tau_cross_entropy": ("#0072B2", "o"),
    "hkr_multiclass": ("#D55E00", "s"),
    "hinge_multiclass": ("#009E73", "^"),
    "kr_multiclass": ("#CC79A7", "D"),
    "cross_entropy": ("#56B4E9", "v"),
    "adversarial training": ("#E69F00", "P"),
    "unconstrained": ("#595959", "X"),
}
OTHERS = (("#882255", "<"), ("#332288", ">"), ("#999933", "p"), ("#44AA99", "h"))
CERTIFIED, ROBUST, GAP, FRONT = "#0072B2", "#D55E00", "#F0E442", "#222222"


@dataclass(frozen=True)
class Size:
    """Where a figure stands in a paper."""

    suffix: str  # of the names of its files
    width: float  # inches
    font: float  # pt
    across: int  # panels side by side

    @property
    def small(self) -> float:
        """The font of labels inside a panel."""
        return self.font - 1


WIDE, COLUMN = Size("", 6.75, 7.5, 4), Size("-column", 3.25, 6.5, 2)  # both columns of a page, or one
SIZES = (WIDE, COLUMN)


@contextlib.contextmanager
def look(size: Size = WIDE) -> Iterator[None]:
    """The settings of matplotlib while a figure is made: none of them is the user's."""
    with mpl.rc_context():
        mpl.rcdefaults()
        fonts = dict.fromkeys(("font.size", "axes.titlesize", "axes.labelsize", "legend.fontsize"), size.font)
        ticks = dict.fromkeys(("xtick.labelsize", "ytick.labelsize"), size.small)
        mpl.rcParams.update(RC | fonts | ticks)
        yield


def families(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Family to (colour, marker)."""
    unknown = sorted(set(names) - set(FAMILIES))
    return FAMILIES | {name: OTHERS[place % len(OTHERS)] for place, name in enumerate(unknown)}


def wrap(text: str, width: int = 24) -> str:
    """A label on as many lines as a panel needs."""
    return "\n".join(textwrap.wrap(text, width, break_long_words=False))


def entry(text: str) -> str:
    """The label of a curve; matplotlib would leave out of a legend what starts with an underscore."""
    return f" {text}" if text.startswith("_") else text


def new(width: float, height: float) -> Figure:
    """A figure (inches) that ``settle`` lays out."""
    return Figure(figsize=(width, height), layout="constrained")


def settle(figure: Figure) -> None:
    """Lay the figure out once, for good: the same in every format, and not again for each."""
    if figure.get_layout_engine() is not None:
        figure.draw_without_rendering()
        figure.set_layout_engine(None)  # a placeholder ("none") would cost a second drawing in each format


def blank(reason: str, size: Size) -> Figure:
    """What stands in for a figure that has nothing to show."""
    figure = Figure(figsize=(size.width, 1.0))
    figure.text(0.5, 0.5, f"not available: {reason}", ha="center", va="center")
    return figure


def ticks(values: Sequence[float], log: bool, near: float) -> list[float]:
    """The values, without those within ``near`` of another as a share of the axis; the first and the last stay."""
    scale = np.log if log else np.asarray
    places = [float(scale(value)) for value in values]
    least, kept = near * (places[-1] - places[0]), [0]
    for place in range(1, len(values) - 1):
        if places[place] - places[kept[-1]] > least and places[-1] - places[place] > least:
            kept.append(place)
    return [values[place] for place in dict.fromkeys([*kept, len(values) - 1])]


def log_axis(axis: Axis) -> None:
    """A logarithmic axis, whose labels are plain numbers: matplotlib's are mathematics, which is not parsed here."""
    (axis.axes.set_xscale if axis is axis.axes.xaxis else axis.axes.set_yscale)("log")
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def value_ticks(axis: Axis, values: Sequence[float], log: bool, near: float) -> None:
    """An axis with a tick at each value that was taken, as far as labels have room."""
    if log:
        axis.axes.set_xscale("log")
    axis.set_minor_locator(NullLocator())
    kept = ticks(values, log, near)
    axis.set_ticks(kept, [f"{value:.3g}" for value in kept])


def encode(figure: Figure, kind: str) -> bytes:
    """The figure as ``png``, ``pdf`` or ``svg``."""
    buffer = io.BytesIO()
    with look():
        figure.savefig(buffer, format=kind, metadata=METADATA[kind])
    return buffer.getvalue()
