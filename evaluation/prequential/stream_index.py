"""Events indexed by user and by item, so that the state at any earlier moment can be read.

The index holds what a stream has brought so far. Every reading names a moment, and sees events
strictly before it alone: what shares a timestamp (a basket, a day) has no order to rely on.
"""

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

_DAY_MS = 86_400_000


@dataclass(frozen=True, kw_only=True)
class StreamIndex:
    """`n` events by `u` users on `m` items.

    user_indptr:     i64 [u + 1]; the columns beside it are ordered by (user, time).
    item, time, strong, owner: i64, i64 (ms UTC), bool, i64 [n]; owner is the user.
    item_indptr:     i64 [m + 1]; the columns beside it are ordered by (item, time).
    item_time:       i64 [n].
    place:           i64 [n], place of the event in the users' order.
    arrived, arrived_item: i64 [n], times and items in the order of arrival.
    """

    user_indptr: NDArray[np.int64]
    item: NDArray[np.int64]
    time: NDArray[np.int64]
    strong: NDArray[np.bool_]
    owner: NDArray[np.int64]
    item_indptr: NDArray[np.int64]
    item_time: NDArray[np.int64]
    place: NDArray[np.int64]
    arrived: NDArray[np.int64]
    arrived_item: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        *,
        user: NDArray[np.int64],
        item: NDArray[np.int64],
        timestamp: NDArray[np.int64],
        strong: NDArray[np.bool_],
        n_users: int,
        n_items: int,
    ) -> "StreamIndex":
        """Index events in order of time, [n] each. Raises ValueError when time goes back."""
        if len(timestamp) and np.any(np.diff(timestamp) < 0):
            raise ValueError("expected events in order of time")
        by_user = np.argsort(user, kind="stable")
        by_item = np.argsort(item, kind="stable")
        place = np.empty(len(user), np.int64)
        place[by_user] = np.arange(len(user))
        return cls(
            user_indptr=_indptr(user, n_users),
            item=item[by_user],
            time=timestamp[by_user],
            strong=strong[by_user],
            owner=user[by_user],
            item_indptr=_indptr(item, n_items),
            item_time=timestamp[by_item],
            place=place[by_item],
            arrived=timestamp,
            arrived_item=item,
        )

    def demand_at(self, at_ms: int, half_life_days: float) -> NDArray[np.float64]:
        """Return the decayed count of all items before a moment, f64 [m]."""
        before = int(np.searchsorted(self.arrived, at_ms))
        age_days = (at_ms - self.arrived[:before]) / _DAY_MS
        items = len(self.item_indptr) - 1
        counts = np.bincount(self.arrived_item[:before], 0.5 ** (age_days / half_life_days), items)
        return counts.astype(np.float64)


def _indptr(row: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(np.bincount(row, minlength=n))]).astype(np.int64)


@numba.njit(cache=True, nogil=True, inline="always")
def first_from(times: NDArray[np.int64], low: int, high: int, at_ms: int) -> int:
    """Return the first place in times[low:high], ascending, that is not before a moment."""
    while low < high:
        middle = (low + high) // 2
        if times[middle] < at_ms:
            low = middle + 1
        else:
            high = middle
    return low
