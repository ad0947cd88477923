"""Recent demand: integer event counts in short buckets, decayed when they are read."""

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.features import ItemRows

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

    def late(self) -> int:
        """Return a number that changes when counts come to buckets before the newest."""
        return 0

    def between(
        self, first: int, end: int, market: int | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.uint64], NDArray[np.int64]]:
        """Return the counts of buckets `first` to before `end`: bucket, key and count, [m] each.

        Ascending by bucket; a key comes once for each of its markets.
        """
        self._compact()
        counts = self._counts
        part = slice(*np.searchsorted(counts.bucket, [first, end]))
        bucket, key, count = counts.bucket[part], counts.key[part], counts.count[part]
        if market is None:
            return bucket, key, count
        own = counts.market[part] == market
        return bucket[own], key[own], count[own]

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

    def read(
        self,
        rows: ItemRows,
        items: int,
        *,
        at_ms: int,
        half_life_days: float,
        market: int | None = None,
    ) -> NDArray[np.float32]:
        """Return each item's decayed count, f32 [items], from buckets that ended by `at_ms`.

        The bucket that holds `at_ms` itself is left out when `at_ms` is not its end, so that a
        reading never contains what came later. market: one country's bucket, or None for all.
        """
        self._compact()
        counts = self._counts
        end_ms = (counts.bucket + 1) * self._bucket_ms
        chosen = end_ms <= at_ms
        if market is not None:
            chosen &= counts.market == market
        row = rows(counts.key[chosen])
        age_days = (at_ms - end_ms[chosen]) / _DAY_MS
        weight = counts.count[chosen] * np.exp2(-age_days / half_life_days)
        known = row >= 0
        total = np.bincount(row[known], weights=weight[known], minlength=items)
        return total.astype(np.float32)

    def markets(self, most: int) -> list[int]:
        """Return the known markets with the most events, at most `most`."""
        self._compact()
        events = np.bincount(self._counts.market, weights=self._counts.count)
        order = np.argsort(-events, kind="stable")
        return [int(market) for market in order if market and events[market] > 0][:most]


class LivePopularity(Popularity):
    """The sum of what the partitions' states counted, bucket by bucket.

    Guarantees: a block replaces the block of the same partition and bucket that was made of fewer
    records, and no other; so the sum is exact whatever is read twice or comes from a worker that
    has lost its partition. May be written and read in different threads.
    """

    def __init__(self, *, bucket_ms: int, window_buckets: int) -> None:
        """bucket_ms: length of a bucket in the states; window_buckets: buckets that are kept."""
        super().__init__(bucket_hours=1.0, window_days=1.0)
        self._bucket_ms, self._window = bucket_ms, window_buckets
        self._blocks: dict[int, dict[int, tuple[int, _Counts]]] = {}
        self._sums: dict[int, _Counts] = {}
        self._turn = Lock()
        self._newest = -1
        self._late = 0
        self._stale = False

    def put(
        self,
        *,
        partition: int,
        bucket: int,
        records: int,
        keys: NDArray[np.uint64],
        markets: NDArray[np.int64],
        counts: NDArray[np.int64],
    ) -> bool:
        """Take a partition's counts of a bucket, [m] each; return whether they are news.

        records: how many records of the partition the counts were made of.
        """
        with self._turn:
            return self._put(partition, records, bucket, keys, markets, counts)

    def _put(
        self,
        partition: int,
        records: int,
        bucket: int,
        keys: NDArray[np.uint64],
        markets: NDArray[np.int64],
        counts: NDArray[np.int64],
    ) -> bool:
        known = self._blocks.get(bucket, {}).get(partition)
        if bucket <= self._newest - self._window or (known and known[0] > records):
            return False
        block = _Counts(
            bucket=np.full(len(keys), bucket, np.int64), market=markets, key=keys, count=counts
        )
        self._blocks.setdefault(bucket, {})[partition] = (records, block)
        self._sums.pop(bucket, None)
        self._stale = True
        self._late += bucket < self._newest
        if bucket > self._newest:
            self._newest = bucket
            for old in [b for b in self._blocks if b <= bucket - self._window]:
                del self._blocks[old]
                self._sums.pop(old, None)
        return True

    def late(self) -> int:
        """Return how many blocks have come to buckets before the newest."""
        return self._late

    def add(
        self,
        keys: NDArray[np.uint64],
        timestamps: NDArray[np.int64],
        markets: NDArray[np.int64],
    ) -> None:
        """Refuse events: they are counted by the states."""
        raise TypeError("live popularity takes blocks of counts, not events")

    def _compact(self) -> None:
        with self._turn:
            self._sum_up()

    def _sum_up(self) -> None:
        if not self._stale:
            return
        for bucket, parts in self._blocks.items():
            if bucket not in self._sums:
                self._sums[bucket] = _summed(_joined([block for _, block in parts.values()]))
        self._counts = _joined([self._sums[bucket] for bucket in sorted(self._sums)])
        self._stale = False
