import numpy as np
import pytest
from hand_made import HAND
from running import loaded, rewrite

from lipbench.errors import LipbenchError
from lipbench.runs import results
from lipbench.runs.store import DamagedError
from lipbench.runs.units import AttackUnit, CertifyUnit, IndicatorUnit, ReferenceUnit


@pytest.mark.parametrize("grown", [(), ((1, 1),), ((1, 2),), ((2, 1),)], ids=str)
def test_records_are_those_of_their_attack_and_seed_in_whatever_order_they_came(make_run, make_model, suite, grown):
    hits = {("art/PGD", 7): 0, ("art/FGM", 7): 1, ("art/PGD", 8): 2, ("art/FGM", 8): 3}
    found = {"gradient/minimal": [np.inf] * 4}
    for (name, seed), sample in hits.items():
        for eps in (0.1, 0.2):
            found[(name, eps, seed)] = [0.05 if row == sample else np.inf for row in range(4)]
    model = make_model(correct=[1] * 4, real=[0.0] * 4, distance=[0.0] * 4, found=found)
    what = suite(eps=[0.1, 0.2], attacks=["gradient/minimal", "art/PGD", "art/FGM"])
    run = make_run(model, [what], seeds=(7, 8), groups=((0.2,), (0.1,)), shard=3, grown=grown)
    (item,) = results.load(run)
    assert {attack.name: set(np.flatnonzero(attack.broken(0.1))) for attack in item.attacks} == {
        "gradient/minimal": set(),
        "art/PGD": {0},
        "art/FGM": {1},
        "art/PGD#2": {2},
        "art/FGM#2": {3},
    }
    assert [sum(len(record.sample) for _, record in attack.records) for attack in item.attacks] == [4, 8, 8, 8, 8]


def test_labels_that_differ_from_model_to_model_are_an_error(make_run, make_model):
    """All models of a run see the same samples."""
    folder = make_run([make_model(**HAND, name="a"), make_model(**HAND, name="b")])
    unit = next(unit for unit in folder.read().units() if (unit.model, unit.kind) == ("b", "certify"))
    frame, info = loaded(folder, unit)
    rewrite(folder, unit, frame.assign(label=frame["label"] + 2, prediction=frame["prediction"] + 2), info)
    assert folder.damage(unit) is None  # by itself it may be right
    with pytest.raises(DamagedError, match="labels differ from those of the test set, or of other records"):
        results.load(folder)


@pytest.mark.parametrize("kind", [CertifyUnit, AttackUnit, ReferenceUnit, IndicatorUnit])
def test_an_unfinished_run_is_an_error(make_run, make_model, kind):
    folder = make_run(make_model(**HAND), reference_attack="autoattack", shard=2)
    unit = [unit for unit in folder.read().units() if isinstance(unit, kind)][-1]  # of the last shard
    (folder.records / f"{unit.name}.parquet").unlink()
    with pytest.raises(LipbenchError, match="the run is not finished"):
        results.load(folder)
