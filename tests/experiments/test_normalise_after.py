"""`normalise-after`, on few samples, and the normalised network."""

import pandas as pd
import pytest
import torch

import lipbench
from lipbench.experiments.claims import normalise_after
from lipbench.experiments.claims.normalise_after import CONSTRAINED, EXPERIMENT, NORMALISED, Settings
from lipbench.experiments.experiment import verdict
from tests.support.labs import lab

TINY = Settings(
    data=("digits",), architectures={"mlp": {"widths": [32]}}, tau=4.0, epochs=8, batch_size=64,
    learning_rate=1e-2, seeds=2, eps=(0.3,), samples=60,
)  # fmt: skip


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    place = lab(tmp_path_factory.mktemp("normalise"))
    return place, EXPERIMENT.measure(place, TINY)


def test_training_under_the_constraint_gives_the_larger_certificates(measured):
    samples = measured[1]["samples"]
    checks = EXPERIMENT.judge(measured[1])
    assert checks[0].ours > 10
    turned = samples.assign(training=samples.training.map({CONSTRAINED: NORMALISED, NORMALISED: CONSTRAINED}))
    reversed_checks = EXPERIMENT.judge({**measured[1], "samples": turned})
    assert verdict(reversed_checks) == "not"
    assert reversed_checks[0].ours == pytest.approx(-checks[0].ours)


@pytest.mark.parametrize(
    ("certified", "words"),
    [((0, 0, 4, 20), "the mean, 6.0 %, is below 10 %, but seeds differ"), ((40, 40, 44, 50), "44 % of samples")],
)
def test_why_certificates_are_not_useless_is_read_off_the_records(certified, words):
    cases = [(seed, share, training) for seed, share in enumerate(certified) for training in (CONSTRAINED, NORMALISED)]
    samples = [
        {
            "architecture": "mlp", "training": training, "seed": seed, "sample": sample, "correct": True, "plain": 0.01,
            "pairwise": 0.2 if sample < share or training == CONSTRAINED else 0.01, "distance": 1.0,
        }
        for seed, share, training in cases for sample in range(100)
    ]  # fmt: skip
    networks = [
        {"architecture": "mlp", "seed": seed, "bound": 9.0, "bound_after": 1.0, "samples": 100, "same": 100}
        for seed in range(len(certified))
    ]
    records = {"networks": pd.DataFrame(networks), "samples": pd.DataFrame(samples)}
    check = EXPERIMENT.judge(records)[2]
    assert not check.holds
    assert 0 <= check.lo <= check.ours <= check.hi
    assert f"mlp, the tightest bound: {words}" in EXPERIMENT.tell(records)


def test_the_radii_of_the_constant_are_those_of_a_1_lipschitz_network(measured):
    samples = measured[1]["samples"]
    assert (samples.plain <= samples.pairwise * (1 + 1e-6) + 1e-9).all()  # the pairwise bound is never looser
    assert (samples.pairwise[samples.correct] <= samples.distance[samples.correct]).all()


def test_a_normalised_network_has_constant_1_and_the_same_logits_but_for_a_factor(measured):
    place, records = measured
    digits = place.dataset("digits")
    model = place.train(normalise_after.recipe(TINY), digits)[0]
    bound = lipbench.lipschitz_bound(model.module, (1, 8, 8))
    divided = normalise_after.normalise(model.module, bound)
    assert lipbench.lipschitz_bound(divided, (1, 8, 8)) == pytest.approx(1, abs=1e-6)
    x = torch.from_numpy(digits.test.x[:50])
    torch.testing.assert_close(divided(x) * bound, model.module(x), rtol=1e-4, atol=1e-4)
    assert records["networks"].bound[0] == pytest.approx(bound)
    assert records["networks"].same.tolist() == [500, 500]
