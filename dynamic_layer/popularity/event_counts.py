"""Recent demand: integer event counts in short buckets, decayed when they are read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.items.features import ItemRows
from dynamic_layer.saved import Saved

_HOUR_MS = 3_600_000
_DAY_MS = 86_400_000
_COMPACT_ABOVE = 1 << 16


@dataclass(frozen=True, kw_only=True)
class _Counts:
    """Distinct (bucket, market, key) with their counts."""

    bucket: NDArray[np.int64]
    market: NDArray[np.int64]
    key: NDArray[np.uint64]
    count: NDArray[np.int64]

    def where(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> "_Counts":
        return _Counts(**{name: column[chosen] for name, column in vars(self).items()})


def _joined(parts: Sequence[_Counts]) -> _Counts:
    return _Counts(
        **{
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in ("bucket", "market", "key", "count")
        }
    )


def _summed(counts: _Counts) -> _Counts:
    """Return the counts ascending by bucket, market and key, each of these once."""
    if not len(counts.key):
        return counts
    counts = counts.where(np.lexsort((counts.key, counts.market, counts.bucket)))
    bucket, market, key = counts.bucket, counts.market, counts.key
    starts = np.flatnonzero(
        np.r_[True, (np.diff(bucket) != 0) | (np.diff(market) != 0) | (key[1:] != key[:-1])]
    )
    total = np.add.reduceat(counts.count, starts)
    return _Counts(bucket=bucket[starts], market=market[starts], key=key[starts], count=total)


class BucketCounts(NamedTuple):
    """Counts by bucket and item, [m] each; a pair may come several times, and counts add up."""

    bucket: NDArray[np.int64]
    key: NDArray[np.uint64]
    events: NDArray[np.int64]


_NONE = BucketCounts(np.zeros(0, np.int64), np.zeros(0, np.uint64), np.zeros(0, np.int64))


class News(NamedTuple):
    """What is new to a reader, all as of one moment.

    version: to be given back with the next question.
    oldest:  first bucket that has counts, -1 if none has.
    late:    what was added to (or, below 0, taken from) buckets that the reader has read already;
             None where that is not remembered: it has to begin from zero.
    counts:  the buckets that it asked for.
    """

    version: int
    oldest: int
    late: BucketCounts | None
    counts: BucketCounts


class Popularity:
    """Counts events per item, market and bucket of time.

    Guarantees: the counts do not depend on the order or the batching of the events; buckets that
    fall out of the window are dropped, so memory is bounded by the window's distinct
    (bucket, market, item).
    """

    def __init__(self, *, bucket_hours: float, window_days: float) -> None:
        """bucket_hours: length of a bucket; window_days: span of buckets that are kept."""
        self._bucket_ms = int(bucket_hours * _HOUR_MS)
        self._window = int(window_days * _DAY_MS) // self._bucket_ms
        none = np.zeros(0, np.int64)
        self._counts = _Counts(bucket=none, market=none, key=none.astype(np.uint64), count=none)
        self._recent: list[_Counts] = []
        self._recent_events = 0

    @property
    def bucket_ms(self) -> int:
        """Length of a bucket."""
        return self._bucket_ms

    def whole(self, at_ms: int) -> int:
        """Return the end of the last bucket that ended by `at_ms`, ms UTC."""
        return at_ms // self._bucket_ms * self._bucket_ms

    def events(self) -> int:
        """Return how many events the window holds."""
        self._compact()
        return int(self._counts.count.sum())

    def oldest(self) -> int:
        """Return the first bucket that has counts, -1 if none has."""
        self._compact()
        return int(self._counts.bucket[0]) if len(self._counts.bucket) else -1

    def news(self, first: int, end: int, since: int, market: int | None = None) -> "News":
        """Return what a reader that has read the buckets before `first` has to read by `end`.

        since: the `version` of its last call; what came to buckets before `first` after that is in
        `late`.
        """
        return News(0, self.oldest(), _NONE, self.between(first, end, market))

    def between(self, first: int, end: int, market: int | None = None) -> "BucketCounts":
        """Return the counts of buckets `first` to before `end`, ascending by bucket."""
        self._compact()
        counts = self._counts
        part = slice(*np.searchsorted(counts.bucket, [first, end]))
        bucket, key, count = counts.bucket[part], counts.key[part], counts.count[part]
        if market is None:
            return BucketCounts(bucket, key, count)
        own = counts.market[part] == market
        return BucketCounts(bucket[own], key[own], count[own])

    def add(
        self,
        keys: NDArray[np.uint64],
        timestamps: NDArray[np.int64],
        markets: NDArray[np.int64],
    ) -> None:
        """Count events: item keys u64 [n], times i64 [n] in ms UTC, country buckets i64 [n]."""
        self._recent.append(
            _Counts(
                bucket=timestamps // self._bucket_ms,
                market=markets.astype(np.int64),
                key=keys.astype(np.uint64),
                count=np.ones(len(keys), np.int64),
            )
        )
        self._recent_events += len(keys)
        if self._recent_events > max(_COMPACT_ABOVE, len(self._counts.key)):
            self._compact()

    def _compact(self) -> None:
        if not self._recent:
            return
        joined = _joined([self._counts, *self._recent])
        self._recent, self._recent_events = [], 0
        newest = joined.bucket.max(initial=0)
        self._counts = _summed(joined.where(joined.bucket > newest - self._window))

    def saved(self) -> Saved:
        """Return the counts of the window."""
        self._compact()
        return Saved(arrays=dict(vars(self._counts)), values={"bucket_ms": self._bucket_ms})

    def restore(self, saved: Saved) -> None:
        """Hold the counts of another. Raises ValueError where its buckets are of another length."""
        if saved.values["bucket_ms"] != self._bucket_ms:
            got = saved.values["bucket_ms"]
            raise ValueError(f"expected buckets of {self._bucket_ms} ms, got {got}")
        self._counts = _Counts(**saved.arrays)
        self._recent, self._recent_events = [], 0

    def read(
        self,
        rows: ItemRows,
        items: int,
        *,
        at_ms: int,
        half_life_days: float | NDArray[np.float64],
        market: int | None = None,
    ) -> NDArray[np.float32]:
        """Return each item's decayed count, f32 [items], from buckets that ended by `at_ms`.

        The bucket that holds `at_ms` itself is left out when `at_ms` is not its end, so that a
        reading never contains what came later. half_life_days: of all items, or of each, [items];
        market: one country's bucket, or None for all.
        """
        bucket, key, count = self.between(0, at_ms // self._bucket_ms, market)
        row = rows(key)
        age_days = (at_ms - (bucket + 1) * self._bucket_ms) / _DAY_MS
        known = row >= 0
        row, age_days = row[known], age_days[known]
        halves = half_life_days if isinstance(half_life_days, float) else half_life_days[row]
        weight = count[known] * np.exp2(-age_days / halves)
        total = np.bincount(row, weights=weight, minlength=items)
        return total.astype(np.float32)

    def markets(self, most: int) -> list[int]:
        """Return the known markets with the most events, at most `most`."""
        events = self._by_market()
        order = np.argsort(-events, kind="stable")
        return [int(market) for market in order if market and events[market] > 0][:most]

    def _by_market(self) -> NDArray[np.float64]:
        self._compact()
        counts = self._counts
        return np.asarray(np.bincount(counts.market, weights=counts.count), np.float64)
