"""Records of attacks that were left out: a reason and nothing else."""

import dataclasses

import numpy as np
import pytest
from running import SMALL

from lipbench.attacks.norm import Norm
from lipbench.runs import checks, encoding
from lipbench.runs.bounds import Bounds
from lipbench.runs.checks import Known
from lipbench.runs.records import AttackFacts, AttackRecord
from lipbench.runs.store import RecordStore
from lipbench.runs.units import AttackUnit, Shard, Stage

UNIT = AttackUnit(
    name="u",
    model="m",
    shard=Shard(0, 3),
    certify="c",
    suite="s",
    norm=Norm.L2,
    stage=Stage(SMALL.attacks[0], (0.2,), 0),
)
OPEN = Known(np.zeros(3, int), Bounds.start(np.ones(3, bool), np.zeros(3)))  # every sample is due
WHY = "RuntimeError: element 0 of tensors does not require grad"


def test_it_is_written_and_read_and_lowers_no_bound(tmp_path):
    store = RecordStore(tmp_path)
    store.write(UNIT, AttackRecord.left_out(WHY))
    found = RecordStore(tmp_path).load(UNIT, OPEN)
    assert found.facts == AttackFacts(forward=0, backward=0, attacked=0, audited=0, failed=WHY)
    assert len(found.sample) == 0
    assert np.isinf(OPEN.bounds.copy().replay([found]).adversarial_distance).all()


def test_without_the_reason_its_rows_are_missing():
    ran = dataclasses.replace(
        AttackRecord.left_out(WHY), facts=AttackFacts(forward=0, backward=0, attacked=0, audited=0)
    )
    with pytest.raises(ValueError, match="rows are missing: 3 samples were never attacked"):
        checks.check(UNIT, ran, OPEN)


def test_a_record_of_an_attack_that_ran_does_not_mention_it():
    """So that records from before have the same bytes."""
    facts = AttackFacts(forward=1, backward=0, attacked=1, audited=0)
    assert encoding.plain_facts(facts).keys() == {"forward", "backward", "attacked", "audited", "witnesses_sha256"}
    assert encoding.plain_facts(AttackRecord.left_out(WHY).facts)["failed"] == WHY


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"failed": ""}, "no short printable text"),
        ({"failed": 3}, "no short printable text"),
        ({"failed": "\x1b[31m"}, "no short printable text"),
        ({"failed": "x" * 2000}, "no short printable text"),
        ({"witnesses_sha256": "ab"}, "has rows, evaluations or witnesses"),
    ],
)
def test_what_contradicts_itself_is_refused(change, said):
    record = AttackRecord.left_out(WHY)
    with pytest.raises(ValueError, match=said):
        checks.check(UNIT, dataclasses.replace(record, facts=dataclasses.replace(record.facts, **change)), OPEN)


def test_rows_of_an_attack_that_was_left_out_are_refused():
    columns = {
        "sample": [0],
        "eps": [0.2],
        "audit": [False],
        "adversarial_distance": [np.inf],
        "adversarial_label": [-1],
    }
    columns = {name: np.array(values) for name, values in columns.items()} | {
        "forward": np.array([1]),
        "backward": np.array([0]),
    }
    facts = AttackFacts(forward=1, backward=0, attacked=1, audited=0, failed=WHY)
    with pytest.raises(ValueError, match="has rows, evaluations or witnesses"):
        checks.check(UNIT, AttackRecord(**columns, facts=facts), OPEN)
