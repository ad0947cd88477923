"""Adjacency runs: how co-interaction deltas lie in RocksDB.

Key    b"p" + bucket (u32) + block (u32) + run (u64), big-endian, so that a bucket is one range.
Value  one byte of widths, then packed little-endian arrays of equal length: neighbour (u16 or u32),
       delta (i8, i16 or i32), item within the block (u8). Both directions of a pair are written,
       the diagonal once. No order: reading sums.

A block holds 64 neighbouring item numbers: one value an item would cost one RocksDB write for
every item that a commit touches (`docs/adr/0003-adjacency-blocks.md`).
"""

import struct
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from numba import njit

from state.kernel import I64, NONE, Fold

__all__ = ["BLOCK_BITS", "PREFIX", "empty_fold", "pack_run", "run_key", "runs_of_fold",
           "unpack_run"]  # fmt: skip

BLOCK_BITS = 6
PREFIX = b"p"

U8 = npt.NDArray[np.uint8]
U32 = npt.NDArray[np.uint32]
I32 = npt.NDArray[np.int32]

_KEY = struct.Struct(">cIIQ")
_LOCAL = (1 << BLOCK_BITS) - 1
#: Greatest numbers that fit the narrow forms.
_U16, _I8, _I16 = 65_535, 127, 32_767


def run_key(bucket: int, block: int, run: int) -> bytes:
    """Key of a run."""
    return _KEY.pack(PREFIX, bucket, block, run)


def place_of(key: bytes) -> tuple[int, int]:
    """Bucket and block that a run's key names."""
    _, bucket, block, _ = _KEY.unpack(key)
    return bucket, block


def bucket_prefix(bucket: int) -> bytes:
    """First key of a bucket; the range [prefix(b), prefix(b + 1)) is the bucket."""
    return PREFIX + struct.pack(">I", bucket)


def block_prefix(bucket: int, block: int) -> bytes:
    """First key of the runs of a block of items in a bucket."""
    return PREFIX + struct.pack(">II", bucket, block)


def pack_run(item: U32, neighbour: U32, delta: I32) -> bytes:
    """Value of a run of items of one block."""
    wide = 4 if neighbour.max() > _U16 else 2
    greatest = np.abs(delta).max()
    size = 1 if greatest <= _I8 else 2 if greatest <= _I16 else 4
    return b"".join(
        (
            bytes([wide << 4 | size]),
            neighbour.astype(f"<u{wide}").tobytes(),
            delta.astype(f"<i{size}").tobytes(),
            (item & np.uint32(_LOCAL)).astype(np.uint8).tobytes(),
        )
    )


def unpack_run(block: int, value: bytes) -> tuple[U32, U32, I32]:
    """Arrays (item, neighbour, delta) of a run's value."""
    wide, size = value[0] >> 4, value[0] & 15
    n = (len(value) - 1) // (wide + size + 1)
    local = np.frombuffer(value, np.uint8, n, 1 + (wide + size) * n)
    return (
        local.astype(np.uint32) + np.uint32(block << BLOCK_BITS),
        np.frombuffer(value, f"<u{wide}", n, 1).astype(np.uint32),
        np.frombuffer(value, f"<i{size}", n, 1 + wide * n).astype(np.int32),
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
    """An empty table of at least `slots`; one that grew stays as great while it is filled well."""
    used = int(fold[3][0])
    if len(fold[0]) > max(slots, 8 * used):
        return empty_fold(slots)
    if used:
        fold[1].fill(NONE)
        fold[3].fill(0)
    return fold


def runs_of_fold(fold: Fold, first_live: int) -> Iterator[tuple[int, int, bytes]]:
    """(bucket, block, value) of the runs that store a fold table, in order of their keys.

    Zeros and buckets before `first_live` are left out.
    """
    least, buckets, blocks = _extent(fold, first_live)
    count, wide, size = _cells(fold, first_live, least, buckets, blocks)
    cells = np.flatnonzero(count)
    ends = np.cumsum(1 + count[cells] * (wide[cells] + size[cells] + 1))
    begins = np.concatenate([[0], ends[:-1]]) if len(ends) else ends
    out = np.empty(int(ends[-1]) if len(ends) else 0, np.uint8)
    place = np.zeros(len(count), np.int64)
    place[cells] = begins
    _scatter(fold, first_live, least, blocks, count, wide, size, place, out)
    packed = out.tobytes()
    for cell, begin, end in zip(cells.tolist(), begins.tolist(), ends.tolist(), strict=True):
        yield least + cell // blocks, cell % blocks, packed[begin:end]


def merge_runs(block: int, values: Sequence[bytes]) -> bytes:
    """One run with the sum of several runs of the same bucket and block; empty if all is zero."""
    parts = [unpack_run(block, value) for value in values]
    item, neighbour = (np.concatenate([p[i] for p in parts]) for i in (0, 1))
    delta = np.concatenate([p[2] for p in parts])
    pair = (item.astype(np.uint64) << np.uint64(32)) | neighbour
    unique, where = np.unique(pair, return_inverse=True)
    total = np.bincount(where, delta, len(unique)).astype(np.int32)
    kept = total != 0
    unique = unique[kept]
    if not len(unique):
        return b""
    return pack_run(
        (unique >> np.uint64(32)).astype(np.uint32),
        (unique & np.uint64(0xFFFFFFFF)).astype(np.uint32),
        total[kept],
    )


@njit(cache=True)
def _extent(fold: Fold, first_live: int) -> tuple[np.int64, np.int64, np.int64]:
    """Least bucket, number of buckets and number of blocks of what is live in a fold table."""
    pairs, buckets, deltas, _ = fold
    least, greatest, high = np.int64(1 << 62), np.int64(-1), np.int64(-1)
    for slot in range(len(pairs)):
        if buckets[slot] >= first_live and buckets[slot] != NONE and deltas[slot] != 0:
            least = min(least, np.int64(buckets[slot]))
            greatest = max(greatest, np.int64(buckets[slot]))
            high = max(high, np.int64(pairs[slot] & np.uint64(0xFFFFFFFF)))
    if greatest < 0:
        return np.int64(0), np.int64(0), np.int64(0)
    return least, greatest - least + 1, (high >> BLOCK_BITS) + 1


@njit(cache=True)
def _cells(
    fold: Fold, first_live: int, least: int, buckets: int, blocks: int
) -> tuple[I64, I64, I64]:
    """Entries of each (bucket, block) cell, bytes of a neighbour and of a delta: [cells] each."""
    pairs, bucket, deltas, _ = fold
    count = np.zeros(buckets * blocks, np.int64)
    wide = np.full(buckets * blocks, 2)
    size = np.full(buckets * blocks, 1)
    for slot in range(len(pairs)):
        delta = deltas[slot]
        if bucket[slot] < first_live or bucket[slot] == NONE or delta == 0:
            continue
        low = np.int64(pairs[slot] >> np.uint64(32))
        high = np.int64(pairs[slot] & np.uint64(0xFFFFFFFF))
        needs = 1 if abs(delta) <= _I8 else 2 if abs(delta) <= _I16 else 4
        first = (bucket[slot] - least) * blocks
        for turn in range(1 if low == high else 2):
            item, neighbour = (low, high) if turn == 0 else (high, low)
            cell = first + (item >> BLOCK_BITS)
            count[cell] += 1
            wide[cell] = max(wide[cell], 4 if neighbour > _U16 else 2)
            size[cell] = max(size[cell], needs)
    return count, wide, size


@njit(cache=True)
def _scatter(
    fold: Fold,
    first_live: int,
    least: int,
    blocks: int,
    count: I64,
    wide: I64,
    size: I64,
    place: I64,
    out: U8,
) -> None:
    """Write the entries of each cell at its place; `place` is used up."""
    pairs, bucket, deltas, _ = fold
    begin = place.copy()
    for cell in range(len(count)):
        if count[cell]:
            out[begin[cell]] = wide[cell] << 4 | size[cell]
    place[:] = 0
    for slot in range(len(pairs)):
        delta = np.int64(deltas[slot])
        if bucket[slot] < first_live or bucket[slot] == NONE or delta == 0:
            continue
        low = np.int64(pairs[slot] >> np.uint64(32))
        high = np.int64(pairs[slot] & np.uint64(0xFFFFFFFF))
        first = (bucket[slot] - least) * blocks
        for turn in range(1 if low == high else 2):
            item, neighbour = (low, high) if turn == 0 else (high, low)
            cell = first + (item >> BLOCK_BITS)
            n, k = count[cell], place[cell]
            place[cell] += 1
            at = begin[cell] + 1
            _put(out, at + wide[cell] * k, neighbour, wide[cell])
            at += wide[cell] * n
            _put(out, at + size[cell] * k, delta, size[cell])
            out[at + size[cell] * n + k] = item & _LOCAL


@njit(cache=True, inline="always")
def _put(out: U8, at: int, value: int, size: int) -> None:
    for byte in range(size):
        out[at + byte] = (value >> (8 * byte)) & 255
