"""zero-error at a tiny scale, and with its direction reversed."""

import pytest

from lipbench.experiments.claims.zero_error import CROSS_ENTROPY, EXPERIMENT, MOONS, Network, Settings
from lipbench.experiments.experiment import verdict
from tests.support.labs import lab

TINY = Settings(60, {MOONS: Network((32, 32, 32), 200, 60, 5e-3, (0.5, 64.0, 256.0), (4.0, 0.02))}, (0,))


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return EXPERIMENT.measure(lab(tmp_path_factory.mktemp("zero-error")), TINY)


def test_tuned_losses_reach_zero_error_and_others_do_not(records):
    checks = EXPERIMENT.judge(records)
    assert verdict(checks) == "held", checks
    assert checks[0].ours == checks[1].ours == 0
    assert 0 < checks[4].ours <= 1


def test_reversed_grids_fail(records):
    swapped = records["models"]["value"].map({0.5: 256.0, 64.0: 64.0, 256.0: 0.5, 4.0: 0.02, 0.02: 4.0})
    checks = EXPERIMENT.judge(records | {"models": records["models"].assign(value=swapped)})
    assert [check.holds for check in checks[:4]] == [False, False, False, False]
    assert verdict(checks) == "not"


def test_zero_error_that_is_lost_again_is_counted(records):
    models = records["models"].copy()
    last = (models["loss"] == CROSS_ENTROPY) & (models["value"] == 256) & (models["seed"] == 0)
    models.loc[last, "errors"] = 1
    checks = EXPERIMENT.judge(records | {"models": models})
    assert (checks[0].holds, checks[2].holds, checks[2].ours) == (False, False, 1)


def test_a_radius_over_half_of_the_smallest_distance_is_a_false_certificate(records):
    sets = records["sets"].assign(half_distance=records["models"]["smallest_radius"].max() / 1.01)
    assert not EXPERIMENT.judge(records | {"sets": sets})[4].holds


def test_figure_and_text_follow_the_records(records):
    assert len(EXPERIMENT.draw(records).axes) == 3
    assert "On moons, cross-entropy makes no training error from tau 64 on" in EXPERIMENT.tell(records)
    worse = records["models"].assign(errors=3)
    assert "left at least 3 errors" in EXPERIMENT.tell(records | {"models": worse})
    assert EXPERIMENT.tell(records | {"models": worse}).startswith("What fails: cross-entropy reaches zero")


def test_without_a_perfect_network_nothing_holds_vacuously(records):
    checks = EXPERIMENT.judge(records | {"models": records["models"].assign(errors=3)})
    assert [check.holds for check in checks] == [False, False, False, True, False]
