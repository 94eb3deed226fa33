"""random-labels at a tiny scale, and with its direction reversed."""

import pytest

from lipbench.experiments.claims.random_labels import EXPERIMENT, Settings
from lipbench.experiments.experiment import verdict
from tests.support.labs import lab

TINY = Settings({"digits": 160}, 200, 500, (0.1, 256.0), (64, 64), 100, 1e-2, (0, 1))


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return EXPERIMENT.measure(lab(tmp_path_factory.mktemp("random-labels")), TINY)


def test_the_large_temperature_memorises_and_the_small_one_fails(records):
    checks = EXPERIMENT.judge(records)
    assert verdict(checks) == "held", checks
    assert checks[0].ours == 100
    assert 0 < checks[2].ours <= 1
    assert (checks[0].lo, checks[0].over) == (None, "the lowest of 2 seeds, 200 images")
    models, samples = records["models"], records["samples"]
    assert models["samples"].tolist() == [200] * 4
    assert len(samples) == 800
    fitted = samples[samples["certified_radius"] > 0].groupby(["tau", "seed"]).size()
    assert fitted.tolist() == models.set_index(["tau", "seed"])["correct"].sort_index().tolist()


def test_reversed_temperatures_fail(records):
    models = records["models"].assign(tau=records["models"]["tau"].map({0.1: 256.0, 256.0: 0.1}))
    checks = EXPERIMENT.judge(records | {"models": models})
    assert [check.holds for check in checks[:2]] == [False, False]
    assert verdict(checks) == "not"


def test_one_seed_that_falls_short_is_enough_to_fail(records):
    models = records["models"].copy()
    place = models.index[models["tau"] == 256][0]
    models.loc[place, "correct"] = 198
    assert not EXPERIMENT.judge(records | {"models": models})[0].holds
    assert EXPERIMENT.tell(records | {"models": models}).startswith("What fails: with tau 256, random labels")


def test_false_certificates_are_noticed(records):
    models = records["models"].assign(largest_share_of_distance=1.01)
    checks = EXPERIMENT.judge(records | {"models": models})
    assert [check.holds for check in checks] == [True, True, False]


def test_figure_and_text_follow_the_records(records):
    left, right = EXPERIMENT.draw(records).axes
    curve = next(line for line in left.lines if line.get_label() == "tau 256")
    assert curve.get_ydata()[-1] == 100
    assert "radii, tau 256 (100 % fitted)" in [text.get_text() for text in right.get_legend().get_texts()]
    assert "are right for" in EXPERIMENT.tell(records)
    half = records["samples"]["half_distance"]  # of all samples at this scale
    assert "100.00 % at tau 256" in EXPERIMENT.tell(records)
    assert f"{half.median():.3g} in the median and {half.min():.2g} at least" in EXPERIMENT.tell(records)
