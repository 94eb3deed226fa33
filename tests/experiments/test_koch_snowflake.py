"""koch-snowflake: what is judged of a network, on functions whose figures are known."""

import numpy as np
import pandas as pd
import pytest
import torch

from lipbench.experiments.claims import koch_snowflake
from lipbench.experiments.claims.koch_snowflake import ITERATIONS, RATIOS, RelativeDistance, Settings, Square, judged
from lipbench.experiments.snowflake import distances, inside, pixels, snowflake
from tests.support.labs import lab

SIDE = 100


@pytest.fixture(scope="module")
def square():
    corners, points = snowflake(ITERATIONS), pixels(SIDE)
    return Square(points, inside(points, corners), distances(points, corners), corners)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    settings = Settings(seeds=(0,), side=SIDE, samples=20_000, widths=(32,) * 4, epochs=8, batch_size=200, offset=0.05)
    return koch_snowflake.measure(lab(tmp_path_factory.mktemp("koch")), settings)


def test_a_small_network_comes_near_the_snowflake_and_its_certificate_is_sound(records):
    found = records["models"].iloc[0]
    error, right, ratio, own, largest, _ = koch_snowflake.judge(records)
    assert found["bound"] == pytest.approx(1 / koch_snowflake.UNIT, rel=1e-4)
    assert found["right"] > 0.93
    assert 0 < found["error_mean"] < found["error_95"] < found["error_max"] < 0.08
    assert ratio.ours > 0.5
    assert own.holds
    assert 0.5 < own.ours <= 1
    assert (error.ours, largest.ours) == (100 * found["error_95"], 100 * found["error_max"])
    assert not right.holds  # so small a network does not fit the spikes
    assert records["ratios"]["pixels"].sum() > 0.7 * SIDE**2


def test_the_claim_fails_where_one_network_of_two_is_worse(records):
    good = records["models"].assign(error_95=0.005, error_max=0.009, right=0.995, ratio_median=0.95, own_max=0.99)
    assert all(check.holds for check in koch_snowflake.judge({**records, "models": good}))
    bad = good.assign(error_95=0.011, error_max=0.011, right=0.98, ratio_median=0.89, own_max=1.001)
    both = {**records, "models": pd.concat([good, bad])}
    assert not any(check.holds for check in koch_snowflake.judge(both))


@pytest.mark.parametrize("share", [1.0, 0.8])
def test_the_signed_distance_itself_is_judged_faultless(square, share):
    """Its crossings are points of the snowflake; a share of it has that ratio everywhere."""
    on = koch_snowflake.outline(square.corners, 20)
    signed = np.where(square.inside, 1, -1) * square.distance
    row, ratio = judged(square, share * signed, np.stack([on, on], axis=1))
    assert row["right"] == 1
    assert row["error_max"] < 1e-9
    np.testing.assert_allclose(ratio, share)
    assert share - 0.05 < row["own_max"] <= share + 1e-9


def test_a_boundary_that_is_too_far_out_is_measured_as_such(square):
    """A circle around the snowflake: the distance both ways, and pixels between them are wrong, with the ratio 0."""
    radius = 0.45 - np.linalg.norm(square.points - 0.5, axis=1)
    angles = np.linspace(0, 2 * np.pi, 2000)
    on = 0.5 + 0.45 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    row, ratio = judged(square, radius, np.stack([on, on], axis=1))
    between = (radius > 0) & ~square.inside
    assert row["right"] == pytest.approx(1 - between.mean())
    assert row["error_max"] == pytest.approx(0.45 - np.linalg.norm(square.corners - 0.5, axis=1).min(), rel=0.01)
    assert (ratio == 0).sum() == (between & (square.distance > koch_snowflake.BAND)).sum()
    assert row["own_max"] == pytest.approx(1, abs=1e-3)  # it is the signed distance to its own boundary


def test_the_loss_is_the_mean_relative_error():
    value = RelativeDistance(0.5)(torch.tensor([[1.0], [-2.0]]), torch.tensor([0.5, -1.5]))
    assert value.item() == pytest.approx((0.5 / 1 + 0.5 / 2) / 2)


def test_the_figure_and_the_text(records):
    figure = koch_snowflake.draw(records)
    assert len(figure.axes) == 3
    assert f"{records['models']['error_mean'][0]:.2%}" in koch_snowflake.tell(records)
    assert len(RATIOS) == len(records["ratios"]) + 1
