"""Lists from scores: the order is one order, ties and all."""

import doctest

import numpy as np
import polars as pl
import scipy.sparse as sp
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from evaluation import ranking
from evaluation.ranking import best, checked, in_tie_order, mask_pairs

# Few distinct values, so that ties are the rule.
SCORES = arrays.arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(1, 12)),
    elements=st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 2.0]),
)


def test_the_example_in_the_docstring_holds() -> None:
    assert not doctest.testmod(ranking).failed


@given(SCORES, st.integers(1, 15))
def test_the_best_are_those_of_a_full_sort_with_ties_to_the_first(
    scores: np.ndarray, k: int
) -> None:
    for row, found in zip(scores, best(scores, k), strict=True):
        order = sorted(range(len(row)), key=lambda place: (-row[place], place))
        expected = [place for place in order if row[place] > -np.inf][:k]
        assert found.tolist() == expected + [-1] * (k - len(expected))


def test_ties_do_not_depend_on_how_the_catalogue_is_sorted() -> None:
    items = pl.DataFrame({"item_id": [f"i{n}" for n in range(50)], "item_type": ["song"] * 50})
    turned = items.reverse()
    names = [frame["item_id"].to_numpy()[in_tie_order(frame)].tolist() for frame in (items, turned)]
    assert names[0] == names[1]
    assert names[0] != items["item_id"].to_list()


def test_pairs_are_masked_where_their_item_has_a_column() -> None:
    scores = np.ones((2, 2), np.float32)
    pairs = sp.csr_array(np.array([[True, False, True], [False, True, False]]))
    mask_pairs(scores, pairs, np.array([1, -1, 0]))
    assert scores.tolist() == [[-np.inf, -np.inf], [1.0, 1.0]]


@example([[-1] * 5])
@given(st.lists(st.lists(st.integers(-1, 6), min_size=5, max_size=5), min_size=1, max_size=4))
def test_checked_lists_keep_the_order_of_what_is_allowed(rows: list[list[int]]) -> None:
    allowed, banned = np.array([0, 1, 2, 5]), np.zeros((len(rows), 7), bool)
    banned[:, 1] = True
    found = checked(np.array(rows), allowed, sp.csr_array(banned))
    for row, kept in zip(rows, found.tolist(), strict=True):
        expected = [item for item in dict.fromkeys(row) if item in (0, 2, 5)]
        assert kept == expected + [-1] * (5 - len(expected))
