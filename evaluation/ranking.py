"""From scores to lists: the best k, ties settled the same way on every machine.

Ties are settled by the item's key, a hash of its type and id: neither the order of the file nor
the sorting algorithm decides, and a model that cannot tell items apart gets a random list, not
the one in which the catalogue happened to be written (which may well be by popularity).
"""

import numpy as np
import numpy.typing as npt
import polars as pl
import scipy.sparse as sp

from evaluation.baselines import Rows
from state import item_key

__all__ = ["best", "checked", "in_tie_order", "mask_pairs"]


def in_tie_order(items: pl.DataFrame) -> Rows:
    """All rows of a catalogue, i64[n]: those that win ties first (ascending by item key)."""
    names = zip(items["item_type"].to_list(), items["item_id"].to_list(), strict=True)
    keys = np.array([item_key(*name) for name in names], np.uint64)
    return np.argsort(keys, kind="stable")


def best(scores: npt.NDArray[np.float32], k: int) -> Rows:
    """Columns of the k greatest scores of each row, best first, i64[rows, k].

    Of equal scores the smaller column goes first, at the end of the list too. -1 where a list
    ends: for want of columns, or because what is left scores -inf.

    >>> best(np.array([[1, 3, 3, 2], [5, -np.inf, 5, -np.inf]], np.float32), 3)
    array([[ 1,  2,  3],
           [ 0,  2, -1]])
    """
    depth = min(k, scores.shape[1])
    lists = np.full((len(scores), k), -1, np.int64)
    if not depth or not len(scores):
        return lists
    # A partition alone would cut through equal scores as it pleases.
    least = np.partition(scores, -depth, axis=1)[:, -depth, None]
    above, equal = scores > least, scores == least
    room = depth - above.sum(axis=1, keepdims=True)
    crowded = equal.sum(axis=1) > room[:, 0]
    equal[crowded] &= np.cumsum(equal[crowded], axis=1) <= room[crowded]
    columns = np.nonzero(above | equal)[1].reshape(len(scores), depth)
    values = np.take_along_axis(scores, columns, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    values = np.take_along_axis(values, order, axis=1)
    lists[:, :depth] = np.where(np.isneginf(values), -1, np.take_along_axis(columns, order, axis=1))
    return lists


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
        good[user, place] = ~np.asarray(banned[user, lists[user, place]]).ravel()
    front = np.argsort(~good, axis=1, kind="stable")
    moved = np.take_along_axis(lists, front, axis=1)
    return np.where(np.take_along_axis(good, front, axis=1), moved, -1)
