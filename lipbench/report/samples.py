"""The frame of samples: both bounds of each, and the attack that found the upper one."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.extensions import ExtensionArray as Texts

from lipbench._internal.arrays import Floats, Ints
from lipbench.certification.grades import GRADES
from lipbench.report import columns
from lipbench.report.columns import MODEL, NORM, SUITE, Column
from lipbench.report.metrics import GRADE
from lipbench.runs.results import ModelResults

UNIT = "suite's norm, input range [0, 1]"
PROVED = "lower bound of the distance to the decision boundary, proved; 0 if misclassified"
RADII = {  # what a radius of each grade is
    "float": PROVED,
    "real": "the same, proved in exact arithmetic only: rounding may break it next to the boundary",
    "nominal": "the same if the claim on the card is true: not proved",
}
SAMPLES: tuple[Column, ...] = (
    *(MODEL, SUITE, NORM),
    Column("sample", "count", "", "row of the test set"),
    Column("label", "count", "", "true class"),
    Column("prediction", "count", "", "class that the network predicts"),
    Column("correct", "flag", "", "the prediction is the label"),
    replace(GRADE, words="of the model's certified accuracy: float with an error analysis, else real"),
    *(
        Column(
            f"certified_radius_{grade}",
            "number",
            UNIT,
            RADII[grade],
            term="certified_radius" if grade == "float" else "",
            optional=True,
        )
        for grade in GRADES
    ),
    Column(
        "adversarial_distance",
        "number",
        UNIT,
        "norm of the smallest adversarial perturbation found by any attack; inf if none",
        term="adversarial_distance",
    ),
    Column("attack", "text", "", "the attack of the suite that found it; empty if none, or if misclassified"),
)


def frame(items: Sequence[ModelResults]) -> pd.DataFrame:
    """One row per model, suite and sample; ``SAMPLES`` declares the columns."""
    names, sizes = ["", *dict.fromkeys(attack.name for item in items for attack in item.attacks)], [i.n for i in items]

    def text(values: Iterable[str]) -> Texts:
        """One value per item, at each of its samples."""
        return _texts(list(values), np.repeat(np.arange(len(items)), sizes))

    def joined(values: Iterable[NDArray[Any]]) -> NDArray[Any]:
        """Arrays of the items, each (n,), one after the other."""
        return np.concatenate(list(values))

    frame = pd.DataFrame(
        {
            MODEL.name: text(item.model for item in items),
            SUITE.name: text(item.suite.name for item in items),
            NORM.name: text(str(item.suite.norm) for item in items),
            "sample": joined(item.samples for item in items),
            "label": joined(item.labels for item in items),
            "prediction": joined(item.predictions for item in items),
            "correct": joined(item.bounds.correct for item in items),
            GRADE.name: text(item.grade for item in items),
            **{f"certified_radius_{grade}": joined(_radii(item, grade) for item in items) for grade in GRADES},
            "adversarial_distance": joined(item.bounds.adversarial_distance for item in items),
            "attack": _texts(names, joined(_attacks(item, names) for item in items)),
        },
        copy=False,
    )
    return columns.typed(frame, SAMPLES)


def _texts(values: Sequence[str], places: Ints) -> Texts:
    """``values[place]`` for each place; each value is stored as text once more for each row, but converted once."""
    return pd.Series(values).array.take(places)


def _radii(item: ModelResults, grade: str) -> Floats:
    """NaN where the model has no certificate of that grade."""
    if grade not in item.bounds_by_grade:
        return np.full(item.n, np.nan)
    return item.bounds_by_grade[grade].certified_radius


def _attacks(item: ModelResults, names: Sequence[str]) -> Ints:
    """The attack that found the smallest distance of each sample, the first one of several: its place in ``names``."""
    found, smallest = np.zeros(item.n, dtype=np.int64), item.bounds.adversarial_distance
    known = item.bounds.correct & np.isfinite(smallest)
    for attack in reversed(item.attacks):
        found[known & (attack.closest() == smallest)] = names.index(attack.name)
    return found
