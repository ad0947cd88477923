"""Demand of items by bucket of the window, summed once, because committed counts rarely change.

Live popularity lies by hour in each partition, so one item's events are read from all values of all
hours. Here the hours of a bucket of the window are added up over all partitions and sorted by
item; a bucket that a commit has changed since is added up again.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from state import PartitionState, item_key

__all__ = ["DemandDays"]

#: Newest buckets of the window that are read as they are stored: almost every commit changes them.
CHANGING = 2
#: Rows of item, market and bucket that are kept, at most, 13 bytes each; others are read each time.
MOST_ROWS = 10_000_000


class _Day(NamedTuple):
    """A bucket of the window: keys u64 [m], ascending; markets u8 [m]; events i32 [m].

    written: last commit of each partition that changed it.
    """

    written: tuple[int, ...]
    keys: NDArray[np.uint64]
    markets: NDArray[np.uint8]
    events: NDArray[np.int32]


class DemandDays:
    """Sums of demand by bucket of the window. For one thread at a time, beside commits."""

    def __init__(self, fine: int) -> None:
        """fine: buckets of live popularity in a bucket of the window."""
        self._fine = fine
        self._days: dict[int, _Day] = {}
        self._rows = 0

    def of_item(
        self,
        states: Sequence[PartitionState],
        item_type: str,
        item_id: str,
        first: int,
        length: int,
    ) -> dict[int, NDArray[np.int64]]:
        """Market -> events of an item in each of `length` buckets of the window from `first` on.

        States are asked as of their last commit.
        """
        found: dict[int, NDArray[np.int64]] = {}
        key = np.uint64(item_key(item_type, item_id))
        for gone in [bucket for bucket in self._days if bucket < first]:
            self._forget(gone)
        for place in range(length):
            bucket = first + place
            day = None if place >= length - CHANGING else self._day(states, bucket)
            rows: list[tuple[int, int]] = []
            if day is not None:
                part = slice(*(np.searchsorted(day.keys, key, side) for side in ("left", "right")))
                rows = list(zip(day.markets[part].tolist(), day.events[part].tolist(), strict=True))
            else:
                for state in states:
                    _, markets, events = state.demand_of(item_type, item_id, *self._span(bucket))
                    rows += zip(markets.tolist(), events.tolist(), strict=True)
            for market, events_of_it in rows:
                found.setdefault(market, np.zeros(length, np.int64))[place] += events_of_it
        return found

    def _day(self, states: Sequence[PartitionState], bucket: int) -> _Day | None:
        """The current sums of a bucket; None if they do not fit."""
        # Before it is read: what is committed meanwhile makes it old.
        span = range(*self._span(bucket))
        written = tuple(max(map(state.demand_written_in, span)) for state in states)
        known = self._days.get(bucket)
        if known is not None and known.written == written:
            return known
        self._forget(bucket)
        if self._rows >= MOST_ROWS:
            return None
        parts = zip(*(state.demand_sums(*self._span(bucket)) for state in states), strict=True)
        keys, markets, events = (np.concatenate(columns) for columns in parts)
        order = np.argsort(keys, kind="stable")
        day = _Day(
            written, keys[order], markets[order].astype(np.uint8), events[order].astype(np.int32)
        )
        self._days[bucket] = day
        self._rows += len(keys)
        return day

    def _forget(self, bucket: int) -> None:
        known = self._days.pop(bucket, None)
        self._rows -= 0 if known is None else len(known.keys)

    def _span(self, bucket: int) -> tuple[int, int]:
        return bucket * self._fine, (bucket + 1) * self._fine
