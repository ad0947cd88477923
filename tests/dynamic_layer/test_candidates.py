"""Candidates of several sources become one list."""

import numpy as np

from dynamic_layer.counts.moments import Histories
from dynamic_layer.head.candidates import NONE, Union


def test_union_keeps_the_order_of_sources(history: Histories) -> None:
    lists = [np.array([[5, 1, 4], [NONE, 7, 7]]), np.array([[4, 6], [0, 2]])]
    for limit, expected in ((10, [[5, 4, 6], [7, 0, 2]]), (2, [[5, 4], [7, 0]])):
        found = Union(history, limit=limit, items=8)
        for own in lists:
            found.add(own)
        assert found.rows.tolist() == expected
        assert found.rows.flags.c_contiguous, "kernels are compiled for such rows"
