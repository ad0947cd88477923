"""What is known at one moment: histories, recent demand and ages, as arrays."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.ragged import take_rows


@dataclass(frozen=True, kw_only=True)
class Histories:
    """The items that each of `b` users met, newest first, as a compressed row list.

    indptr:   i64 [b + 1]; user r has entries indptr[r]:indptr[r + 1].
    item:     i64 [t], item rows, distinct within a user.
    age_days: f32 [t], days from the latest event on the item to the moment.
    strong:   bool [t], whether one of them was a stream; None where all are.
    """

    indptr: NDArray[np.int64]
    item: NDArray[np.int64]
    age_days: NDArray[np.float32]
    strong: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        """Number of users."""
        return len(self.indptr) - 1

    def take(self, users: NDArray[np.int64]) -> "Histories":
        """Return the histories of some users, i64 [m]."""
        return self._of(*take_rows(self.indptr, users))

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
            strong=None if self.strong is None else self.strong[entry],
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
