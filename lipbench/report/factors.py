"""Why a gap exists: the factors of tightness as one frame, factors.csv, and the one that says most of a setting."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lipbench._internal.arrays import Bools, Floats
from lipbench.report import columns, settings
from lipbench.report.columns import COPY_OF, MODEL, NORM, SETTING, SUITE, Column
from lipbench.runs.factors import Factors
from lipbench.runs.results import ModelResults

GRADE, KEPT, HEAD, OF_NORM, BOX, REST = "grade", "kept", "head", "norm", "box", "rest"
KEPT_PRODUCT, BOX_AND_REST, TIGHTNESS = "kept product", "box and rest", "tightness"
PARTS = {  # what each part of tightness is, in the order of factors.csv
    GRADE: "certified radius of the headline grade over margin / L_cj, j the class that decides it: rounding's cost",
    KEPT: "share of the norm of the margin's gradient that a block of the network lets back to its input, relative to "
    "its Lipschitz constant; one row per block, from the input on",
    HEAD: "the same of the last linear layer, relative to what it adds to L_cj",
    OF_NORM: "what an L2 certificate loses in the suite's norm at the gradient of the sample; 1 in L2",
    BOX: "distance without the input range over distance within it, by the same attack: what no plain certificate can "
    "win; of a random share of the samples",
    REST: "tightness over all other factors: curvature, and what the attacks did not find; above 1 where the margin "
    "falls faster on the way to the boundary than at the sample; of the samples of box",
    KEPT_PRODUCT: "all blocks together",
    BOX_AND_REST: "box times rest, of all samples",
    TIGHTNESS: "the product: certified_radius / adversarial_distance",
}
SUMMARIES = (KEPT_PRODUCT, BOX_AND_REST, TIGHTNESS)  # what other rows multiply to
FACTORS: tuple[Column, ...] = (
    *(MODEL, COPY_OF, SETTING, SUITE, NORM),
    Column("place", "count", "", "order of the factors, from the grade to the rest; products come last"),
    Column("part", "text", "", f"{', '.join(PARTS)}"),
    Column("factor", "text", "", "the part, or the name of the block"),
    Column("median", "number", "", "over the correct samples with a known adversarial input", optional=True),
    Column("low", "number", "", "lower quartile over the same samples", optional=True),
    Column("high", "number", "", "upper quartile", optional=True),
    Column("n", "count", columns.SAMPLES, "number of these samples"),
)


def frame(items: Sequence[ModelResults]) -> pd.DataFrame:
    """One row per model, suite and factor; ``FACTORS`` declares the columns. None of models without a certificate.

    Every row is over the correct samples with a known adversarial input, as tightness is, but for those whose margin
    has a gradient of 0.
    """
    cells, copies = settings.cells(items), settings.copies(items)
    rows = [
        {
            MODEL.name: item.model,
            COPY_OF.name: copies.get(item.model, ""),
            SETTING.name: cells[item.model][SETTING.name],
            SUITE.name: item.suite.name,
            NORM.name: str(item.suite.norm),
            "place": place,
            "part": part,
            "factor": factor,
            **_statistics(values[np.isfinite(item.factors.tightness)]),
        }
        for item in items
        if item.certified
        for place, (part, factor, values) in enumerate(_values(item.factors))
    ]
    return columns.typed(pd.DataFrame(rows, columns=[column.name for column in FACTORS]), FACTORS)


def _values(found: Factors) -> Iterator[tuple[str, str, Floats]]:
    """Part, name and values of each factor, in the order of the frame."""
    yield GRADE, GRADE, found.grade
    for name, values in zip(found.blocks, found.kept, strict=True):
        yield KEPT, name, values
    yield HEAD, HEAD, found.head
    yield OF_NORM, OF_NORM, found.norm
    yield BOX, BOX, found.box
    yield REST, REST, found.rest
    yield KEPT_PRODUCT, KEPT_PRODUCT, found.kept_product
    yield BOX_AND_REST, BOX_AND_REST, found.box_and_rest
    yield TIGHTNESS, TIGHTNESS, found.tightness


def _statistics(values: Floats) -> dict[str, float]:
    known = values[np.isfinite(values)]
    low, median, high = np.quantile(known, [0.25, 0.5, 0.75]) if len(known) else [math.nan] * 3
    return {"median": median, "low": low, "high": high, "n": len(known)}


@dataclass(frozen=True)
class Leading:
    """The factor that says most of why the certificates of a setting are loose."""

    part: str
    factor: str  # the part, or the name of the block
    value: float  # median over samples, geometric mean over the models (seeds)
    share: float  # of the logarithms of all factors below 1
    tightness: float  # likewise as ``value``


def leading(found: pd.DataFrame, setting: str, suite: str) -> Leading | None:
    """The factor of a setting whose logarithm is the largest part of that of tightness; None if no factor is below 1.

    found: a frame as ``frame`` gives it; setting: a digest, suite: a name in it. Models with the same weights count
    once. Where the box is not known, it counts with the rest.
    """
    values = of_setting(found, setting, suite)
    names = values.index.get_level_values("part")
    left = {REST, BOX} if REST not in names or not np.isfinite(values[names == REST]).all() else {BOX_AND_REST}
    some = values[~names.isin({KEPT_PRODUCT, TIGHTNESS, *left}) & np.isfinite(values) & _below_one(values)]
    if some.empty:
        return None
    place = int(some.to_numpy().argmin())
    part, factor = (str(some.index.get_level_values(name)[place]) for name in ("part", "factor"))
    share = math.log(some.min()) / float(np.log(some).sum())
    return Leading(part, factor, float(some.min()), share, float(values[(TIGHTNESS, TIGHTNESS)]))


def of_setting(found: pd.DataFrame, setting: str, suite: str) -> "pd.Series[float]":
    """The factors of a setting by (part, factor): geometric mean over its models (seeds) of the medians."""
    rows = found[(found[SETTING.name] == setting) & (found[SUITE.name] == suite) & (found[COPY_OF.name] == "")]
    logarithms = np.log(rows.set_index(["part", "factor"])["median"].where(lambda values: values > 0))
    values: pd.Series[float] = np.exp(logarithms.groupby(level=["part", "factor"], sort=False).mean())
    return values


def _below_one(values: "pd.Series[float]") -> Bools:
    below: Bools = ((values > 0) & (values < 1)).to_numpy()
    return below


SENTENCES = {
    GRADE: "rounding leaves {} of the radius",
    KEPT: "{factor} lets {} of the gradient back",
    HEAD: "the last layer lets {} of the gradient back",
    OF_NORM: "{} of an L2 radius is left in the norm of the suite",
    BOX: "the input range hides the boundary: without it, it lies at {} of the distance",
    REST: "curvature, and what the attacks did not find, leave {}",
    BOX_AND_REST: "the input range, curvature, and what the attacks did not find, leave {}",
}


def sentence(found: Leading, others: Mapping[str, float] | None = None) -> str:
    """The leading factor in words, such as "conv1 3->8 lets 76 % of the gradient back (at m = 1: 95 %)".

    others: the same factor of other settings (see ``of_setting``), by what these are called.
    """
    said = SENTENCES[found.part].format(_percent(found.value), factor=found.factor)
    beside = "; ".join(f"at {name}: {_percent(value)}" for name, value in (others or {}).items())
    return f"{said} ({beside})" if beside else said


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"
