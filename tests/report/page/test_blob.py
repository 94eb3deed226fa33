import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lipbench.report.page.blob import Blob, unpack


@given(st.lists(st.tuples(st.booleans(), st.lists(st.integers(0, 255), max_size=50)), max_size=8))
def test_every_array_comes_back(parts):
    blob = Blob()
    arrays = [np.array(values, dtype=np.uint16 if wide else np.uint8) for wide, values in parts]
    places = [blob.add(array) for array in arrays]
    text = blob.text()
    for array, place in zip(arrays, places, strict=True):
        assert place[0] % 2 == 0  # where a Uint16Array can start
        assert unpack(text, place, array.dtype).tolist() == array.tolist()


@pytest.mark.parametrize("order", ["<u2", ">u2"])
def test_words_are_little_endian_whatever_the_machine(order):
    blob = Blob()
    place = blob.add(np.array([1, 258], dtype=order))
    assert unpack(blob.text(), [place[0], 4], np.uint8).tolist() == [1, 0, 2, 1]
