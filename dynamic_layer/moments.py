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
    """

    indptr: NDArray[np.int64]
    item: NDArray[np.int64]
    age_days: NDArray[np.float32]
    times: NDArray[np.float32]

    def __len__(self) -> int:
        """Number of users."""
        return len(self.indptr) - 1

    def take(self, users: NDArray[np.int64]) -> "Histories":
        """Return the histories of some users, i64 [m]."""
        sizes = np.diff(self.indptr)[users]
        indptr = np.concatenate([[0], np.cumsum(sizes)])
        entry = np.arange(indptr[-1]) + np.repeat(self.indptr[users] - indptr[:-1], sizes)
        return Histories(
            indptr=indptr,
            item=self.item[entry],
            age_days=self.age_days[entry],
            times=self.times[entry],
        )

    def recency(self, half_life_days: float) -> NDArray[np.float32]:
        """Return 0.5 ** (age / half-life) of each entry, f32 [t]; all ones for infinity."""
        return np.asarray(np.exp2(-self.age_days / np.float32(half_life_days)), np.float32)


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
) -> Moment:
    """Return the state at a moment from events in any order, i64 [n] each; later ones are ignored.

    A half-life of infinity counts all events alike.
    """
    before = timestamp < at_ms
    user, item, timestamp = user[before], item[before], timestamp[before]
    age_days = ((at_ms - timestamp) / _DAY_MS).astype(np.float32)
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
        histories=_histories(user, item, age_days, n_users, n_items),
        demand=demand.astype(np.float32),
        age_days=oldest,
        silent_days=np.where(np.isfinite(newest), newest, np.float32(0)),
    )


def _histories(
    user: NDArray[np.int64],
    item: NDArray[np.int64],
    age_days: NDArray[np.float32],
    n_users: int,
    n_items: int,
) -> Histories:
    code = user * n_items + item
    order = np.lexsort((age_days, code))
    _, first, times = np.unique(code[order], return_index=True, return_counts=True)
    kept = order[first]
    # Newest first; items settle what met at the same time, so that arrival order cannot.
    place = np.lexsort((item[kept], age_days[kept], user[kept]))
    rows = kept[place]
    sizes: NDArray[Any] = np.bincount(user[rows], minlength=n_users)
    return Histories(
        indptr=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        item=item[rows],
        age_days=age_days[rows],
        times=times[place].astype(np.float32),
    )
