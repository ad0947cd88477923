"""What is known at one moment: histories, recent demand and ages, as arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_DAY_MS = 86_400_000


@dataclass(frozen=True, kw_only=True)
class Histories:
    """The items that each of `b` users met, newest first, as a compressed row list.

    indptr:   i64 [b + 1]; user r has entries indptr[r]:indptr[r + 1].
    item:     i64 [t], item rows, distinct within a user.
    age_days: f32 [t], days from the latest event on the item to the moment.
    times:    f32 [t], events on the item.
    strong:   bool [t], whether one of them was a stream; None where all are.
    first_days: f32 [t], days from the earliest event on the item to the moment; None where it is
              not kept.
    gap_squares: f32 [t], sum of the squared days between successive events on the item; None
              where it is not kept. With `times` and both ages it tells how regular they are.
    """

    indptr: NDArray[np.int64]
    item: NDArray[np.int64]
    age_days: NDArray[np.float32]
    times: NDArray[np.float32]
    strong: NDArray[np.bool_] | None = None
    first_days: NDArray[np.float32] | None = None
    gap_squares: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        """Number of users."""
        return len(self.indptr) - 1

    def take(self, users: NDArray[np.int64]) -> "Histories":
        """Return the histories of some users, i64 [m]."""
        sizes = np.diff(self.indptr)[users]
        indptr = np.concatenate([[0], np.cumsum(sizes)])
        entry = np.arange(indptr[-1]) + np.repeat(self.indptr[users] - indptr[:-1], sizes)
        return self._of(indptr, entry)

    def where(self, kept: NDArray[np.bool_]) -> "Histories":
        """Return the same users with some of their entries, bool [t]."""
        before = np.concatenate([[0], np.cumsum(kept)])
        return self._of(before[self.indptr].astype(np.int64), np.flatnonzero(kept))

    def newest(self, k: int) -> "Histories":
        """Return the same users with the newest k entries of each history."""
        sizes = np.diff(self.indptr)
        if not len(sizes) or sizes.max() <= k:
            return self
        place = np.arange(len(self.item)) - np.repeat(self.indptr[:-1], sizes)
        return self.where(place < k)

    def _of(self, indptr: NDArray[np.int64], entry: NDArray[np.int64]) -> "Histories":
        return Histories(
            indptr=indptr,
            item=self.item[entry],
            age_days=self.age_days[entry],
            times=self.times[entry],
            strong=None if self.strong is None else self.strong[entry],
            first_days=None if self.first_days is None else self.first_days[entry],
            gap_squares=None if self.gap_squares is None else self.gap_squares[entry],
        )

    def recency(self, half_life_days: float) -> NDArray[np.float32]:
        """Return 0.5 ** (age / half-life) of each entry, f32 [t]; all ones for infinity."""
        return np.asarray(np.exp2(-self.age_days / np.float32(half_life_days)), np.float32)

    def recencies(self, half_lives_days: Sequence[float]) -> NDArray[np.float32]:
        """Return the recency of each entry at several half-lives, f32 [t, h]."""
        found = [self.recency(half_life) for half_life in half_lives_days]
        return np.stack(found, axis=1) if found else np.zeros((len(self.item), 0), np.float32)


@dataclass(frozen=True, kw_only=True)
class Moment:
    """The state just before `at_ms`; no event at or after it has left a trace.

    histories:   of all users.
    demand:      f32 [items, half-lives], decayed counts of events.
    age_days:    f32 [items], days since an item's first event; 0 where it has none.
    silent_days: f32 [items], days since its latest event; 0 where it has none.
    """

    at_ms: int
    histories: Histories
    demand: NDArray[np.float32]
    age_days: NDArray[np.float32]
    silent_days: NDArray[np.float32]


def moment_at(
    at_ms: int,
    *,
    user: NDArray[np.int64],
    item: NDArray[np.int64],
    timestamp: NDArray[np.int64],
    n_users: int,
    n_items: int,
    half_lives_days: Sequence[float],
    strong: NDArray[np.bool_] | None = None,
    asked_ms: NDArray[np.int64] | None = None,
) -> Moment:
    """Return the state at a moment from events in any order, i64 [n] each; later ones are ignored.

    A half-life of infinity counts all events alike. strong: bool [n], streams; None for all.
    asked_ms: i64 [n_users], where each user is asked at a different time: the ages in a history
    count back from it (demand and the ages of items from `at_ms`).
    """
    before = timestamp < at_ms
    user, item, timestamp = user[before], item[before], timestamp[before]
    strong = None if strong is None else strong[before]
    age_days = ((at_ms - timestamp) / _DAY_MS).astype(np.float32)
    own_days = age_days
    if asked_ms is not None:
        own_days = np.maximum((asked_ms[user] - timestamp) / _DAY_MS, 0).astype(np.float32)
    demand = np.stack(
        [
            np.bincount(item, weights=np.exp2(-age_days / half_life), minlength=n_items)
            for half_life in half_lives_days
        ],
        axis=1,
    )
    oldest, newest = np.zeros(n_items, np.float32), np.full(n_items, np.inf, np.float32)
    np.maximum.at(oldest, item, age_days)
    np.minimum.at(newest, item, age_days)
    return Moment(
        at_ms=at_ms,
        histories=_histories(user, item, own_days, strong, n_users, n_items),
        demand=demand.astype(np.float32),
        age_days=oldest,
        silent_days=np.where(np.isfinite(newest), newest, np.float32(0)),
    )


def _histories(
    user: NDArray[np.int64],
    item: NDArray[np.int64],
    age_days: NDArray[np.float32],
    strong: NDArray[np.bool_] | None,
    n_users: int,
    n_items: int,
) -> Histories:
    code = user * n_items + item
    order = np.lexsort((age_days, code))
    if not len(order):
        return _no_histories(n_users)
    _, first, times = np.unique(code[order], return_index=True, return_counts=True)
    kept = order[first]
    ages = age_days[order]
    gaps = np.diff(ages, prepend=ages[:1])
    gaps[first] = 0  # the newest event of a pair has none after it
    squares = np.add.reduceat(gaps * gaps, first)
    streamed = None
    if strong is not None:
        streamed = np.logical_or.reduceat(strong[order], first)
    # Newest first; items settle what met at the same time, so that arrival order cannot.
    place = np.lexsort((item[kept], age_days[kept], user[kept]))
    rows = kept[place]
    sizes: NDArray[Any] = np.bincount(user[rows], minlength=n_users)
    return Histories(
        indptr=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        item=item[rows],
        age_days=age_days[rows],
        times=times[place].astype(np.float32),
        strong=None if streamed is None else streamed[place],
        first_days=ages[first + times - 1][place],
        gap_squares=squares[place].astype(np.float32),
    )


def _no_histories(n_users: int) -> Histories:
    none = np.zeros(0, np.float32)
    return Histories(
        indptr=np.zeros(n_users + 1, np.int64),
        item=np.zeros(0, np.int64),
        age_days=none,
        times=none,
        first_days=none,
        gap_squares=none,
    )
