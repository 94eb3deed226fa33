"""What a claim declares, and what comes out: checks with their figures, and a verdict that follows from them."""

import dataclasses
import importlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from lipbench._internal.discovery import objects_in
from lipbench.errors import LipbenchError, unknown_name
from lipbench.experiments.lab import Lab

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Records = dict[str, pd.DataFrame]  # by the name of its file in records/: all that checks, figure and text are made from
Scale = Literal["small", "paper"]
Verdict = Literal["held", "partly", "not"]
SCALES: tuple[Scale, ...] = ("small", "paper")
WORDS: dict[str, str] = {"held": "held", "partly": "held in part", "not": "did not hold"}
RULE = "held: every check holds; not: the first check, which is the claim itself, fails; partly: anything else"


@dataclass(frozen=True)
class Check:
    """One measured statement, and whether it holds by a rule that was fixed beforehand.

    Raises LipbenchError for figures that are not finite numbers.
    """

    statement: str  # for a reader: "accuracy rises with tau"
    rule: str  # how ``holds`` follows from the numbers: "the interval of the difference lies above 0"
    holds: bool
    ours: float  # the measured figure, in ``unit``
    unit: str = ""  # such as "%"
    lo: float | None = None  # 95 % interval of ``ours``
    hi: float | None = None
    over: str = ""  # what the interval covers: "5 seeds", "500 test samples"
    paper: float | None = None  # the paper's figure for the same quantity; None where it prints none

    def __post_init__(self) -> None:
        for name in ("ours", "lo", "hi", "paper"):
            value = getattr(self, name)
            if value is not None:
                if not math.isfinite(value):
                    raise LipbenchError(f"the check {self.statement!r} has {name} = {value}: nothing was measured")
                object.__setattr__(self, name, float(value))
        object.__setattr__(self, "holds", bool(self.holds))


@dataclass(frozen=True)
class Experiment:
    """One claim of the paper, and how it is tested. ``judge``, ``draw`` and ``tell`` depend on the records alone."""

    name: str  # of the command: "random-labels"
    title: str  # a few words
    theme: Literal["accuracy", "robustness", "generalisation"]  # the paper's three
    claim: str  # in one or two sentences
    source: str  # where the paper makes it
    paper: str  # the paper's set-up and figure, in words
    setup: Mapping[Scale, str]  # of each scale, in words: what differs from the paper's set-up, and what we guess
    scales: Mapping[Scale, Any]  # of each scale a frozen dataclass with every number in which scales differ
    measure: Callable[[Lab, Any], Records]  # trains and evaluates
    judge: Callable[[Records], tuple[Check, ...]]  # the first check is the claim itself
    draw: "Callable[[Records], Figure]"
    tell: Callable[[Records], str]  # Markdown: what the figure shows, and why a check failed
    # of settings, the names of the data sets that ``measure`` asks the lab for: the first one that is there serves
    data: Callable[[Any], tuple[str, ...]] = lambda settings: ()

    def settings(self, scale: Scale) -> dict[str, Any]:
        """The numbers of a scale as plain data, in the form that a JSON file gives them back."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self.scales[scale])))
        return plain


def verdict(checks: tuple[Check, ...]) -> Verdict:
    """What follows from the checks, by ``RULE``."""
    if all(check.holds for check in checks):
        return "held"
    return "partly" if checks[0].holds else "not"


def failures(checks: tuple[Check, ...]) -> str:
    """The checks that fail, with their figures, as the beginning of a text; "" if all hold."""
    failed = []
    for check in checks:
        if not check.holds:
            interval = "" if check.lo is None or check.hi is None else f" [{check.lo:.4g}, {check.hi:.4g}]"
            failed.append(f"{check.statement}: {check.ours:.4g}{interval} {check.unit}".strip())
    return f"What fails: {'; '.join(failed)}.\n\n" if failed else ""


def names() -> list[str]:
    """The names of all experiments, in alphabetical order."""
    return [name.replace("_", "-") for name in _modules()]


def find(name: str) -> Experiment:
    """The experiment of this name; raises LipbenchError for an unknown one."""
    if name not in names():
        raise unknown_name("experiment", name, names())
    module, _, attribute = _modules()[name.replace("-", "_")].partition(":")
    found: Experiment = getattr(importlib.import_module(module), attribute)
    return found


def _modules() -> dict[str, str]:
    return objects_in("experiments/claims", "EXPERIMENT")
