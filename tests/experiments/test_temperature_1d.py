"""The sharpness of a boundary in one dimension."""

import numpy as np
import pandas as pd
import pytest

from lipbench.experiments.claims.temperature_1d import EXPERIMENT, MEANS, Settings, densities
from lipbench.experiments.experiment import Records, verdict
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


def test_the_control_is_not_bound_to_be_1_lipschitz(measured: Records) -> None:
    control = measured["control"]
    assert len(control) == len(measured["widths"])
    assert (control["width"] * control["tau"] / (2 * np.log(9))).min() < 1


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
    widths = pd.DataFrame(rows)
    ends = widths[widths["tau"] != 4]
    return {"widths": widths, "control": ends.assign(width=0.4 + 0.01 * ends["seed"])}


def test_widths_in_proportion_to_1_over_tau_hold() -> None:
    checks = EXPERIMENT.judge(table())
    assert all(check.holds for check in checks)
    assert checks[0].ours == pytest.approx(-1)
    assert checks[1].ours == pytest.approx(-1)
    assert checks[-1].ours == pytest.approx(1.02, abs=1e-3)
    assert checks[3].ours + checks[4].ours == pytest.approx(100, abs=0.1)


def test_the_reverse_does_not_hold() -> None:
    records = table()
    records["widths"]["width"] = 1 / records["widths"]["width"]
    first, second, third, *_ = EXPERIMENT.judge(records)
    assert not first.holds
    assert not second.holds
    assert not third.holds
    assert EXPERIMENT.tell(records).startswith("What fails: the boundary sharpens with tau")


@pytest.mark.parametrize("power", [1, 2])
def test_slopes_that_undo_tau_do_not_hold(power: int) -> None:
    """|f'| falls as 1 / tau or 1 / tau^2: the width no longer falls, although tau is a part of it."""
    records = table()
    widths = records["widths"]
    slope = (
        (0.9 + 0.01 * widths["seed"])
        * widths["tau"] ** -float(power)
        * (1 + 0.01 * (widths["seed"] - 1) * np.log(widths["tau"]))
    )
    widths["width"] = 2 * np.log(9) / (widths["tau"] * slope)
    checks = EXPERIMENT.judge(records)
    assert checks[0].ours == pytest.approx(power - 1, abs=0.05)
    assert verdict(checks) == "not"


def test_a_control_that_sharpens_as_much_is_seen() -> None:
    records = table()
    records["control"] = records["widths"][records["widths"]["tau"] != 4]
    second = EXPERIMENT.judge(records)[1]
    assert not second.holds
    assert second.ours == pytest.approx(0)


def test_a_network_without_a_boundary_is_left_out() -> None:
    records = table()
    records["widths"].loc[[0, 11], "width"] = np.nan
    assert all(check.holds for check in EXPERIMENT.judge(records))


def test_a_shape_that_sets_the_width_is_seen() -> None:
    """tau and shape change places: widths differ by shape alone."""
    records = table()
    widths = records["widths"]
    widths["width"] = np.where(widths["architecture"] == "64-32", 1.0, 8.0) * (1 + 0.01 * widths["seed"])
    *_, tau, shape, alike = EXPERIMENT.judge(records)
    assert not tau.holds
    assert not shape.holds
    assert shape.ours > 95
    assert not alike.holds
    assert alike.ours == pytest.approx(8)


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
    assert {"32-32", "32-16-16", "unconstrained"} <= set(right.get_legend_handles_labels()[1])
    assert "at tau = 64" in EXPERIMENT.tell(measured)
