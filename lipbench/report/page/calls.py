"""Closest calls: the samples whose adversarial input came closest to the certified radius, with their pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lipbench import data
from lipbench.errors import LipbenchError
from lipbench.report.page import images
from lipbench.report.results import Results
from lipbench.report.witnesses import Witnesses
from lipbench.runs.results import ModelResults

MOST = 6  # of one model
BUDGET = 1_000_000  # characters of all pictures of a page
GUESS = 9000  # characters of one call's three pictures of 64 x 64 pixels in colour, about


@dataclass(frozen=True)
class Pictures:
    """The inputs that pictures are made of, and why there are none."""

    originals: NDArray[np.float32] | None  # (n, c, h, w), test samples of the run
    no_originals: str  # why; empty if there are some
    no_witnesses: str = ""  # likewise

    @classmethod
    def of(cls, results: Results) -> "Pictures":
        """The test samples of the run, if its data set can be read here and is the one it was evaluated on."""
        spec, wanted = str(results.run.settings["data"]), int(results.run.settings["samples"])
        try:
            split = data.load(spec).test.first(wanted)
        except LipbenchError:
            return cls(None, f"the data set {spec} could not be read where the report was written")
        if split.sha256 != results.run.settings["data_sha256"]:
            return cls(None, f"the data set {spec} is another one where the report was written")
        if not images.is_image(split.images.shape[1:]):
            return cls(None, "the inputs are no images")
        return cls(split.x, "")


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
    """How many calls of each model have pictures, so that all of them fit into ``BUDGET``."""
    pixels = min(shape[-1], images.LARGEST) * min(shape[-2], images.LARGEST) * shape[0]
    guess = 600 + GUESS * pixels / (3 * images.LARGEST**2)
    return int(max(1, min(MOST, BUDGET / guess / max(models, 1))))


def with_pictures(
    found: Sequence[dict[str, Any]], pictures: Pictures, witnesses: Witnesses | None, suite: str, shown: int
) -> list[dict[str, Any]]:
    """The calls of one model, the first ``shown`` with pictures: data URIs, the predicted class, the factor."""
    rows = {} if witnesses is None else _rows(witnesses, suite)
    return [call | (_pictures(call, pictures, witnesses, rows) if i < shown else {}) for i, call in enumerate(found)]


def _rows(witnesses: Witnesses, suite: str) -> Mapping[int, int]:
    return {int(witnesses.sample[row]): row for row in range(len(witnesses)) if witnesses.suite[row] == suite}


def _pictures(
    call: Mapping[str, Any], pictures: Pictures, witnesses: Witnesses | None, rows: Mapping[int, int]
) -> dict[str, Any]:
    if pictures.originals is None:
        return {}
    x = pictures.originals[call["sample"]]
    found: dict[str, Any] = {"original": images.uri(x)}
    row = rows.get(call["sample"])
    if witnesses is None or row is None or not np.isfinite(witnesses.x[row]).all():
        return found
    change, factor = images.magnified(x, witnesses.x[row])
    found |= {"adversarial": images.uri(witnesses.x[row]), "change": images.uri(change), "factor": factor}
    return found | {"predicted": int(witnesses.adversarial_label[row])}
