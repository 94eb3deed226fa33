"""The frame of samples: both bounds of each, and the attack that found the upper one."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from lipbench._internal.arrays import Floats
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
    parts = [_part(item) for item in items]
    return columns.typed(pd.concat(parts, ignore_index=True), SAMPLES)


def _part(item: ModelResults) -> pd.DataFrame:
    return pd.DataFrame(
        {
            MODEL.name: item.model,
            SUITE.name: item.suite.name,
            NORM.name: str(item.suite.norm),
            "sample": item.samples,
            "label": item.labels,
            "prediction": item.predictions,
            "correct": item.bounds.correct,
            GRADE.name: item.grade,
            **{f"certified_radius_{grade}": _radii(item, grade) for grade in GRADES},
            "adversarial_distance": item.bounds.adversarial_distance,
            "attack": _attacks(item),
        }
    )


def _radii(item: ModelResults, grade: str) -> Floats:
    """NaN where the model has no certificate of that grade."""
    if grade not in item.bounds_by_grade:
        return np.full(item.n, np.nan)
    return item.bounds_by_grade[grade].certified_radius


def _attacks(item: ModelResults) -> list[str]:
    """The name of the attack that found the smallest distance of each sample, the first one of several."""
    found, smallest = [""] * item.n, item.bounds.adversarial_distance
    for attack in reversed(item.attacks):
        pairs = zip(attack.frame["sample"].tolist(), attack.frame["adversarial_distance"].tolist(), strict=True)
        for row, distance in pairs:
            if np.isfinite(distance) and distance == smallest[row] and item.bounds.correct[row]:
                found[row] = attack.name
    return found
