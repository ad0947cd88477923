"""Candidates of several sources become one list."""

import numpy as np

from dynamic_layer.counts.moments import Histories
from dynamic_layer.head.candidates import NONE, Union, greatest


def test_union_keeps_the_order_of_sources(history: Histories) -> None:
    lists = [np.array([[5, 1, 4], [NONE, 7, 7]]), np.array([[4, 6], [0, 2]])]
    for limit, expected in ((10, [[5, 4, 6], [7, 0, 2]]), (2, [[5, 4], [7, 0]])):
        found = Union(history, limit=limit, items=8)
        for own in lists:
            found.add(own)
        assert found.rows.tolist() == expected
        assert found.rows.flags.c_contiguous, "kernels are compiled for such rows"


def test_greatest_gives_all_of_a_short_row() -> None:
    rows = np.array([3, 8])
    found = greatest(np.array([[0.1, 0.2]], np.float32), rows, 5)
    assert sorted(found[0].tolist()) == [3, 8]
