"""`lipschitz-growth`, on few samples, and what it measures of a network."""

import pandas as pd
import pytest

from lipbench.experiments.claims import lipschitz_growth
from lipbench.experiments.claims.lipschitz_growth import ADAM, CONSTRAINED, EXPERIMENT, SGD, Settings
from lipbench.experiments.experiment import verdict
from tests.support.labs import lab

TINY = Settings(
    data=("digits",), channels=(2,), widths=(8,), tau=4.0, epochs=(1, 6), batch_size=216,
    learning_rates={ADAM: 1e-2, SGD: 1e-1, CONSTRAINED: 1e-2}, seeds=3, eps=0.3, samples=20,
)  # fmt: skip


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    place = lab(tmp_path_factory.mktemp("growth"))
    return place, EXPERIMENT.measure(place, TINY)


def test_the_constant_grows_unless_training_is_run_backwards(measured):
    frame = measured[1]["epochs"]
    checks = EXPERIMENT.judge({"epochs": frame})
    assert checks[0].holds
    assert checks[0].ours > 1
    assert checks[-1].holds  # the constrained bound
    backwards = EXPERIMENT.judge({"epochs": frame.assign(epoch=frame.epoch.map({1: 6, 6: 1}))})
    assert verdict(backwards) == "not"
    swapped = frame.network.map({ADAM: CONSTRAINED, SGD: SGD, CONSTRAINED: ADAM})
    assert not EXPERIMENT.judge({"epochs": frame.assign(network=swapped)})[-1].holds


def test_few_epochs_are_the_beginning_of_many(measured):
    place, _ = measured
    models = place.train(lipschitz_growth.recipe(TINY), place.dataset("digits"))
    short_ones = [model for model in models if len(model.history) == 1]
    long_ones = [model for model in models if len(model.history) == 6]
    kept = ["loss", "train_accuracy"]
    for short, long in zip(short_ones, long_ones, strict=True):
        assert short.card.seed == long.card.seed
        pd.testing.assert_frame_equal(short.history[kept], long.history[kept].head(1))


def test_the_largest_gradient_is_between_0_and_the_bound(measured):
    frame = measured[1]["epochs"]
    assert (frame.gradient > 0).all()
    assert (frame.gradient <= frame.bound * (1 + 1e-9)).all()


@pytest.mark.parametrize(("sign", "words"), [(1, "does not grow"), (-1, "Vulnerability grows with the constant")])
def test_the_text_begins_with_what_became_of_robust_accuracy(sign, words):
    rows = [
        {
            "network": network, "epoch": epoch, "seed": seed, "eps": 0.3, "bound": epoch + seed / 10, "accuracy": 0.9,
            "robust": 0.5 + (0 if network == CONSTRAINED else sign * 0.1 * epoch) + seed / 100, "gradient": 1.0,
            "frobenius": 1.0, "spectral": 1.0, "margin": 2.0 * epoch, "linear": 1.0,
        }
        for network in (ADAM, SGD, CONSTRAINED) for epoch in (1, 2) for seed in range(2)
    ]  # fmt: skip
    told = EXPERIMENT.tell({"epochs": pd.DataFrame(rows)})
    assert words in told.split(".")[0]
    assert f"it changes by {10 * sign:+.1f}" in told
