"""Records of factors and of the box that contradict themselves, or other records, count as damaged."""

import numpy as np
import pytest
from bundled import TAU4
from running import TINY, loaded, rewrite, run

from lipbench.runs import factor_checks, results
from lipbench.runs.folder import RunFolder
from lipbench.runs.store import DamagedError
from lipbench.runs.units import Shard


@pytest.fixture(scope="module")
def whole(tmp_path_factory, digits_zoo, digits) -> RunFolder:
    """A run of one model in two shards; what tests rewrite they put back."""
    return run(digits_zoo / TAU4, tmp_path_factory.mktemp("run"), digits, suite=TINY, samples=30, shard=20)


def column(name, change):
    """A column changed at its first row."""

    def changed(frame, info):
        values = frame[name].to_numpy().copy()
        values[0] = change(values[0])
        return frame.assign(**{name: values}), info

    return changed


def fact(name, value):
    return lambda frame, info: (frame, info | {name: value(info[name]) if callable(value) else value})


def without(frame, info):
    kept = frame.drop(index=0)
    return kept, info | {"forward": len(kept), "backward": len(kept)}


FACTORS = {
    "another block's share": (column("kept.1", lambda old: old * 0.999), "do not multiply to"),
    "another head": (column("head", lambda old: old / 1.001), "do not multiply to"),
    "another gradient": (column("gradient_l2", lambda old: old * 1.001), "do not multiply to"),
    "a gradient that is longer than its L1 norm": (
        column("gradient_l1", lambda old: old * 0.01),
        "not in the order of",
    ),
    "a gradient that is shorter than its largest entry": (column("gradient_linf", lambda old: old * 100), "not in the"),
    "a factor alone unknown": (column("kept.0", lambda old: np.nan), "some factors of a sample are NaN"),
    "a negative factor": (column("kept.0", lambda old: -old), "kept.0 is below 0"),
    "a margin without a value": (column("margin", lambda old: np.nan), "margin is NaN"),
    "a class beyond the last": (column("other", lambda old: 10), "other is beyond 9"),
    "a margin below the radius": (column("margin", lambda old: 0.9 * old), "above the margin over its bound"),
    "a row twice": (
        lambda frame, info: (frame.assign(sample=[*frame["sample"][:-1], frame["sample"][0]]), info),
        "twice",
    ),
    "a row is missing": (without, "not the samples with a certified radius"),
    "another sample": (column("sample", lambda old: 19), "twice"),
    "a column of a block is missing": (lambda frame, info: (frame.drop(columns="kept.3"), info), "columns"),
    "a column without a block": (
        lambda frame, info: (frame.assign(**{"kept.9": 1.0}), info),
        "columns sample, other, margin",
    ),
    "blocks of one name": (fact("blocks", lambda old: [old[0]] * len(old)), "names one twice"),
    "a block without a name": (fact("blocks", lambda old: [3, *old[1:]]), "no list of names"),
    "a block of a name that is no line": (fact("blocks", lambda old: ["a\nb", *old[1:]]), "no list of names"),
    "blocks that are none": (fact("blocks", "conv1"), "no list of names"),
    "a constant too few": (fact("constants", lambda old: old[1:]), "no list of one number for each block"),
    "a constant that is none": (fact("constants", lambda old: ["1", *old[1:]]), "no number of at least 0"),
    "a constant below 0": (fact("constants", lambda old: [-1.0, *old[1:]]), "no number of at least 0"),
    "a cost that is none": (fact("forward", 2.5), "no count"),
    "too low a cost": (fact("backward", 3), "below the number of rows"),
    "a fact too many": (lambda frame, info: (frame, info | {"more": 1}), "facts"),
}
BOX = {
    "a distance without a value": (column("distance_within", lambda old: np.nan), "distance_within is NaN"),
    "a distance below 0": (column("distance_without", lambda old: -1.0), "below 0"),
    "a distance beyond the range": (column("distance_within", lambda old: 8.1), "beyond the diameter"),
    "a row twice": (
        lambda frame, info: (frame.assign(sample=[*frame["sample"][:-1], frame["sample"][0]]), info),
        "twice",
    ),
    "a row is missing": (lambda frame, info: (frame.drop(index=0), info), "not the random share"),
    "a cost that is none": (fact("forward", True), "no count"),
    "too low a cost": (fact("backward", 3), "below the number of samples with a distance"),
}


@pytest.mark.parametrize(("kind", "what"), [*(("factors", what) for what in FACTORS), *(("box", what) for what in BOX)])
def test_a_contradiction_is_damage(kind, what, whole):
    change, reason = {"factors": FACTORS, "box": BOX}[kind][what]
    unit = next(unit for unit in whole.read().units() if unit.kind == kind)
    before = whole.record_path(unit).read_bytes()
    try:
        rewrite(whole, unit, *change(*loaded(RunFolder(whole.path), unit)))
        with pytest.raises(DamagedError, match="is damaged") as caught:
            results.load(RunFolder(whole.path))
        assert reason[:40] in str(caught.value)
    finally:
        whole.record_path(unit).write_bytes(before)


def test_a_damaged_record_is_mended(whole, tmp_path, digits_zoo, digits):
    """The only damage is beside other records: a share of the box that belongs to other samples."""
    unit = next(unit for unit in whole.read().units() if unit.kind == "box")
    before = whole.record_path(unit).read_bytes()
    frame, info = loaded(whole, unit)
    rewrite(whole, unit, frame.drop(index=0), info)
    again = run(digits_zoo / TAU4, whole.path, digits, suite=TINY, samples=30, shard=20)
    assert loaded(again, unit)[0].equals(frame)
    whole.record_path(unit).write_bytes(before)


def test_the_share_is_random_and_the_same_for_every_model():
    shard = Shard(100, 1100)
    everyone, some = np.ones(1000, dtype=bool), np.arange(1000) % 3 > 0
    chosen, others = factor_checks.boxed(everyone, shard, 50, 0), factor_checks.boxed(some, shard, 50, 0)
    assert len(chosen) == len(others) == 50
    assert some[others].all()
    assert set(chosen[some[chosen]]) <= set(others)  # what both can have, both have
    assert (np.diff(chosen) > 0).all()
    assert 300 < chosen.mean() < 700
    assert set(chosen) != set(factor_checks.boxed(everyone, Shard(1100, 2100), 50, 0))
    assert set(chosen) != set(factor_checks.boxed(everyone, shard, 50, 1))
    assert factor_checks.boxed(np.zeros(1000, dtype=bool), shard, 50, 0).tolist() == []
    assert factor_checks.boxed(everyone[:20], Shard(0, 20), 50, 0).tolist() == list(range(20))
