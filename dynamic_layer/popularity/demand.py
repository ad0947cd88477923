"""Demand of every item at the end of a bucket of time, read on from bucket to bucket."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.items.features import ItemRows, rows_by_type
from dynamic_layer.popularity.event_counts import BucketCounts, Popularity

_DAY_MS = 86_400_000


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What is known of `n` items' demand at a moment, from whole buckets alone.

    at_ms:       end of the last bucket in it.
    half_lives_days: k of them.
    values:      f32 [n, k], decayed counts of events.
    age_days:    f32 [n], days since the beginning of an item's first bucket; 0 where it has none.
    silent_days: f32 [n], days since the end of its latest bucket; 0 where it has none.
    """

    at_ms: int
    half_lives_days: tuple[float, ...]
    values: NDArray[np.float32]
    age_days: NDArray[np.float32]
    silent_days: NDArray[np.float32]

    def __len__(self) -> int:
        """Number of items."""
        return len(self.values)

    def later(self, at_ms: int) -> "Demand":
        """Return the demand at a later moment if nothing happened until then."""
        days = np.float32(max(0, at_ms - self.at_ms) / _DAY_MS)
        if not days:
            return self
        met = self.age_days > 0
        halves = np.asarray(self.half_lives_days, np.float32)
        return Demand(
            at_ms=at_ms,
            half_lives_days=self.half_lives_days,
            values=self.values * np.exp2(-days / halves),
            age_days=np.where(met, self.age_days + days, np.float32(0)),
            silent_days=np.where(met, self.silent_days + days, np.float32(0)),
        )

    def grown(self, items: int) -> "Demand":
        """Return the demand of these items and of others behind them, `items` in all, unmet."""
        more = items - len(self)
        if more <= 0:
            return self
        return Demand(
            at_ms=self.at_ms,
            half_lives_days=self.half_lives_days,
            values=np.pad(self.values, ((0, more), (0, 0))),
            age_days=np.pad(self.age_days, (0, more)),
            silent_days=np.pad(self.silent_days, (0, more)),
        )

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """Items by demand, i64 [n, k], the greatest first; ties in order of rows."""
        return np.argsort(-self.values, axis=0, kind="stable")


def most_demanded(
    demand: Demand, type_number: NDArray[np.integer[Any]], types: int, k: int
) -> NDArray[np.int64]:
    """Return each type's k items most in demand at each half-life, best first, i64 [types, h, k].

    Ties in order of rows; -1 where a type has fewer items. type_number: [n], of all items.
    """
    found = np.full((types, len(demand.half_lives_days), k), -1, np.int64)
    for number, rows in rows_by_type(type_number[: len(demand)]).items():
        for half, values in enumerate(demand.values[rows].T):
            best = rows[_greatest(values, k)]
            found[number, half, : len(best)] = best
    return found


def _greatest(values: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Return the places of the k greatest values, the greatest first; of equal ones the first.

    Sorting all of a large catalogue's values takes ten times as long.
    """
    place = np.arange(len(values))
    if 0 < k < len(values):
        least = np.partition(values, len(values) - k)[len(values) - k]
        above, equal = np.flatnonzero(values > least), np.flatnonzero(values == least)
        place = np.union1d(above, equal[: k - len(above)])
    return place[np.argsort(-values[place], kind="stable")][:k]


class DemandReader:
    """Reads demand at ascending moments; each count is added once, late ones when they come.

    It begins from zero when it is asked for an earlier moment, when more came late than is
    remembered, and, without a start, when buckets have left the window.
    """

    def __init__(
        self,
        popularity: Popularity,
        rows: ItemRows,
        items: int,
        half_lives_days: Sequence[float],
        market: int | None = None,
        start: Demand | None = None,
    ) -> None:
        """rows: of item keys, `items` in all; market: a country's bucket, or None for all.

        start: what was known at a moment; only what is counted from then on is read.
        """
        self._start = start
        self._popularity, self._rows, self._items = popularity, rows, items
        self._half_lives = tuple(half_lives_days)
        self._market = market
        self._begin()

    def _begin(self) -> None:
        start, bucket_ms = self._start, self._popularity.bucket_ms
        self._end = 0  # buckets before this one are in the sums
        self._version, self._oldest = -1, -1
        self._sums = np.zeros((self._items, len(self._half_lives)))
        self._first = np.full(self._items, -1, np.int64)
        self._last = np.full(self._items, -1, np.int64)
        self._read: Demand | None = None
        if start is not None:
            self._end = -(-start.at_ms // bucket_ms)
            self._sums += start.values
            met, days = start.age_days > 0, bucket_ms / _DAY_MS
            first = self._end - np.rint(start.age_days / days).astype(np.int64)
            last = self._end - 1 - np.rint(start.silent_days / days).astype(np.int64)
            self._first[met], self._last[met] = first[met], last[met]

    def at(self, at_ms: int) -> Demand:
        """Return the demand from buckets that ended by `at_ms`."""
        end = at_ms // self._popularity.bucket_ms
        if end < self._end:
            self._begin()
        if self._start is not None and end <= self._end and self._version < 0:
            return self._start
        news = self._popularity.news(self._end, end, self._version, self._market)
        gone = self._start is None and news.oldest != self._oldest
        if self._version >= 0 and (gone or news.late is None):
            self._begin()
            news = self._popularity.news(self._end, end, news.version, self._market)
        # What came late before the first reading is in it.
        late = news.late if self._version >= 0 else None
        self._version, self._oldest = news.version, news.oldest
        if self._read is not None and end == self._end and (late is None or not len(late.key)):
            return self._read
        bucket_days = self._popularity.bucket_ms / _DAY_MS
        halves = np.asarray(self._half_lives)
        self._sums *= np.exp2(-(end - self._end) * bucket_days / halves)
        self._end = end
        if late is not None:
            self._add(late)
        self._add(news.counts)
        met = self._first >= 0
        age = np.where(met, (end - self._first) * bucket_days, 0)
        silent = np.where(met, (end - 1 - self._last) * bucket_days, 0)
        self._read = Demand(
            at_ms=end * self._popularity.bucket_ms,
            half_lives_days=self._half_lives,
            values=np.maximum(self._sums, 0).astype(np.float32),
            age_days=age.astype(np.float32),
            silent_days=silent.astype(np.float32),
        )
        return self._read

    def _add(self, counts: BucketCounts) -> None:
        row = self._rows(counts.key)
        known = row >= 0
        row, bucket, count = row[known], counts.bucket[known], counts.events[known]
        if not len(row):
            return
        behind = (self._end - 1 - bucket) * (self._popularity.bucket_ms / _DAY_MS)
        for place, half_life in enumerate(self._half_lives):
            self._sums[:, place] += np.bincount(
                row, weights=count * np.exp2(-behind / half_life), minlength=self._items
            )
        newest = np.full(self._items, -1, np.int64)
        np.maximum.at(newest, row, bucket)
        oldest = np.full(self._items, np.iinfo(np.int64).max)
        np.minimum.at(oldest, row, bucket)
        first = np.where(self._first < 0, np.iinfo(np.int64).max, self._first)
        self._first = np.where(newest >= 0, np.minimum(first, oldest), self._first)
        self._last = np.maximum(self._last, newest)

    def now(self, at_ms: int) -> NDArray[np.float32]:
        """Return the demand f32 [n, k] with the events of the bucket of `at_ms` so far."""
        bucket = at_ms // self._popularity.bucket_ms
        found = self._popularity.between(bucket, bucket + 1, self._market)
        row, count = self._rows(found.key), found.events
        open_bucket = np.bincount(
            row[row >= 0], weights=count[row >= 0], minlength=self._items
        ).astype(np.float32)
        return self.at(at_ms).values + open_bucket[:, None]
