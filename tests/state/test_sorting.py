"""Selecting and ordering in compiled code: the k-th smallest of some numbers, and their order."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.sorting import kth_smallest, order_of

NUMBERS = st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=200)
FORMS = pytest.mark.parametrize("form", [np.float32, np.float64, np.int64])


def _array(values: list[float], form: npt.DTypeLike) -> npt.NDArray[np.generic]:
    if np.issubdtype(form, np.integer):
        return np.clip(np.nan_to_num(values), -9, 9).astype(form)  # few distinct numbers: ties
    return np.array(values, form)


@FORMS
@given(values=NUMBERS, data=st.data())
def test_the_kth_smallest_is_what_sorting_gives(
    form: npt.DTypeLike, values: list[float], data: st.DataObject
) -> None:
    k = data.draw(st.integers(0, len(values) - 1))
    found, right = _array(values, form), np.sort(_array(values, form))
    assert kth_smallest(found, k) == right[k]
    assert np.array_equal(np.sort(found), right)


@FORMS
@given(values=NUMBERS | st.just([]))
def test_the_order_is_that_of_a_stable_sort(form: npt.DTypeLike, values: list[float]) -> None:
    found = _array(values, form)
    assert np.array_equal(order_of(found), np.argsort(found, kind="stable"))
