"""`consistency`, with few seeds, and its training sets."""

import numpy as np
import pandas as pd
import pytest

from lipbench.experiments.claims import consistency
from lipbench.experiments.claims.consistency import CLEAN, EXPERIMENT, FREE, NOISY, Settings
from lipbench.experiments.experiment import verdict
from lipbench.experiments.measures import logits
from tests.support.labs import lab

TINY = Settings(
    data=("digits",), widths=(64, 64), taus=(0.25,), unit=7.0, parts={NOISY: (27, 9), CLEAN: (27, 9)},
    noise={NOISY: 0.2, CLEAN: 0.0}, seeds=3, epochs=6, passes=6, batch_size=216, learning_rate=2e-2,
)  # fmt: skip


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """The lab, and records whose largest part stands for the whole training set."""
    place = lab(tmp_path_factory.mktemp("consistency"))
    records = EXPERIMENT.measure(place, TINY)
    frame = records["accuracies"]
    return place, {"accuracies": frame.assign(share=frame.share.where(frame.share < 1 / 9, 1.0))}


def swapped(records):
    """The unconstrained network's accuracies for those of the smallest tau, and the other way round."""
    frame = records["accuracies"]
    return {"accuracies": frame.assign(tau=frame.tau.map({0.25: FREE, FREE: 0.25}))}


def test_a_small_tau_generalises_where_labels_are_noisy(measured):
    checks = EXPERIMENT.judge(measured[1])
    assert checks[0].holds
    assert checks[2].ours > 5  # points: the gap falls
    reversed_checks = EXPERIMENT.judge(swapped(measured[1]))
    assert verdict(reversed_checks) == "not"
    assert reversed_checks[0].ours == pytest.approx(-checks[0].ours)


def test_a_gap_that_rises_with_the_training_set_does_not_close(measured):
    frame = measured[1]["accuracies"]
    turned = frame.assign(share=frame.share.where(frame.share == 1, 2).map({2.0: 1.0, 1.0: 1 / 27}))
    check = EXPERIMENT.judge({"accuracies": turned})[2]
    assert not check.holds
    assert check.ours < -5


def made(falls):
    """Records of two seeds in which gaps fall by given points to 10, by (labels, tau)."""
    rows = [
        {"labels": labels, "seed": seed, "tau": tau, "share": share, "train": 1.0, "validation": 0.9 - (
            (falls[labels, tau] + seed / 10) / 100 if share < 1 else 0)}
        for (labels, tau) in falls for seed in range(2) for share in (0.1, 1.0)
    ]  # fmt: skip
    return {"accuracies": pd.DataFrame(rows)}


def test_an_unconstrained_gap_that_falls_does_not_stay():
    records = made({(NOISY, 0.25): 20, (NOISY, FREE): 2, (CLEAN, 0.25): 20, (CLEAN, FREE): 30})
    checks = EXPERIMENT.judge(records)
    assert [check.holds for check in checks[4:]] == [True, False, True, False]
    assert [check.ours for check in checks[6:]] == pytest.approx([2.05, 30.05])
    told = EXPERIMENT.tell(records)
    assert "With noisy labels, the unconstrained network's gap stays" in told
    assert "With clean labels, the unconstrained network's gap does not stay: it falls by 30.0" in told


def test_the_worst_tau_is_the_one_whose_interval_ends_lowest():
    records = made({(kind, tau): 20 for kind in (NOISY, CLEAN) for tau in (0.25, 1.0, FREE)})
    frame = records["accuracies"]
    spread = frame.validation.where((frame.tau != 1) | (frame.share == 1) | (frame.seed == 0), 0.3)  # a larger mean
    check = EXPERIMENT.judge({"accuracies": frame.assign(validation=spread)})[2]
    assert not check.holds
    assert check.ours > 30


def test_accuracies_are_of_the_distinct_training_samples_and_of_the_others(measured):
    place, records = measured
    row = records["accuracies"].query("labels == @NOISY and seed == 1 and n == 48 and tau == @FREE").iloc[0]
    task = consistency.Task(TINY, NOISY, 27, 1)
    n, samples = consistency.training_set(place, task)
    module = place.train(consistency.recipe(TINY, 1), samples, zoo="zoos/noisy-27-1")[1].module
    for split, share in ((samples.train.first(n), row.train), (samples.test, row.validation)):
        assert (logits(module, split.x).argmax(1).numpy() == split.labels).mean() == pytest.approx(share)


def test_training_sets_are_nested_and_apart_from_validation(tmp_path):
    digits = lab(tmp_path).dataset("digits")
    images = np.concatenate([digits.train.images, digits.test.images])
    labels = np.concatenate([digits.train.labels, digits.test.labels])
    true = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}
    sets = {
        (kind, part): consistency.training_set(lab(tmp_path), consistency.Task(TINY, kind, part, 0))
        for kind in (NOISY, CLEAN) for part in (27, 3)
    }  # fmt: skip
    for (kind, part), (n, samples) in sets.items():
        assert n == 1297 // part
        assert len(samples.train.labels) == 6 * 1297
        distinct = {image.tobytes() for image in samples.train.images}
        assert distinct == {image.tobytes() for image in samples.train.images[:n]}
        assert not distinct & {image.tobytes() for image in samples.test.images}
        wrong = np.mean([true[x.tobytes()] != y for x, y in zip(samples.test.images, samples.test.labels, strict=True)])
        assert wrong == pytest.approx(0.18 if kind == NOISY else 0, abs=0.05)
    small, large = sets[NOISY, 27][1].train, sets[NOISY, 3][1].train
    assert np.array_equal(small.images[:48], large.images[:48])
    assert np.array_equal(small.labels[:48], large.labels[:48])
