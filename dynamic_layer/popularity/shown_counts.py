"""How often items were shown and then taken: the sums of what the partitions' states count."""

from collections import defaultdict
from dataclasses import replace
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.popularity.demand_block import DemandRecord
from dynamic_layer.popularity.live import NO_COUNTS, Block, difference, replaced

__all__ = ["ShownCounts"]


class ShownCounts:
    """The sums over all partitions, positions and buckets of the window, by item.

    A showing counts once for a user, an item and a bucket (`state.taken`). As with live popularity,
    counts replace those of the same partition and bucket that were made of fewer records, so that
    the sums are exact whatever is read twice or late. May be written and read in different threads.
    """

    def __init__(self, *, bucket_ms: int, window_buckets: int) -> None:
        """bucket_ms: length of a bucket of the states' window; window_buckets: that are kept."""
        self.bucket_ms, self._window = bucket_ms, window_buckets
        self._turn = Lock()
        self._newest = -1
        self._sums = {"shown": _Sum(), "taken": _Sum()}

    def put(self, record: DemandRecord) -> bool:
        """Add a partition's counts of a bucket; returns whether they are new."""
        with self._turn:
            if record.bucket <= self._newest - self._window:
                return False
            if record.bucket > self._newest:
                self._newest = record.bucket
                for side in self._sums.values():
                    side.drop(self._newest - self._window)
            return self._sums[record.counts_of].put(record)

    def of(self, keys: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return how often items were shown, and of it taken, int64 [n] each; keys: u64 [n]."""
        with self._turn:
            return self._sums["shown"].of(keys), self._sums["taken"].of(keys)


class _Sum:
    """One of the two counts."""

    def __init__(self) -> None:
        self._blocks: dict[int, dict[int, Block]] = defaultdict(dict)
        self._keys, self._total = np.zeros(0, np.uint64), np.zeros(0, np.int64)

    def put(self, record: DemandRecord) -> bool:
        known = self._blocks[record.bucket].get(record.partition, NO_COUNTS)
        block = replaced(known, _without_positions(record))
        if block is None:
            return False
        self._blocks[record.bucket][record.partition] = block
        self._change(record.bucket, known, block)
        return True

    def drop(self, last: int) -> None:
        """Forget the buckets up to `last`."""
        for bucket in [bucket for bucket in self._blocks if bucket <= last]:
            for block in self._blocks.pop(bucket).values():
                self._change(bucket, block, NO_COUNTS)

    def _change(self, bucket: int, before: Block, after: Block) -> None:
        news = difference(bucket, before, after)
        place = np.searchsorted(self._keys, news.key)
        known = np.zeros(len(news.key), bool)
        inside = place < len(self._keys)
        known[inside] = self._keys[place[inside]] == news.key[inside]
        self._total[place[known]] += news.count[known]
        new = ~known
        self._keys = np.insert(self._keys, place[new], news.key[new])
        self._total = np.insert(self._total, place[new], news.count[new])

    def of(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        found = np.zeros(len(keys), np.int64)
        if len(self._keys):
            place = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
            known = self._keys[place] == keys
            found[known] = self._total[place[known]]
        return found


def _without_positions(record: DemandRecord) -> DemandRecord:
    keys, place = np.unique(record.keys, return_inverse=True)
    counts = np.bincount(place, record.counts, len(keys)).astype(np.int64)
    return replace(record, keys=keys, markets=np.zeros(len(keys), np.int64), counts=counts)
