import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lipbench.report.page.codes import INFINITE, Scale

RADII = st.floats(0, 50, allow_nan=False) | st.just(np.inf)
GRID = st.lists(st.floats(1e-4, 10), min_size=1, max_size=8, unique=True).map(sorted)


def at_and_beside(grid):
    """Each eps, and its neighbours among the numbers of float64."""
    return [f(eps) for eps in grid for f in (float, lambda e: np.nextafter(e, 0), lambda e: np.nextafter(e, np.inf))]


@given(GRID, st.lists(RADII, max_size=40))
def test_codes_compare_with_the_eps_of_the_suite_as_bounds_do(grid, given_bounds):
    bounds = np.array([*given_bounds, *at_and_beside(grid)])
    scale = Scale.of(grid, bounds)
    codes = scale.encode(bounds)
    for place, eps in enumerate(grid, 1):
        level = place * scale.cells  # as the page computes it
        assert ((codes > level) == (bounds > eps)).all()


@given(GRID, st.lists(RADII, min_size=1, max_size=40))
def test_a_code_gives_back_its_bound_up_to_a_cell(grid, given_bounds):
    bounds = np.array(given_bounds)
    scale = Scale.of(grid, bounds)
    found = scale.decode(scale.encode(bounds))
    width = max(np.diff(scale.knots)) / scale.cells
    finite = np.isfinite(bounds)
    assert (found[~finite] == np.inf).all()
    error = found[finite] - bounds[finite]
    assert (error > -1e-9).all()
    assert (error < width * (1 + 1e-6) + 1e-9).all()


@pytest.mark.parametrize(
    ("eps", "bounds", "codes"),
    [
        ([1.0], [0.0, 0.5, 1.0, 1.5, 2.0, np.inf], [0, 16384, 32767, 49151, 65534, INFINITE]),
        ([1.0], [1e-300], [1]),  # above 0
        ([0.5, 1.0], [0.5, 1.0, 4.0], [21844, 43688, 65532]),
    ],
)
def test_codes_of_a_few_bounds(eps, bounds, codes):
    assert Scale.of(eps, np.array(bounds)).encode(np.array(bounds)).tolist() == codes


def test_no_samples():
    scale = Scale.of([0.5], np.array([]))
    assert scale.encode(np.array([])).tolist() == []
    assert scale.knots == (0.0, 0.5, 1.0)
