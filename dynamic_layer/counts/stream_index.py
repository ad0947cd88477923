"""Events indexed by user and by item, so that the state at any earlier moment can be read.

The index holds what a stream has brought so far. Every reading names a moment, and sees events
strictly before it alone: what shares a timestamp (a basket, a day) has no order to rely on.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from dynamic_layer.counts.moments import Histories

_DAY_MS = 86_400_000
_FAR_DAYS = np.float32(36_500.0)


@dataclass(frozen=True, kw_only=True)
class StreamIndex:
    """`n` events by `u` users on `m` items.

    half_lives_days: f64 [h], of demand.
    user_indptr:     i64 [u + 1]; the columns beside it are ordered by (user, time).
    item, time, strong, owner: i64, i64 (ms UTC), bool, i64 [n]; owner is the user.
    item_indptr:     i64 [m + 1]; the columns beside it are ordered by (item, time).
    item_time:       i64 [n].
    place:           i64 [n], place of the event in the users' order.
    arrived, arrived_item: i64 [n], times and items in the order of arrival.
    demand:          f32 [n, h], the item's decayed count just after the event.
    """

    half_lives_days: NDArray[np.float64]
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
    demand: NDArray[np.float32]

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
        half_lives_days: Sequence[float] = (1.0,),
    ) -> "StreamIndex":
        """Index events in order of time, [n] each. Raises ValueError when time goes back."""
        if len(timestamp) and np.any(np.diff(timestamp) < 0):
            raise ValueError("expected events in order of time")
        by_user = np.argsort(user, kind="stable")
        by_item = np.argsort(item, kind="stable")
        place = np.empty(len(user), np.int64)
        place[by_user] = np.arange(len(user))
        halves = np.asarray(half_lives_days, np.float64)
        item_indptr = _indptr(item, n_items)
        return cls(
            half_lives_days=halves,
            user_indptr=_indptr(user, n_users),
            item=item[by_user],
            time=timestamp[by_user],
            strong=strong[by_user],
            owner=user[by_user],
            item_indptr=item_indptr,
            item_time=timestamp[by_item],
            place=place[by_item],
            arrived=timestamp,
            arrived_item=item,
            demand=_running_demand(item_indptr, timestamp[by_item], halves),
        )

    def histories(
        self, users: NDArray[np.int64], before_ms: NDArray[np.int64], cap: int
    ) -> Histories:
        """Return what users, i64 [b], met before each one's moment, i64 [b] ms UTC.

        Distinct items of the latest `cap` events, newest first; ages are to that moment.
        """
        indptr, item, age_ms, times = _histories(
            users, before_ms, self.user_indptr, self.item, self.time, cap, len(self.item_indptr) - 1
        )
        age_days = (age_ms / _DAY_MS).astype(np.float32)
        return Histories(indptr=indptr, item=item, age_days=age_days, times=times)

    def item_state(
        self, items: NDArray[np.int64], before_ms: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return what is known of items, i64 [b, c], before each row's moment, f32 [b, c, h + 2].

        Demand at each half-life, then days since the first and the latest event (36,500 where
        there was none). Items below 0 get the state of an item without events.
        """
        return _item_state(  # type: ignore[no-any-return]
            items, before_ms, self.item_indptr, self.item_time, self.demand, self.half_lives_days
        )

    def columns(self, half_lives_days: Sequence[float]) -> list[int]:
        """Return which columns of demand some half-lives are; raises ValueError for a new one."""
        return [self.half_lives_days.tolist().index(float(days)) for days in half_lives_days]

    def demand_at(self, at_ms: int) -> NDArray[np.float32]:
        """Return the demand of all items before a moment, f32 [m, h]."""
        every = np.arange(len(self.item_indptr) - 1)[None, :]
        found = self.item_state(every, np.array([at_ms]))
        return found[0, :, : len(self.half_lives_days)]


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


@numba.njit(cache=True, nogil=True)
def _running_demand(
    indptr: NDArray[np.int64], time: NDArray[np.int64], halves: NDArray[np.float64]
) -> NDArray[np.float32]:
    out = np.zeros((len(time), len(halves)), np.float32)
    for item in range(len(indptr) - 1):
        for place in range(indptr[item], indptr[item + 1]):
            for part in range(len(halves)):
                before = 0.0
                if place > indptr[item]:
                    gap = (time[place] - time[place - 1]) / 86_400_000
                    before = out[place - 1, part] * 2.0 ** (-gap / halves[part])
                out[place, part] = 1.0 + before
    return out


@numba.njit(cache=True, nogil=True)
def _item_state(
    items: NDArray[np.int64],
    before_ms: NDArray[np.int64],
    indptr: NDArray[np.int64],
    time: NDArray[np.int64],
    demand: NDArray[np.float32],
    halves: NDArray[np.float64],
) -> NDArray[np.float32]:
    b, c = items.shape
    h = len(halves)
    out = np.zeros((b, c, h + 2), np.float32)
    for row in range(b):
        for column in range(c):
            item = items[row, column]
            out[row, column, h] = _FAR_DAYS
            out[row, column, h + 1] = _FAR_DAYS
            if item < 0:
                continue
            first = indptr[item]
            last = first_from(time, first, indptr[item + 1], before_ms[row])
            if last == first:
                continue
            silent = (before_ms[row] - time[last - 1]) / 86_400_000
            for part in range(h):
                out[row, column, part] = demand[last - 1, part] * 2.0 ** (-silent / halves[part])
            out[row, column, h] = (before_ms[row] - time[first]) / 86_400_000
            out[row, column, h + 1] = silent
    return out


@numba.njit(cache=True, nogil=True)
def _histories(
    users: NDArray[np.int64],
    before_ms: NDArray[np.int64],
    indptr: NDArray[np.int64],
    item: NDArray[np.int64],
    time: NDArray[np.int64],
    cap: int,
    n: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    b = len(users)
    total = 0
    ends = np.empty(b, np.int64)
    for row in range(b):
        first = indptr[users[row]]
        ends[row] = first_from(time, first, indptr[users[row] + 1], before_ms[row])
        total += min(cap, ends[row] - first)
    starts = np.zeros(b + 1, np.int64)
    found, age = np.empty(total, np.int64), np.empty(total, np.int64)
    times = np.zeros(total, np.float32)
    where = np.full(n, -1, np.int64)
    filled = 0
    for row in range(b):
        first = indptr[users[row]]
        for entry in range(ends[row] - 1, max(first, ends[row] - cap) - 1, -1):
            if where[item[entry]] < 0:
                where[item[entry]] = filled
                found[filled] = item[entry]
                age[filled] = before_ms[row] - time[entry]
                filled += 1
            times[where[item[entry]]] += 1
        starts[row + 1] = filled
        for place in range(starts[row], filled):
            where[found[place]] = -1
    return starts, found[:filled], age[:filled], times[:filled]
