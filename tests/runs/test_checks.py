"""What a record of a network without a certificate may hold, and what contradicts itself."""

import shutil

import numpy as np
import pytest
import unbounded
from running import TINY, loaded, rewrite

import lipbench
from lipbench.runs import encoding, records
from lipbench.runs.folder import RunFolder
from lipbench.runs.store import DamagedError


@pytest.fixture(scope="module")
def whole(tmp_path_factory, digits):
    """A run of one model that claims a constant and has no bound; not to be changed."""
    out = tmp_path_factory.mktemp("run") / "run"
    model = lipbench.Model(unbounded.network("branching"), claimed=2.0)
    lipbench.evaluate(model, data=(digits.test.x[:10], digits.test.labels[:10]), suite=TINY, out=out)
    return RunFolder(out)


@pytest.fixture
def copied(whole, tmp_path):
    shutil.copytree(whole.path, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def columns(**change):
    return lambda frame, info: (frame.assign(**change), info)


def facts(**change):
    return lambda frame, info: (frame, info | change)


CONTRADICTIONS = {
    "a bound": (facts(lipschitz_bound=1.0), "a Lipschitz bound"),
    "a grade": (facts(not_analysed="no analysis"), "a Lipschitz bound, or a grade"),
    "a confirmed claim": (facts(claim_confirmed=True), "claim_confirmed"),
    "no reason": (facts(no_certificate=None), "bound None is no finite number"),
    "an empty reason": (facts(no_certificate=""), "no_certificate is ''"),
    "a reason that is no text": (facts(no_certificate=[1]), "no_certificate is"),
    "a caution that is no text": (facts(caution=3), "caution is 3"),
    "an unknown dtype": (facts(dtype="int8"), "dtype is 'int8'"),
    "an unknown fact": (facts(why="so"), "facts"),
    "a radius of grade real": (columns(certified_radius_real=0.0), "certified_radius_real is NaN where"),
    "a radius of grade float": (columns(certified_radius_float=0.0), "certified_radius_float is NaN where"),
    "no nominal radius": (columns(certified_radius_nominal=np.nan), "certified_radius_nominal is NaN where"),
    "a margin": (columns(signed_margin=0.0), "signed_margin is NaN where"),
}


@pytest.mark.parametrize("what", CONTRADICTIONS)
def test_a_record_that_contradicts_itself_is_damaged(what, copied):
    unit = next(iter(copied.read().units()))
    change, reason = CONTRADICTIONS[what]
    rewrite(copied, unit, *change(*loaded(copied, unit)))
    with pytest.raises(DamagedError, match="is damaged") as caught:
        RunFolder(copied.path).load(unit)
    assert reason[:40] in str(caught.value)


@pytest.mark.parametrize("change", [facts(), facts(dtype="float32"), facts(caution="two runs differ")])
def test_a_record_that_makes_sense_is_read(change, copied):
    """A network that runs as it was given has a dtype of its own."""
    unit = next(iter(copied.read().units()))
    rewrite(copied, unit, *change(*loaded(copied, unit)))
    record = RunFolder(copied.path).load(unit)
    assert record.grade == "none"
    assert np.isnan(record.radius("none")).all()


def test_facts_of_a_certified_network_are_written_as_before(whole):
    """Facts that came later are left out where they say nothing, so that runs from before stay equal to the byte."""
    found = encoding.plain_facts(records.CertifyFacts(1.0, 1.0, True, None, "float64", 64, 2))
    assert not {"no_certificate", "caution"} & found.keys()
    assert found["not_analysed"] is None
    _, info = loaded(whole, next(iter(whole.read().units())))
    assert "control flow" in info["no_certificate"]
