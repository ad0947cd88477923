"""Recent demand: integer event counts in short buckets, decayed when they are read."""

from dataclasses import dataclass

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
        parts = [self._counts, *self._recent]
        bucket, market, key, count = (
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("bucket", "market", "key", "count")
        )
        self._recent, self._recent_events = [], 0
        kept = bucket > bucket.max(initial=0) - self._window
        order = np.flatnonzero(kept)[np.lexsort((key[kept], market[kept], bucket[kept]))]
        bucket, market, key, count = bucket[order], market[order], key[order], count[order]
        if not len(key):
            return
        starts = np.flatnonzero(
            np.r_[True, (np.diff(bucket) != 0) | (np.diff(market) != 0) | (key[1:] != key[:-1])]
        )
        self._counts = _Counts(
            bucket=bucket[starts],
            market=market[starts],
            key=key[starts],
            count=np.add.reduceat(count, starts),
        )

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
