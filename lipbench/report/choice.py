"""What the tables and figures for papers show: which eps, losses and metrics, and how many columns a page has."""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from lipbench._internal import arguments
from lipbench.attacks.eps import Eps, refuse_absent, same
from lipbench.errors import LipbenchError, quoted, unknown_name
from lipbench.report import hyperparameters, notation
from lipbench.report.columns import FAMILY, Metric
from lipbench.report.effects import MEASURED
from lipbench.report.metrics import CERTIFIED, CLEAN, GAP, MEAN_GAP
from lipbench.report.tables import Group

if TYPE_CHECKING:
    from lipbench.report.results import Results

COLUMNS = (1, 2)
# what fits side by side: in a column of 5.5 inches, and in one of a page with two
DEFAULT = {1: MEASURED, 2: (CLEAN, CERTIFIED, GAP, MEAN_GAP)}


@dataclass(frozen=True)
class Choice:
    """What was asked for; the default is the whole run, at the eps that ``hyperparameters.chosen_eps`` chooses."""

    columns: int = 1  # of a page of the paper
    eps: Eps | None = None
    families: tuple[str, ...] = ()  # empty: all
    metrics: tuple[Metric, ...] = ()  # empty: ``DEFAULT``

    def at(self, group: Group) -> float:
        """The eps of a suite; one that has not the eps asked for is shown at its own."""
        wanted = [] if self.eps is None else same(self.eps, group.eps)
        return wanted[0] if wanted else hyperparameters.chosen_eps(group.settings)

    def of(self, group: Group) -> Group:
        """The group with the families that were asked for."""
        if not self.families:
            return group
        frames = {name: getattr(group, name) for name in ("summary", "settings", "effects")}
        kept = {name: frame[frame[FAMILY.name].isin(self.families)] for name, frame in frames.items() if len(frame)}
        return replace(group, **kept)

    @property
    def shown(self) -> tuple[Metric, ...]:
        """The metrics, in the order that was asked for."""
        return self.metrics or DEFAULT[self.columns]

    @property
    def options(self) -> str:
        """The options of ``lipbench report`` that make this choice; empty for the default."""
        parts = [] if self.columns == COLUMNS[0] else ["--columns", str(self.columns)]
        parts += [] if self.eps is None else ["--eps", self.eps.given]
        parts += [word for name in self.families for word in ("--family", name)]
        parts += [word for metric in self.metrics for word in ("--metric", metric.name)]
        return shlex.join(parts)


DEFAULT_CHOICE = Choice()


def choose(
    results: "Results | Sequence[Results]", columns: Any = 1, eps: Any = None, family: Any = None, metric: Any = None
) -> Choice:
    """The choice, checked against what a run has, or what one of several has.

    columns: 1 or 2; eps: a radius such as "36/255"; family, metric: a name or several, of losses (or their short words,
    such as "HKR") and of metrics with an interval. Raises LipbenchError with the names there are.
    """
    if arguments.whole_number("columns", columns, 1) not in COLUMNS:
        raise LipbenchError(f"columns must be 1 or 2, those of a page of the paper, got {int(columns)}")
    runs = results if isinstance(results, Sequence) else [results]
    radius = None if eps is None else Eps(eps)
    if radius is not None:
        refuse_absent(radius, [eps for run in runs for eps in run.eps])
    return Choice(int(columns), radius, _families(runs, _names("family", family)), _metrics(_names("metric", metric)))


def _names(name: str, given: Any) -> tuple[str, ...]:
    """A name, several, or none; each once."""
    several = () if given is None else (given,) if isinstance(given, str) else given
    if not isinstance(several, Iterable):
        raise LipbenchError(f"{name} must be a name or a list of names, got {quoted(given)}")
    return tuple(dict.fromkeys(arguments.text(name, each) for each in several))


def _families(runs: "Sequence[Results]", names: Sequence[str]) -> tuple[str, ...]:
    held = list(dict.fromkeys(name for run in runs for name in _held(run.summary())))
    words = {notation.word(name): name for name in reversed(held)}  # of losses with one word the first
    for name in names:
        if name not in held and name not in words:
            raise unknown_name("family", name, held)
    return tuple(dict.fromkeys(name if name in held else words[name] for name in names))


def _held(summary: pd.DataFrame) -> list[str]:
    return [str(name) for name in summary[FAMILY.name].unique()]


def _metrics(names: Sequence[str]) -> tuple[Metric, ...]:
    known = {metric.name: metric for metric in MEASURED}
    for name in names:
        if name not in known:
            raise unknown_name("metric", name, known)
    return tuple(known[name] for name in names)
