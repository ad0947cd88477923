"""From scores to lists: the best k, ties settled the same way on every machine.

Ties are settled by the item's key, a hash of its type and id: neither the order of the file nor
the sorting algorithm decides, and a model that cannot tell items apart gets a random list, not
the one in which the catalogue happened to be written (which may well be by popularity).
"""

import numpy as np
import numpy.typing as npt
import polars as pl
import scipy.sparse as sp
from numba import njit

from evaluation.baselines import Rows
from state import item_key

__all__ = ["best", "checked", "in_tie_order", "mask_pairs"]


def in_tie_order(items: pl.DataFrame) -> Rows:
    """All rows of a catalogue, i64[n]: those that win ties first (ascending by item key)."""
    names = zip(items["item_type"].to_list(), items["item_id"].to_list(), strict=True)
    keys = np.array([item_key(*name) for name in names], np.uint64)
    return np.argsort(keys, kind="stable")


def best(scores: npt.NDArray[np.float32], k: int, columns: Rows | None = None) -> Rows:
    """Places of the k greatest scores of each row among some columns, best first, i64[rows, k].

    columns: default all; a place counts in them. Of equal scores the smaller place goes first, at
    the end of the list too. -1 where a list ends: for want of columns, or because what is left
    scores -inf.

    >>> best(np.array([[1, 3, 3, 2], [5, -np.inf, 5, -np.inf]], np.float32), 3)
    array([[ 1,  2,  3],
           [ 0,  2, -1]])
    """
    if columns is None:
        columns = np.arange(scores.shape[1])
    lists = np.full((len(scores), k), -1, np.int64)
    if k > 0:
        _best(scores, columns, lists, np.empty(k, np.float32))
    return lists


@njit(cache=True, nogil=True)
def _best(
    scores: npt.NDArray[np.float32], columns: Rows, lists: Rows, values: npt.NDArray[np.float32]
) -> None:
    """One pass and an ordered list of k: a sort or a partition of the row costs twenty times this.

    values: array for k scores.
    """
    k = lists.shape[1]
    for row in range(scores.shape[0]):
        held = 0
        for place in range(len(columns)):
            value = scores[row, columns[place]]
            if value == -np.inf or (held == k and value <= values[k - 1]):
                continue
            at = held if held < k else k - 1
            held = min(held + 1, k)
            while at > 0 and value > values[at - 1]:
                values[at], lists[row, at] = values[at - 1], lists[row, at - 1]
                at -= 1
            values[at], lists[row, at] = value, place


def mask_pairs(scores: npt.NDArray[np.float32], pairs: sp.csr_array, column_of: Rows) -> None:
    """Set the scores of some pairs to -inf, in place.

    pairs: [rows, n_items]; column_of: i64[n_items], the column of an item, -1 for none.
    """
    row, item = pairs.nonzero()
    column = column_of[item]
    scores[row[column >= 0], column[column >= 0]] = -np.inf


def checked(lists: Rows, allowed: Rows, banned: sp.csr_array | None) -> Rows:
    """Lists without foreign, repeated and banned items; what follows moves up.

    lists: i64[users, k], -1 where one ends. allowed: item rows. banned: bool[users, n_items].
    """
    good = np.isin(lists, allowed)
    order = np.argsort(lists, axis=1, kind="stable")
    ordered = np.take_along_axis(lists, order, axis=1)
    again = np.zeros_like(good)
    np.put_along_axis(again, order[:, 1:], ordered[:, 1:] == ordered[:, :-1], axis=1)
    good &= ~again
    if banned is not None:
        user, place = np.nonzero(good)
        if len(user):  # scipy returns no array for no pairs
            good[user, place] = ~np.asarray(banned[user, lists[user, place]]).ravel()
    front = np.argsort(~good, axis=1, kind="stable")
    moved = np.take_along_axis(lists, front, axis=1)
    return np.where(np.take_along_axis(good, front, axis=1), moved, -1)
