"""The claim that the nearest neighbour has the largest certificates."""

import pytest

from lipbench.experiments.claims.nearest_neighbour import CHECKED, NEAREST, Settings, judge, measure, tell
from lipbench.experiments.experiment import verdict
from tests.support.labs import lab

TINY = Settings("digits", (64,), 12, 128, 1e-2, (1, 256), (0.5,), (0, 1), 20, 5)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return measure(lab(tmp_path_factory.mktemp("nearest")), TINY)


def by_words(records, words):
    [check] = [check for check in judge(records) if words in check.statement]
    return check


def test_1nn_on_its_own_references(records):
    assert by_words(scaled(records, 0.9), "smallest radius").holds
    assert by_words(records, "boundary").holds
    ceiling, radii = records["ceiling"].iloc[0], records["train"][NEAREST]
    assert radii.min() == pytest.approx(ceiling["smallest"])
    assert radii.mean() < ceiling["mean"] < 2 * radii.mean()
    assert (records["test"][NEAREST] > 0).mean() == pytest.approx(0.984, abs=0.01)


def networks(records):
    return list(records["networks"]["name"])


def scaled(records, factor):
    """With 1-NN's radii times a factor for those of every network."""
    train, test = records["train"].copy(), records["test"].copy()
    for frame in (train, test):
        for name in networks(records):
            frame[name] = factor * frame[NEAREST]
    return {**records, "train": train, "test": test}


def test_networks_with_larger_radii_refute_the_claim(records):
    reversed_ = scaled(records, 1.1)
    assert not by_words(reversed_, "mean radius").holds
    assert verdict(judge(reversed_)) == "not"
    assert not by_words(reversed_, "smallest radius").holds  # no true certificates could be so large
    assert not by_words(reversed_, "training set: 1-NN's certified accuracy at eps = 1.2 ").holds
    assert tell(reversed_).startswith("On the test set, 1-NN is behind the best networks at ")


def test_networks_with_smaller_radii_confirm_it(records):
    assert verdict(judge(scaled(records, 0.9))) == "held"


def test_without_a_network_that_fits_there_is_nothing_to_compare_with(records):
    train = records["train"].copy()
    train.loc[0, networks(records)] = 0.0
    assert not by_words({**records, "train": train}, "mean radius").holds
    assert not by_words({**records, "train": train}, "smallest radius").holds


def test_1nn_itself_has_to_attain_half_the_smallest_distance(records):
    ceiling = records["ceiling"] * 1.001
    assert not by_words({**scaled(records, 0.9), "ceiling": ceiling}, "smallest radius").holds


def test_a_lead_that_may_be_negative_is_no_lead(records):
    test = records["test"].copy()
    chosen = networks(records)
    for name in chosen:
        test[name] = test[NEAREST]
    test.loc[test.index[:3], chosen] = 0.3  # of 500: 1-NN is behind by about half a point, perhaps by more than one
    test.loc[test.index[:3], NEAREST] = 0.0
    check = by_words({**records, "test": test}, "eps = 0.25 ")
    assert check.lo < -1 < check.ours < 0
    assert not check.holds


def test_an_eps_that_nobody_reaches_is_not_judged(records):
    test = records["test"].clip(upper=0.4)
    statements = [check.statement for check in judge({**records, "test": test})]
    assert not [statement for statement in statements if statement.startswith("test") and "eps = 0.5 " in statement]


def test_a_boundary_within_the_certificate_is_refused(records):
    boundary = records["boundary"].copy()
    boundary.iloc[3, boundary.columns.get_loc("distance")] *= 0.5
    assert not by_words({**records, "boundary": boundary}, "boundary").holds


def test_few_checks_are_made_on_both_sets(records):
    train, test = records["train"].copy(), records["test"].copy()
    for frame in (train, test):
        for name in networks(records):
            frame[name] = frame[NEAREST] + 0.4  # every eps is reached
    statements = [check.statement for check in judge({**records, "train": train, "test": test})]
    assert len(statements) == 8
    for split, words in (("train", "training set: 1-NN's "), ("test", "test set: 1-NN's ")):
        judged = [one for one in statements if one.startswith(words) and "radius" not in one]
        assert len(judged) == len(CHECKED[split])
