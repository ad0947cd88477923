"""The k-th smallest of some numbers."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dynamic_layer.counts.item_weights import kth_smallest

NUMBERS = st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=200)


@given(NUMBERS, st.data())
def test_it_is_what_sorting_gives(values: list[float], data: st.DataObject) -> None:
    k = data.draw(st.integers(0, len(values) - 1))
    found = np.array(values, np.float32)
    assert kth_smallest(found, k) == np.sort(np.array(values, np.float32))[k]
    assert np.array_equal(np.sort(found), np.sort(np.array(values, np.float32)))
