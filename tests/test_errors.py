"""What messages quote."""

import pickle

import numpy as np
import pytest

from lipbench.errors import LONGEST, LipbenchError, closest, quoted, unknown_name

LONG = {
    "text": "a" * 5000,
    "list": ["a" * 5000],
    "words": "a b " * 900,
    "numbers": list(range(10**6)),
    "table": {"k": "v" * 999},
    "array": np.zeros((99, 99)),
    "number": 10**5000,
}


@pytest.mark.parametrize("value", LONG.values(), ids=LONG)
def test_a_quoted_value_is_short_and_on_one_line(value):
    shown = quoted(value)
    assert len(shown) <= LONGEST
    assert "\n" not in shown


def test_short_values_are_quoted_in_full():
    assert quoted("x" * 100) == repr("x" * 100)
    assert quoted("two\nlines") == r"'two\nlines'"


def test_a_message_has_no_word_longer_than_that():
    error = LipbenchError(f"no zoo at {'d/' * 900}: see {'x' * LONGEST}")
    assert [len(word) for word in str(error).split()] == [2, 3, 2, LONGEST, 3, LONGEST]
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_an_unknown_name_has_the_closest_one_and_not_hundreds():
    known = [f"model{number:03}" for number in range(300)]
    said = str(unknown_name("model", "modle007", known))
    assert "did you mean 'model007'?" in said
    assert said.endswith("model019 and 280 more")
    assert closest("x" * 10**6, known) is None
