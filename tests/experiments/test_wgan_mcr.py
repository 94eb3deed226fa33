"""The claim that the highest MCR is the WGAN discriminator's."""

import numpy as np
import pytest
import torch
from torch import nn

from lipbench.experiments.claims.wgan_mcr import Settings, judge, measure, tell
from lipbench.experiments.experiment import verdict
from lipbench.experiments.measures import best_accuracy, mcr, signed_margins
from lipbench.experiments.stripes import FAR, stripes
from lipbench.experiments.transport import wasserstein
from tests.support.labs import lab

TINY = Settings(
    images="digits",
    pair=(4, 9),
    stripes=60,
    taus=(0.1, 100),
    seeds=(0, 1),
    flat={"widths": [32, 32], "training": {"epochs": 120, "batch_size": 40, "learning_rate": 1e-2}},
    deep={"widths": [16], "training": {"epochs": 10, "batch_size": 130, "learning_rate": 1e-2}},
    narrow=((8,),),
)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return measure(lab(tmp_path_factory.mktemp("wgan")), TINY)


def changed(records, **columns):
    models = records["models"]
    return {**records, "models": models.assign(**{name: change(models) for name, change in columns.items()})}


def test_the_stripes_are_transported_to_the_right():
    x, y = stripes(500, np.random.default_rng(1))
    assert x.min() >= 0
    assert x.max() <= 1
    shift = x[y == 1, 0].mean() - x[y == 0, 0].mean()  # E[f | 1] - E[f | 0] of f(x) = x
    assert shift <= wasserstein(x[y == 1], x[y == 0]) <= 1.02 * shift
    assert best_accuracy(x[:, 0], y)[0] == pytest.approx((1 + FAR) / 2, abs=0.001)


def test_the_claim_holds_on_the_stripes(records):
    reached, _, never, rises, limit, costs, *_ = judge(records)
    assert [check.holds for check in (reached, never, rises, limit)] == [True] * 4
    assert reached.ours <= 100
    assert costs.ours > 5  # two seeds are too few for an interval
    limits = records["models"].groupby("data")["limit"].first()
    assert limits["images"] == pytest.approx(1.5347, abs=1e-4)  # half of W1 between all 4s and 9s of the digits


def test_a_discriminator_that_stays_below_w1_is_refused(records):
    low = judge(changed(records, mcr=lambda models: 0.9 * models["mcr"]))
    assert not low[0].holds
    assert verdict(low) == "not"


def test_a_network_above_w1_is_refused(records):
    above = changed(records, mcr=lambda models: 1.001 * models["limit"])
    assert [check.holds for check in judge(above) if check.statement.startswith("no network")] == [False]


def test_the_other_direction_is_refused(records):
    swapped = changed(records, tau=lambda models: models["tau"].map({0.0: 100, 0.1: 0.1, 100.0: 0}))
    checks = judge(swapped)
    assert not checks[0].holds
    assert verdict(checks) == "not"
    by_name = {check.statement: check.holds for check in checks if check.statement.startswith("stripes")}
    assert [holds for statement, holds in by_name.items() if "as tau falls" in statement] == [False]
    assert [holds for statement, holds in by_name.items() if "its limit" in statement] == [False]
    assert [holds for statement, holds in by_name.items() if "less that of KR" in statement] == [False]


def test_a_loss_other_than_kr_cannot_reach_w1_for_it(records):
    low = changed(records, mcr=lambda models: models["mcr"].where(models["tau"] > 0, 0.9 * models["mcr"]))
    assert judge(low)[2].holds  # other networks are still at W1 / 2, and none is above
    assert not judge(low)[0].holds
    assert tell(low).startswith("What fails: stripes: the MCR of KR")


def test_the_mcr_is_the_mean_of_y_f_over_the_bound():
    module = nn.Sequential(nn.Linear(2, 1))
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor([[3.0, 4.0]]))  # norm 5
        module[0].bias.fill_(-1)
    x, labels = np.array([[0, 0], [1, 1], [1, 0]], np.float32), np.array([0, 1, 0])
    np.testing.assert_allclose(signed_margins(module, x, labels), [1 / 5, 6 / 5, -2 / 5])
    assert mcr(module, x, labels) == pytest.approx(1 / 3)


def test_narrow_networks_do_not_count_for_the_claim(records):
    assert set(records["models"].query("data == 'images'")["width"]) == {16, 8}
    lifted = changed(records, mcr=lambda models: models["mcr"].where(models["width"] != 8, models["limit"]))
    assert judge(lifted)[1] == judge(records)[1]
