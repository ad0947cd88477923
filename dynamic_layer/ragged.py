"""Rows of unequal length behind each other: row i is entries indptr[i]:indptr[i + 1]."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["take_rows"]


def take_rows(
    indptr: NDArray[np.int64], rows: NDArray[np.integer[Any]]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the indptr of some rows, i64 [m + 1], and the places of their entries.

    indptr: i64 [n + 1]; rows: row numbers [m], in any order.

    >>> indptr, places = take_rows(np.array([0, 2, 2, 5]), np.array([2, 0]))
    >>> indptr.tolist(), places.tolist()
    ([0, 3, 5], [2, 3, 4, 0, 1])
    """
    sizes = np.diff(indptr)[rows]
    taken = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return taken, np.arange(taken[-1]) + np.repeat(indptr[rows] - taken[:-1], sizes)
