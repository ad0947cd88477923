"""Adjacency runs: how co-interaction deltas lie in RocksDB.

Key    b"p" + bucket (u32) + block (u32) + run (u64), big-endian, so that a bucket is one range.
Value  three packed arrays of equal length: item (u32), neighbour (u32), delta (i32), sorted by
       (item, neighbour); both directions of a pair are written, the diagonal once.

A block holds 64 neighbouring item numbers: one value an item would cost one RocksDB write for
every item that a commit touches (`docs/adr/0003-adjacency-blocks.md`).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from state.kernel import NONE, Fold

__all__ = ["BLOCK_BITS", "PREFIX", "Deltas", "empty_fold", "run_key", "unpack_run"]

BLOCK_BITS = 6
PREFIX = b"p"

U32 = npt.NDArray[np.uint32]
I32 = npt.NDArray[np.int32]

_KEY = struct.Struct(">cIIQ")


def run_key(bucket: int, block: int, run: int) -> bytes:
    """Key of a run."""
    return _KEY.pack(PREFIX, bucket, block, run)


def bucket_of(key: bytes) -> int:
    """Bucket that a run's key names."""
    return int(_KEY.unpack(key)[1])


def bucket_prefix(bucket: int) -> bytes:
    """First key of a bucket; the range [prefix(b), prefix(b + 1)) is the bucket."""
    return PREFIX + struct.pack(">I", bucket)


def block_prefix(bucket: int, block: int) -> bytes:
    """First key of the runs of a block of items in a bucket."""
    return PREFIX + struct.pack(">II", bucket, block)


def pack_run(item: U32, neighbour: U32, delta: I32) -> bytes:
    """Value of a run."""
    return item.tobytes() + neighbour.tobytes() + delta.tobytes()


def unpack_run(value: bytes) -> tuple[U32, U32, I32]:
    """Arrays (item, neighbour, delta) of a run's value."""
    n = len(value) // 12
    return (
        np.frombuffer(value, "<u4", n),
        np.frombuffer(value, "<u4", n, 4 * n),
        np.frombuffer(value, "<i4", n, 8 * n),
    )


def empty_fold(slots: int) -> Fold:
    """A table for at most three quarters of `slots` deltas; `slots` is a power of two."""
    return (
        np.zeros(slots, np.uint64),
        np.full(slots, NONE, np.int32),
        np.zeros(slots, np.int32),
        np.zeros(1, np.int64),
    )


def cleared(fold: Fold, slots: int) -> Fold:
    """An empty table of `slots`; the memory of `fold` is used again unless it has grown."""
    if len(fold[0]) != slots:
        return empty_fold(slots)
    if fold[3][0]:
        fold[1].fill(NONE)
        fold[3].fill(0)
    return fold


@dataclass(frozen=True, kw_only=True)
class Deltas:
    """Deltas of pairs, each unordered pair once, low <= high (dense item numbers)."""

    bucket: I32
    low: U32
    high: U32
    delta: I32

    @classmethod
    def of_fold(cls, fold: Fold, first_live: int) -> "Deltas":
        """What a fold table holds, without zeros and without buckets that have expired."""
        pairs, buckets, deltas, _ = fold
        at = np.flatnonzero((buckets >= first_live) & (deltas != 0))
        return cls(
            bucket=buckets[at],
            low=(pairs[at] >> np.uint64(32)).astype(np.uint32),
            high=(pairs[at] & np.uint64(0xFFFFFFFF)).astype(np.uint32),
            delta=deltas[at],
        )

    def __len__(self) -> int:
        return len(self.bucket)

    def runs(self) -> Iterator[tuple[int, int, bytes]]:
        """(bucket, block, value) of the runs that store these deltas in both directions."""
        mirrored = self.low != self.high
        bucket = np.concatenate([self.bucket, self.bucket[mirrored]])
        item = np.concatenate([self.low, self.high[mirrored]])
        neighbour = np.concatenate([self.high, self.low[mirrored]])
        delta = np.concatenate([self.delta, self.delta[mirrored]])
        order = np.lexsort((neighbour, item, bucket))
        bucket, item, neighbour, delta = (a[order] for a in (bucket, item, neighbour, delta))
        block = item >> np.uint32(BLOCK_BITS)
        edges = np.flatnonzero((np.diff(bucket) != 0) | (np.diff(block) != 0)) + 1
        starts = np.concatenate([[0], edges]) if len(item) else edges
        for start, end in zip(starts, np.append(edges, len(item)), strict=False):
            part = slice(start, end)
            value = pack_run(item[part], neighbour[part], delta[part])
            yield int(bucket[start]), int(block[start]), value


def merge_runs(values: list[bytes]) -> bytes:
    """One run with the sum of several runs of the same bucket and block; empty if all is zero."""
    parts = [unpack_run(value) for value in values]
    item, neighbour = (np.concatenate([p[i] for p in parts]) for i in (0, 1))
    delta = np.concatenate([p[2] for p in parts])
    pair = (item.astype(np.uint64) << np.uint64(32)) | neighbour
    unique, where = np.unique(pair, return_inverse=True)
    total = np.bincount(where, delta, len(unique)).astype(np.int32)
    kept = total != 0
    unique = unique[kept]
    return pack_run(
        (unique >> np.uint64(32)).astype(np.uint32),
        (unique & np.uint64(0xFFFFFFFF)).astype(np.uint32),
        total[kept],
    )
