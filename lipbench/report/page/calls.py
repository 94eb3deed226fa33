"""Closest calls: the samples whose adversarial input came closest to the certified radius, with their pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lipbench import data
from lipbench.errors import LipbenchError
from lipbench.report import witnesses
from lipbench.report.page import images
from lipbench.report.results import Results
from lipbench.runs.results import ModelResults

MOST = 6  # of one model
BUDGET = 1_400_000  # characters of all pictures of a page


@dataclass(frozen=True)
class Pictures:
    """The test samples that pictures are made of, and why there are none."""

    originals: NDArray[np.float32] | None  # (n, c, h, w), test samples of the run
    missing: str  # why; empty if there are some
    calls: int = 0  # of each model under each suite that have pictures

    @classmethod
    def of(cls, results: Results, models: int) -> "Pictures":
        """The test samples of the run, if its data set can be read here and is the one it was evaluated on.

        models: on the page, each once for every suite.
        """
        spec, wanted = str(results.run.settings["data"]), int(results.run.settings["samples"])
        try:
            split = data.load(spec).test.first(wanted)
        except LipbenchError:
            return cls(None, f"the data set {spec} could not be read where the report was written")
        if split.sha256 != results.run.settings["data_sha256"]:
            return cls(None, f"the data set {spec} is another one where the report was written")
        if not images.is_image(split.images.shape[1:]):
            return cls(None, "the inputs are no images")
        return cls(split.x, "", per_model(models, split.images.shape[1:]))


def closest(item: ModelResults, most: int = MOST) -> list[dict[str, Any]]:
    """The samples of a model with the smallest adversarial distance / certified radius, the smallest first.

    Those with a certificate above 0 of the headline grade and a known adversarial input.
    """
    if not item.certified:
        return []
    radius, distance = item.bounds.certified_radius, item.bounds.adversarial_distance
    known = np.flatnonzero((radius > 0) & np.isfinite(distance) & item.bounds.correct)
    ratio = distance[known] / radius[known]
    order = known[np.argsort(ratio, kind="stable")[:most]]
    return [
        {
            "sample": int(item.samples[place]),
            "label": int(item.labels[place]),
            "radius": float(radius[place]),
            "distance": float(distance[place]),
            "ratio": float(distance[place] / radius[place]),
        }
        for place in order
    ]


def per_model(models: int, shape: Sequence[int]) -> int:
    """How many calls of each model under each suite have pictures, so that all of them fit into ``BUDGET``.

    models: of all suites; shape: (c, h, w) of an input.
    """
    numbers = shape[0] * min(shape[1], images.LARGEST) * min(shape[2], images.LARGEST)
    size = 3 * (200 + 1.2 * numbers)  # of three pictures: noise takes a byte a number, and 4/3 in base64
    return int(max(1, min(MOST, BUDGET / size / max(models, 1))))


def add_pictures(
    found: Mapping[str, Sequence[dict[str, Any]]], pictures: Pictures, results: Results, suite: str
) -> None:
    """Add to the first calls of each model their pictures as data URIs, the predicted class, the factor.

    found: of each model what ``closest`` gives. Adversarial inputs that the run folder lacks stay away.
    """
    if pictures.originals is None:
        return
    calls = [(model, call) for model, every in found.items() for call in every[: pictures.calls]]
    for _, call in calls:
        call["original"] = images.uri(pictures.originals[call["sample"]])
    rows = pd.DataFrame(
        [(model, suite, call["sample"], call["distance"]) for model, call in calls],
        columns=["model", "suite", "sample", "adversarial_distance"],
    )
    try:
        inputs, classes = witnesses.at_distances(results.run_folder, results.run, rows, partial=True)
    except LipbenchError:  # deleted, or left out when the run was published: the page says that they are missing
        return
    for (_, call), x, predicted in zip(calls, inputs, classes, strict=True):
        if np.isfinite(x).all():
            change, factor = images.magnified(pictures.originals[call["sample"]], x)
            call |= {"adversarial": images.uri(x), "change": images.uri(change), "factor": factor}
            call["predicted"] = int(predicted)
