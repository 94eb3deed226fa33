"""The sharpness of a boundary in one dimension."""

import numpy as np
import pandas as pd
import pytest

from lipbench.experiments.claims.temperature_1d import EXPERIMENT, MEANS, Settings, densities
from lipbench.experiments.experiment import Records
from lipbench.report import style
from tests.support.labs import lab

TINY = Settings(taus=(1, 64), shapes=((32, 32), (32, 16, 16)), seeds=(0, 1), samples=400, steps=120, batch_size=100)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Records:
    """Eight networks."""
    return EXPERIMENT.measure(lab(tmp_path_factory.mktemp("temperature")), TINY)


def test_the_boundary_sharpens_with_tau(measured: Records) -> None:
    widths = measured["widths"].pivot_table(index=["architecture", "seed"], columns="tau", values="width")
    assert (widths[64] < widths[1]).all()
    check = EXPERIMENT.judge(measured)[0]
    assert -1.3 < check.ours < -0.2


def test_no_boundary_is_sharper_than_a_1_lipschitz_function_allows(measured: Records) -> None:
    """A wrong unit of the inputs would break it, or make widths 18 times as large."""
    ratio = measured["widths"]["width"] * measured["widths"]["tau"] / (2 * np.log(9))
    assert ratio.min() > 1 - 1e-4
    assert ratio[measured["widths"]["tau"] == 1].median() < 10


def table() -> Records:
    """Widths that are in proportion to 1 / tau, the same for both shapes but for a little."""
    rows = [
        {"architecture": shape, "tau": tau, "seed": seed, "boundaries": 5, "accuracy": 0.9}
        | {"width": (1 + 0.01 * seed + 0.02 * place) * 4.39 / tau}
        for place, shape in enumerate(("64-32", "64-64"))
        for tau in (1.0, 4.0, 64.0)
        for seed in range(3)
    ]
    return {"widths": pd.DataFrame(rows)}


def test_widths_in_proportion_to_1_over_tau_hold() -> None:
    checks = EXPERIMENT.judge(table())
    assert all(check.holds for check in checks)
    assert checks[0].ours == pytest.approx(-1)
    assert checks[2].ours + checks[3].ours == pytest.approx(100, abs=0.1)


def test_the_reverse_does_not_hold() -> None:
    records = table()
    records["widths"]["width"] = 1 / records["widths"]["width"]
    first, second, *_ = EXPERIMENT.judge(records)
    assert not first.holds
    assert not second.holds


def test_a_shape_that_sets_the_width_is_seen() -> None:
    """tau and shape change places: widths differ by shape alone."""
    records = table()
    widths = records["widths"]
    widths["width"] = np.where(widths["architecture"] == "64-32", 1.0, 8.0) * (1 + 0.01 * widths["seed"])
    *_, tau, shape = EXPERIMENT.judge(records)
    assert not tau.holds
    assert not shape.holds
    assert shape.ours > 95


def test_the_mixture_has_its_classes_in_turns() -> None:
    x = np.linspace(-12, 12, 24001)
    first, second = densities(x)
    assert np.trapezoid(first + second, x) == pytest.approx(1, abs=1e-6)
    at_means = np.interp(MEANS, x, second - first) > 0
    assert at_means.tolist() == [False, True] * 3


def test_the_figure_and_the_text_show_every_temperature_and_shape(measured: Records) -> None:
    with style.look():
        left, right = EXPERIMENT.draw(measured).axes
    assert [text for text in left.get_legend_handles_labels()[1] if "τ" in text] == ["τ = 1", "τ = 64"]
    assert {"32-32", "32-16-16"} <= set(right.get_legend_handles_labels()[1])
    assert "at tau = 64" in EXPERIMENT.tell(measured)
