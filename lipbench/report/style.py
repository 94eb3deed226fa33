"""How figures look, and how they become bytes: the same figure gives the same bytes."""

import io
import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same on every machine
    "font.size": 8,
    "axes.titlesize": 8,
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


def blank(reason: str) -> Figure:
    """What stands in for a figure that has nothing to show."""
    figure = Figure(figsize=(5, 1.2))
    figure.text(0.5, 0.5, f"not available: {reason}", ha="center", va="center")
    return figure


def encode(figure: Figure, kind: str) -> bytes:
    """The figure as ``png``, ``pdf`` or ``svg``."""
    buffer = io.BytesIO()
    with mpl.rc_context(RC):
        figure.savefig(buffer, format=kind, metadata=METADATA[kind])
    return buffer.getvalue()
