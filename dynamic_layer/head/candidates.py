"""Candidates: the few hundred items of a type that a head looks at, from several sources.

Sources give ranked lists; their union, each item once and none that the user had, is what is
ranked.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from dynamic_layer.counts.moments import Histories
from dynamic_layer.counts.neighbours import NONE, Neighbours

__all__ = ["NONE", "Union", "newest_items"]


def newest_items(histories: Histories, k: int) -> NDArray[np.int64]:
    """Return the newest k items of each history, i64 [b, <= k], NONE at the end."""
    size = np.minimum(np.diff(histories.indptr), k)
    out = np.full((len(histories), int(size.max(initial=0))), NONE, np.int64)
    owner = np.repeat(np.arange(len(histories)), size)
    place = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
    out[owner, place] = histories.item[histories.indptr[:-1][owner] + place]
    return out


class Union:
    """Candidates of `b` users' lists, filled source by source: each item once, up to a limit.

    What comes first stays where the limit cuts, and is not asked of sources behind it.
    """

    def __init__(self, histories: Histories, *, limit: int, items: int) -> None:
        """histories: of the items that are left out; limit: of candidates; items: in all."""
        self._left_out = (histories.indptr, histories.item)
        self._rows = np.full((len(histories), limit), NONE, np.int64)
        self._filled = np.zeros(len(histories), np.int64)
        self._seen = np.zeros(items, np.bool_)

    @property
    def rows(self) -> NDArray[np.int64]:
        """The candidates, i64 [b, c], 1 <= c <= limit, NONE behind the last one of a user."""
        filled = self._rows[:, : max(1, int(self._filled.max(initial=0)))]
        # Kernels are compiled once more, in front of users, for rows with gaps between them.
        return np.ascontiguousarray(filled)

    def add(self, lists: NDArray[np.int64]) -> None:
        """Add the items of lists, i64 [b, k], NONE for none, the first ones first."""
        _add(lists, *self._left_out, self._seen, self._rows, self._filled)

    def add_best(
        self, near: Neighbours, group: NDArray[np.int16], wanted: NDArray[np.int64], k: int
    ) -> None:
        """Add each user's items with the greatest sums at each recency, k of them, in no order.

        Of each user's own group alone. group: i16 [items], negative for items of none; wanted: i64
        [b]. Items of the history are left out, as are those whose sum is not above 0.
        """
        _add_best(
            near.indptr, near.own, near.item, near.sums, group, wanted, k, *self._left_out,
            self._seen, self._rows, self._filled,
        )  # fmt: skip


@numba.njit(cache=True, nogil=True)
def _mark(
    seen: NDArray[np.bool_], rows: NDArray[np.int64], left_out: NDArray[np.int64], to: bool
) -> None:
    for row in rows:
        seen[row] = to
    for row in left_out:
        seen[row] = to


@numba.njit(cache=True, nogil=True)
def _add(
    lists: NDArray[np.int64],
    indptr: NDArray[np.int64],
    item: NDArray[np.int64],
    seen: NDArray[np.bool_],
    rows: NDArray[np.int64],
    filled: NDArray[np.int64],
) -> None:
    b, limit = rows.shape
    for user in range(b):
        left_out, count = item[indptr[user] : indptr[user + 1]], filled[user]
        _mark(seen, rows[user, :count], left_out, True)
        for place in range(lists.shape[1]):
            row = lists[user, place]
            if row >= 0 and count < limit and not seen[row]:
                seen[row] = True
                rows[user, count] = row
                count += 1
        filled[user] = count
        _mark(seen, rows[user, :count], left_out, False)


@numba.njit(cache=True, nogil=True)
def _add_best(
    near_indptr: NDArray[np.int64],
    own: NDArray[np.int64],
    near_item: NDArray[np.int32],
    sums: NDArray[np.float32],
    group: NDArray[np.int16],
    wanted: NDArray[np.int64],
    k: int,
    indptr: NDArray[np.int64],
    item: NDArray[np.int64],
    seen: NDArray[np.bool_],
    rows: NDArray[np.int64],
    filled: NDArray[np.int64],
) -> None:
    limit, parts = rows.shape[1], sums.shape[1]
    widest = (near_indptr[1:] - near_indptr[:-1]).max() if len(own) else 0
    member, best = np.empty(widest, np.int32), np.empty(k, np.int32)
    values = np.empty((parts, widest), np.float32)
    for user in range(len(own) if k else 0):
        count = filled[user]
        if count == limit:
            continue
        size = 0
        for at in range(near_indptr[user] + own[user], near_indptr[user + 1]):
            if group[near_item[at]] == wanted[user]:
                member[size] = near_item[at]
                for part in range(parts):
                    values[part, size] = sums[at, part]
                size += 1
        left_out = item[indptr[user] : indptr[user + 1]]
        _mark(seen, rows[user, :count], left_out, True)
        for part in range(parts):
            if count < limit:
                found = _greatest(values[part, :size], member, best)
                for row in best[:found]:
                    if count < limit and not seen[row]:
                        seen[row] = True
                        rows[user, count] = row
                        count += 1
        filled[user] = count
        _mark(seen, rows[user, :count], left_out, False)


@numba.njit(cache=True, nogil=True)
def _greatest(
    values: NDArray[np.float32], member: NDArray[np.int32], best: NDArray[np.int32]
) -> int:
    """Put the members of the k greatest values above 0 into `best`, i32 [k]; return their number.

    In their order; of equal ones the first. Bisects the bits of the k-th value, which are in the
    order of such numbers: a count of what is above is a loop that processors do eight at a time.
    """
    bits, k = values.view(np.int32), len(best)
    low, high, equal = np.int32(0), np.int32(1), len(bits)
    if _above(bits, low) > k:
        high = bits.max()
        while high - low > 1:
            middle = np.int32(low + (high - low) // 2)
            count = _above(bits, middle)
            if count > k:
                low = middle
            else:
                high = middle
                if count == k:
                    break
        equal = k - _above(bits, high)
    found = 0
    for n in range(len(bits)):
        if bits[n] >= high:
            if bits[n] == high:
                equal -= 1
                if equal < 0:
                    continue
            best[found] = member[n]
            found += 1
    return found


@numba.njit(cache=True, nogil=True)
def _above(bits: NDArray[np.int32], bound: int) -> int:
    count = 0
    for n in range(len(bits)):  # by numbers: so it is compiled to wide instructions
        count += 1 if bits[n] > bound else 0
    return count
