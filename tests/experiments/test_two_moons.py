"""two-moons: the trade between accuracy and certificates, and a verdict that follows its direction."""

import numpy as np
import pytest

from lipbench.experiments.claims import two_moons
from lipbench.experiments.claims.two_moons import GAP, Settings
from lipbench.experiments.experiment import verdict
from tests.support.labs import lab

LOW, HIGH = 0.5, 10.0


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    settings = Settings(seeds=(0, 1, 2), taus=(LOW, HIGH), samples=1000, widths=(32, 32), epochs=12)
    return two_moons.measure(lab(tmp_path_factory.mktemp("moons")), settings)


def test_the_claim_holds_at_a_tiny_scale(records):
    accuracy, certified, mcr = two_moons.judge(records)
    assert accuracy.holds
    assert certified.holds
    assert mcr.holds
    assert accuracy.ours > 3
    assert "seeds" in accuracy.over


def test_the_claim_fails_where_the_temperatures_are_swapped(records):
    swapped = {name: frame.copy() for name, frame in records.items()}
    for name in ("models", "curves"):
        swapped[name]["tau"] = swapped[name]["tau"].map({LOW: HIGH, HIGH: LOW})
    checks = two_moons.judge(swapped)
    assert not any(check.holds for check in checks)
    assert verdict(checks) == "not"
    assert two_moons.tell(swapped).startswith("What fails: clean accuracy rises")


def test_records_agree_with_one_another(records):
    """The clean accuracy is the curve's value at 0; the maps show both classes, and radii that no point exceeds."""
    at_zero = records["curves"].query("eps == 0").set_index(["tau", "seed"])["certified_accuracy"]
    clean = records["models"].set_index(["tau", "seed"])["accuracy"]
    np.testing.assert_allclose(at_zero[clean.index], clean)
    for _, found in records["maps"].groupby("tau"):
        radius = found["radius"].to_numpy().reshape(two_moons.GRID[::-1])
        assert radius.min() < 0 < radius.max()
        step = np.diff(found["x"].unique())[0]
        assert np.abs(np.diff(radius, axis=1)).max() <= step * 1.0001  # f / L is 1-Lipschitz in the moons' units


def test_the_figure_and_the_text(records):
    figure = two_moons.draw(records)
    assert len(figure.axes) == 2 + 2
    assert f"certified at {GAP:g}" in two_moons.tell(records)
