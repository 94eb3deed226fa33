import numpy as np
import pytest
from scipy.stats import binomtest

from lipbench.report import intervals


@pytest.mark.parametrize(("count", "n"), [(0, 7), (7, 7), (4, 5), (353, 360), (1, 1)])
def test_interval_is_that_of_clopper_and_pearson(count, n):
    expected = binomtest(count, n).proportion_ci(0.95, method="exact")
    assert intervals.clopper_pearson(count, n) == pytest.approx((expected.low, expected.high), abs=1e-10)


@pytest.mark.parametrize("n", [4, 5, 20])
def test_the_interval_of_a_perfect_order_shrinks_with_the_points(n):
    low, high = intervals.spearman_interval(1.0, n)
    assert high == 1
    assert -1 < low < 1
    assert intervals.spearman_interval(1.0, n + 1)[0] > low
    assert intervals.spearman_interval(-1.0, n) == (-high, -low)
    assert np.isnan(intervals.spearman_interval(1.0, 3)).all()
    assert np.isnan(intervals.spearman_interval(float("nan"), n)).all()
