"""Numbers in sentences: bounds that are printed stay bounds."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lipbench._internal.words import at_least, at_most

NUMBERS = st.floats(-1e12, 1e12, allow_nan=False) | st.floats(1e-12, 10)


@given(NUMBERS, st.integers(1, 15))
def test_a_printed_upper_bound_is_not_below_the_bound_and_is_close(bound, digits):
    assert bound <= float(at_most(bound, digits)) <= bound + 1.0000001 * 10.0 ** (1 - digits) * abs(bound)


@given(NUMBERS, st.integers(1, 15))
def test_a_printed_lower_bound_is_not_above_the_bound_and_is_close(bound, digits):
    assert bound >= float(at_least(bound, digits)) >= bound - 1.0000001 * 10.0 ** (1 - digits) * abs(bound)


@pytest.mark.parametrize(
    ("bound", "digits", "above", "below"),
    [
        (math.sqrt(2), 6, "1.41422", "1.41421"),
        (1.12890415, 5, "1.129", "1.1289"),
        (0.99, 9, "0.99", "0.99"),
        (1.0, 9, "1", "1"),
        (9.99999, 3, "10", "9.99"),
        (0.0, 9, "0", "0"),
        (math.inf, 9, "inf", "inf"),
    ],
)
def test_digits(bound, digits, above, below):
    assert (at_most(bound, digits), at_least(bound, digits)) == (above, below)
