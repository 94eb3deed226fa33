"""What would contradict itself in the records of factors and of the box, or contradict the bounds of their samples."""

import math
from typing import Any

import numpy as np

from lipbench._internal.arrays import Ints
from lipbench.errors import printable
from lipbench.runs.bounds import Bounds
from lipbench.runs.records import BoxRecord, FactorRecord
from lipbench.runs.units import BoxUnit, FactorUnit, Shard

CLOSE = 1e-9  # relative: factors are products and quotients of float64


def boxed(correct: Any, shard: Shard, most: int, seed: int) -> Ints:
    """The places in a shard of the samples whose box is measured: at most so many, a random share, in order.

    correct: bool (n,). The order in which samples are drawn does not depend on the model, so that models are compared
    on samples that most of them share.
    """
    correct = np.asarray(correct, dtype=bool)
    drawn = np.random.default_rng([seed, shard.start]).permutation(shard.size)
    return np.sort(drawn[correct[drawn]][:most])


def check_factors(unit: FactorUnit, record: FactorRecord) -> None:
    """Raise ValueError if a record of factors contradicts itself or its unit."""
    facts, rows = record.facts, len(record.sample)
    _check_blocks(facts.blocks, facts.constants)
    if len(facts.blocks) != len(record.kept):
        raise ValueError(f"{len(record.kept)} columns of {len(facts.blocks)} blocks")
    if min(facts.forward, facts.backward) < rows:
        raise ValueError("forward or backward is below the number of rows")
    if unit.card and (record.other >= unit.card["num_classes"]).any():
        raise ValueError(f"other is beyond {unit.card['num_classes'] - 1}, the last class")
    parts = (*record.kept, record.head, record.gradient_l1, record.gradient_l2, record.gradient_linf)
    gaps = [np.isnan(values) for values in parts]
    if any((gap != gaps[0]).any() for gap in gaps):
        raise ValueError("some factors of a sample are NaN, and others are not")
    known = ~np.isnan(record.gradient_l2)
    product = record.kept.prod(axis=0) * record.head * record.pairwise_bound
    if not np.allclose(product[known], record.gradient_l2[known], rtol=CLOSE, atol=0):
        raise ValueError("the factors do not multiply to gradient_l2 / pairwise_bound")
    low, high = record.gradient_linf * (1 - CLOSE), record.gradient_l1 * (1 + CLOSE)
    if ((record.gradient_l2 < low) | (record.gradient_l2 > high)).any():
        raise ValueError("the norms of a gradient are not in the order of L_inf, L2, L1")


def _check_blocks(blocks: Any, constants: Any) -> None:
    """The values come from a file, and may have any type."""
    if not isinstance(blocks, list) or not all(isinstance(each, str) and printable(each) == each for each in blocks):
        raise ValueError("blocks is no list of names")
    if len(set(blocks)) < len(blocks):
        raise ValueError("blocks names one twice")
    if not isinstance(constants, list) or len(constants) != len(blocks):
        raise ValueError("constants is no list of one number for each block")
    if not all(isinstance(each, float) and math.isfinite(each) and each >= 0 for each in constants):
        raise ValueError("constants holds what is no number of at least 0")


def check_beside(record: FactorRecord, bounds: Bounds) -> None:
    """Raise ValueError unless there is a row for each sample with a certified radius above 0, which it explains.

    bounds: in L2, with the radii of the headline grade.
    """
    rows, radius = record.sample - bounds.first, np.nan_to_num(bounds.certified_radius)
    if not np.array_equal(rows, np.flatnonzero(bounds.correct & (radius > 0))):
        raise ValueError("its rows are not the samples with a certified radius, each once and in order")
    if (radius[rows] * record.pairwise_bound > record.margin * (1 + CLOSE)).any():
        raise ValueError("a certified radius is above the margin over its bound")


def check_box(unit: BoxUnit, record: BoxRecord) -> None:
    """Raise ValueError if a record of the box contradicts itself or its unit."""
    rows = len(record.sample)
    if rows > unit.most:
        raise ValueError(f"{rows} rows, more than the {unit.most} of its unit")
    if min(record.facts.forward, record.facts.backward) < np.isfinite(record.distance_within).sum():
        raise ValueError("forward or backward is below the number of samples with a distance")
    within = record.distance_within[np.isfinite(record.distance_within)]
    if unit.card and (within > unit.norm.diameter(math.prod(unit.card["input_shape"])) * (1 + CLOSE)).any():
        raise ValueError("distance_within is beyond the diameter of the input range")


def check_share(unit: BoxUnit, record: BoxRecord, bounds: Bounds) -> None:
    """Raise ValueError unless the rows are the share of the correct samples; none without a certificate."""
    certified = not np.isnan(bounds.certified_radius).any()
    due = boxed(bounds.correct, unit.shard, unit.most if certified else 0, unit.seed)
    if not np.array_equal(record.sample - unit.shard.start, due):
        raise ValueError("its rows are not the random share of the correct samples")
