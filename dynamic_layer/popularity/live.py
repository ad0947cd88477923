"""Live popularity: the sum of what the partitions' states count, as their records come."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.popularity.demand_block import DemandRecord
from dynamic_layer.popularity.event_counts import BucketCounts, News, Popularity

#: Rows of late counts that are remembered; a reader that is further behind begins from zero.
_REMEMBERED = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Block:
    """A partition's counts of a bucket: 14 bytes a row, for this is what memory goes to.

    records: i64 [p], p a power of two; of how many records the rows with key % p == i were made.
    """

    records: NDArray[np.int64]
    key: NDArray[np.uint64]
    market: NDArray[np.uint16]
    count: NDArray[np.uint32]


NO_COUNTS = Block(
    records=np.full(1, -1, np.int64),
    key=np.zeros(0, np.uint64),
    market=np.zeros(0, np.uint16),
    count=np.zeros(0, np.uint32),
)


@dataclass(frozen=True, kw_only=True)
class Late:
    """What a bucket that was read already was given, or what was taken from it (below 0)."""

    bucket: int
    key: NDArray[np.uint64]
    market: NDArray[np.uint16]
    count: NDArray[np.int64]


class LivePopularity(Popularity):
    """The sum over all partitions, bucket by bucket.

    Guarantees: counts replace those of the same partition, bucket and items that were made of
    fewer records, and no others; so the sum is exact whatever is read twice, in whatever order, or
    comes from a worker that has lost its partition. May be written and read in different threads.
    """

    def __init__(self, *, bucket_ms: int, window_buckets: int) -> None:
        """bucket_ms: length of a bucket in the states; window_buckets: buckets that are kept."""
        super().__init__(bucket_hours=1.0, window_days=1.0)
        self._bucket_ms, self._window = bucket_ms, window_buckets
        self._blocks: dict[int, dict[int, Block]] = {}
        self._turn = Lock()
        self._newest = -1
        self._read_to = 0  # some reader has read the buckets before this one
        self._events = 0
        self._late: deque[Late] = deque()
        self._late_rows = 0
        self._version = 0  # late changes so far; the newest of them are in `_late`

    def put(self, record: DemandRecord) -> bool:
        """Take a partition's counts of a bucket; return whether they are new."""
        with self._turn:
            return self._put(record)

    def _put(self, record: DemandRecord) -> bool:
        bucket = record.bucket
        if bucket <= self._newest - self._window:
            return False
        known = self._blocks.get(bucket, {}).get(record.partition, NO_COUNTS)
        block = replaced(known, record)
        if block is None:
            return False
        self._blocks.setdefault(bucket, {})[record.partition] = block
        self._events += _events(block) - _events(known)
        if bucket < self._read_to:
            self._remember(bucket, known, block)
        if bucket > self._newest:
            self._newest = bucket
            for old in [b for b in self._blocks if b <= bucket - self._window]:
                self._events -= sum(_events(gone) for gone in self._blocks.pop(old).values())
        return True

    def _remember(self, bucket: int, before: Block, after: Block) -> None:
        self._version += 1
        late = difference(bucket, before, after)
        self._late.append(late)
        self._late_rows += len(late.key)
        while self._late_rows > _REMEMBERED:
            self._late_rows -= len(self._late.popleft().key)

    def events(self) -> int:
        """Return how many events the window holds."""
        return self._events

    def rows(self) -> int:
        """Return how many (partition, bucket, item, market) are kept, at 14 bytes each."""
        with self._turn:
            return sum(len(b.key) for parts in self._blocks.values() for b in parts.values())

    def oldest(self) -> int:
        """Return the first bucket that has counts, -1 if none has."""
        with self._turn:
            return min(self._blocks, default=-1)

    def news(self, first: int, end: int, since: int, market: int | None = None) -> News:
        """Return what a reader that has read the buckets before `first` has to read by `end`."""
        with self._turn:
            self._read_to = max(self._read_to, end)
            version, oldest = self._version, min(self._blocks, default=-1)
            behind = version - since
            late = None
            if 0 <= behind <= len(self._late):
                late = [self._late[-n] for n in range(behind, 0, -1)]
            chosen = self._chosen(first, end)
        if late is None:
            return News(version, oldest, None, _counts(chosen, market))
        corrections = [(entry.bucket, entry) for entry in late if entry.bucket < first]
        return News(version, oldest, _counts(corrections, market), _counts(chosen, market))

    def between(self, first: int, end: int, market: int | None = None) -> BucketCounts:
        """Return the counts of buckets `first` to before `end`, ascending by bucket."""
        with self._turn:
            chosen = self._chosen(first, end)
        return _counts(chosen, market)

    def _chosen(self, first: int, end: int) -> list[tuple[int, Block]]:
        # A running bucket is asked for all the time: then the window is not gone through.
        wanted = range(first, end) if end - first <= len(self._blocks) else sorted(self._blocks)
        return [
            (bucket, block)
            for bucket in wanted
            if first <= bucket < end
            for block in self._blocks.get(bucket, {}).values()
        ]

    def _by_market(self) -> NDArray[np.float64]:
        with self._turn:
            blocks = [block for parts in self._blocks.values() for block in parts.values()]
        total = np.zeros(1 + max((int(b.market.max(initial=0)) for b in blocks), default=0))
        for block in blocks:
            found = np.bincount(block.market, weights=block.count)
            total[: len(found)] += found
        return total

    def add(
        self,
        keys: NDArray[np.uint64],
        timestamps: NDArray[np.int64],
        markets: NDArray[np.int64],
    ) -> None:
        """Refuse events: they are counted by the states."""
        raise TypeError("live popularity takes records of counts, not events")


def replaced(known: Block, record: DemandRecord) -> Block | None:
    """Return a block with what a record knows better; None if that is nothing."""
    parts = max(len(known.records), record.parts)
    records = known.records[np.arange(parts) % len(known.records)]
    mine = np.arange(parts) % record.parts == record.part
    better = mine & (records <= record.records)
    if not better.any():
        return None
    records[better] = record.records
    key, market, count = record.keys, record.markets, record.counts
    if not better.all():
        new, old = better[_part(key, parts)], ~better[_part(known.key, parts)]
        key = np.concatenate([known.key[old], key[new]])
        market = np.concatenate([known.market[old], market[new].astype(np.uint16)])
        count = np.concatenate([known.count[old], count[new].astype(np.uint32)])
    return Block(
        records=records,
        key=key,
        market=market.astype(np.uint16),
        count=count.astype(np.uint32),
    )


def _part(key: NDArray[np.uint64], parts: int) -> NDArray[np.int64]:
    return (key % np.uint64(parts)).astype(np.int64)


def _events(block: Block) -> int:
    return int(block.count.sum(dtype=np.int64))


def difference(bucket: int, before: Block, after: Block) -> Late:
    """Return what one block has more than another, below 0 where less; ascending by key."""
    key = np.concatenate([before.key, after.key])
    market = np.concatenate([before.market, after.market])
    count = np.concatenate([-before.count.astype(np.int64), after.count.astype(np.int64)])
    order = np.lexsort((market, key))
    key, market, count = key[order], market[order], count[order]
    starts = np.flatnonzero(np.r_[len(key) > 0, (np.diff(key) != 0) | (np.diff(market) != 0)])
    total = np.add.reduceat(count, starts) if len(starts) else count
    changed = starts[total != 0]
    return Late(bucket=bucket, key=key[changed], market=market[changed], count=total[total != 0])


def _counts(parts: Sequence[tuple[int, Block | Late]], market: int | None) -> BucketCounts:
    buckets, keys, counts = [], [], []
    for bucket, part in parts:
        chosen = slice(None) if market is None else part.market == market
        keys.append(part.key[chosen])
        counts.append(part.count[chosen].astype(np.int64))
        buckets.append(np.full(len(keys[-1]), bucket, np.int64))
    if not parts:
        return BucketCounts(np.zeros(0, np.int64), np.zeros(0, np.uint64), np.zeros(0, np.int64))
    return BucketCounts(np.concatenate(buckets), np.concatenate(keys), np.concatenate(counts))
