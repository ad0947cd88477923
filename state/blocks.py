"""Blocks of adjacency runs: how cells of co-interaction deltas are cut and packed, over arrays.

A run holds what one commit, or the merge of several, adds to the counts of all buckets. It is cut
into blocks of neighbouring item numbers, each a value of its own in RocksDB. Blocks grow with the
item number, as the gaps between floating-point numbers do: items are numbered by first sight, so
that popular ones come early and have blocks of their own, and the long tail shares a few. A sparse
run has a shorter mantissa and so fewer, longer blocks: what a commit costs depends on its deltas
and not on the size of the catalogue (`docs/adr/0012-runs-across-buckets.md`).

Value  two bytes of widths, then packed little-endian arrays of equal length: neighbour (u16 or
       u32), bucket from the run's least (u8), delta (i8, i16 or i32), item within the block (none
       where the block is one item, else u8, u16 or u32). Both directions of a pair are there, the
       diagonal once. Sorted by item, neighbour and bucket, each cell once.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from state.deltas import DELTA_BITS, U32, Cells, summed
from state.kernel import I32, I64, U64

__all__ = [
    "Value",
    "block_of",
    "first_of",
    "mantissa_for",
    "merged",
    "neighbours_in",
    "packed",
    "unpack_block",
]

U8 = npt.NDArray[np.uint8]

#: A block's value, with the first item of the block and the least bucket of its run.
Value = tuple[int, int, bytes]

#: Entries of a block that are worth a value of their own in RocksDB.
BLOCK_ENTRIES = 256
#: Mantissa of a run that is one block.
WHOLE = -1
HEADER = 2
#: Greatest numbers that fit the narrow forms.
_U8, _U16, _I8, _I16 = 255, 65_535, 127, 32_767


@njit(cache=True)
def block_of(item: int, mantissa: int) -> int:
    """Block that holds an item number: the number as a float with so many bits behind the first.

    >>> [block_of(item, 1) for item in range(12)]
    [0, 1, 2, 3, 4, 4, 5, 5, 6, 6, 6, 6]
    """
    if mantissa == WHOLE:
        return 0
    exponent = 0
    while item >> exponent >= 2 << mantissa:
        exponent += 1
    return (exponent << mantissa) + (item >> exponent)


@njit(cache=True)
def first_of(block: int, mantissa: int) -> int:
    """First item number of a block.

    >>> [first_of(block, 1) for block in range(7)]
    [0, 1, 2, 3, 4, 6, 8]
    """
    if mantissa == WHOLE:
        return 0
    exponent = max((block >> mantissa) - 1, 0)
    return (block - (exponent << mantissa)) << exponent


def mantissa_for(entries: int, items: int) -> int:
    """Longest mantissa with which blocks have `BLOCK_ENTRIES` entries on average, or more.

    >>> mantissa_for(1_000_000, 20_000), mantissa_for(10_000, 1_000_000), mantissa_for(10, 100)
    (9, 0, -1)
    """
    mantissa = WHOLE
    while (
        mantissa < 31 and (block_of(max(items, 1) - 1, mantissa + 1) + 1) * BLOCK_ENTRIES <= entries
    ):
        mantissa += 1
    return mantissa


def packed(cells: Cells, least: int, mantissa: int) -> Iterator[tuple[int, bytes]]:
    """(block, value) of cells, ascending. least: least bucket of the run.

    Raises OverflowError for a bucket more than 255 above it.
    """
    if len(cells.item) and int(cells.bucket.max()) - least > _U8:
        raise OverflowError(f"buckets {least} to {int(cells.bucket.max())} in one run")
    blocks, out, starts = _pack(*cells, least, mantissa)
    data = out.tobytes()
    edges = starts.tolist()
    for place, block in enumerate(blocks.tolist()):
        yield block, data[edges[place] : edges[place + 1]]


def unpack_block(first_item: int, least: int, value: bytes) -> Cells:
    """The cells of a block that begins with `first_item`, of a run from bucket `least` on."""
    wide, size, narrow = value[0] >> 4, value[0] & 15, value[1]
    n = (len(value) - HEADER) // (wide + 1 + size + narrow)
    at = HEADER
    neighbour = np.frombuffer(value, f"<u{wide}", n, at)
    at += wide * n
    bucket = np.frombuffer(value, np.uint8, n, at)
    at += n
    delta = np.frombuffer(value, f"<i{size}", n, at)
    at += size * n
    item = np.full(n, first_item, np.uint32)
    if narrow:
        item += np.frombuffer(value, f"<u{narrow}", n, at).astype(np.uint32)
    return Cells(
        item,
        neighbour.astype(np.uint32),
        bucket.astype(np.int32) + np.int32(least),
        delta.astype(np.int32),
    )


def merged(
    values: Sequence[Value], first_item: int, end_item: int, first_live: int, last: int, items: int
) -> Cells:
    """Sum the cells of several runs' blocks for the items in [first_item, end_item).

    Only buckets from `first_live` on are taken; none is beyond `last`. items: numbers in use.
    """
    data, begins, ends, firsts, leasts = _joined(values)
    n = _count(data, begins, ends, firsts, leasts, first_item, end_item, first_live)
    keys = np.empty(n, np.uint64)
    buckets = max(last - first_live + 1, 1)
    neighbour_bits, bucket_bits = max(items - 1, 1).bit_length(), max(buckets - 1, 1).bit_length()
    _keys(
        data, begins, ends, firsts, leasts, first_item, end_item, first_live,
        neighbour_bits, bucket_bits, keys,
    )  # fmt: skip
    return summed(keys, first_item, first_live, items, buckets)


def neighbours_in(
    values: Sequence[Value], number: int, first_live: int, items: int
) -> tuple[U32, I32]:
    """Sum blocks for one item: its neighbours and the users of each pair, without zeros."""
    data, begins, ends, firsts, leasts = _joined(values)
    # Fresh pages are zero already: only those that are touched cost anything.
    totals, met = np.zeros(items, np.int32), np.zeros(items, np.uint8)
    found = _total(data, begins, ends, firsts, leasts, number, first_live, totals, met)
    users = totals[found]
    return found[users != 0], users[users != 0]


Joined = tuple[U8, I64, I64, I64, I64]


def _joined(values: Sequence[Value]) -> Joined:
    """Blocks one behind the other: bytes, begins, ends, first items, least buckets."""
    data = np.frombuffer(b"".join([value for _, _, value in values]), np.uint8)
    ends = np.cumsum(np.array([len(value) for _, _, value in values], np.int64))
    begins = np.concatenate([[0], ends[:-1]]).astype(np.int64)
    firsts = np.array([first for first, _, _ in values], np.int64)
    return data, begins, ends, firsts, np.array([least for _, least, _ in values], np.int64)


@njit(cache=True)
def _pack(
    item: U32, neighbour: U32, bucket: I32, delta: I32, least: int, mantissa: int
) -> tuple[I64, U8, I64]:
    """Blocks, bytes, and where the value of each block begins in them (and the last one ends)."""
    n = len(item)
    blocks, starts = np.empty(n, np.int64), np.empty(n + 1, np.int64)
    # Widest form: neighbour 4, bucket 1, delta 4, item 4.
    out = np.empty(13 * n + HEADER * n, np.uint8)
    count, at, row = 0, 0, 0
    while row < n:
        block = block_of(np.int64(item[row]), mantissa)
        first, behind = first_of(block, mantissa), first_of(block + 1, mantissa)
        end, wide, size = row, 2, 1
        while end < n and (mantissa == WHOLE or np.int64(item[end]) < behind):
            if neighbour[end] > _U16:
                wide = 4
            magnitude = abs(np.int64(delta[end]))
            if magnitude > _I8:
                size = max(size, 2 if magnitude <= _I16 else 4)
            end += 1
        span = np.int64(item[end - 1]) - first
        narrow = 4 if span > _U16 else 2 if span > _U8 else 1
        if mantissa != WHOLE and behind - first == 1:
            narrow = 0
        blocks[count], starts[count] = block, at
        count += 1
        out[at], out[at + 1] = wide << 4 | size, narrow
        at += HEADER
        for k in range(row, end):
            at = _put(out, at, np.int64(neighbour[k]), wide)
        for k in range(row, end):
            out[at] = bucket[k] - least
            at += 1
        for k in range(row, end):
            at = _put(out, at, np.int64(delta[k]), size)
        for k in range(row, end):
            at = _put(out, at, np.int64(item[k]) - first, narrow)
        row = end
    starts[count] = at
    return blocks[:count], out[:at], starts[: count + 1]


@njit(cache=True, inline="always")
def _put(out: U8, at: int, value: int, size: int) -> int:
    for byte in range(size):
        out[at + byte] = (value >> (8 * byte)) & 255
    return at + size


@njit(cache=True, inline="always")
def _get(data: U8, at: int, size: int) -> np.int64:
    value = np.int64(0)
    for byte in range(size):
        value |= np.int64(data[at + byte]) << (8 * byte)
    return value


@njit(cache=True, inline="always")
def _signed(data: U8, at: int, size: int) -> np.int64:
    if size == 1:
        value = np.int64(np.int8(data[at]))
    else:
        value = _get(data, at, size)
        value -= (value >> (8 * size - 1)) << (8 * size)
    return value


@njit(cache=True, inline="always")
def _columns(data: U8, begin: int, end: int) -> tuple[Any, ...]:
    """Entries of a block, three widths, and where its four columns begin."""
    wide, size = np.int64(data[begin] >> 4), np.int64(data[begin] & 15)
    narrow = np.int64(data[begin + 1])
    n = (end - begin - HEADER) // (wide + 1 + size + narrow)
    neighbours = begin + HEADER
    buckets = neighbours + wide * n
    deltas = buckets + n
    return n, wide, size, narrow, neighbours, buckets, deltas, deltas + size * n


@njit(cache=True, inline="always")
def _rows_from(data: U8, items: int, narrow: int, n: int, local: int) -> int:
    """First row of a block whose item is `local` or one behind it."""
    low, high = 0, n
    while low < high:
        middle = (low + high) // 2
        if _get(data, items + narrow * middle, narrow) < local:
            low = middle + 1
        else:
            high = middle
    return low


#: Greatest piece of a delta in a sorted number.
_PIECE = (1 << (DELTA_BITS - 1)) - 1


@njit(cache=True)
def _count(
    data: U8,
    begins: I64,
    ends: I64,
    firsts: I64,
    leasts: I64,
    first_item: int,
    end_item: int,
    first_live: int,
) -> int:
    """Numbers that `_keys` will write."""
    found = 0
    for block in range(len(begins)):
        n, _, size, narrow, _, buckets, deltas, items = _columns(data, begins[block], ends[block])
        low = _rows_from(data, items, narrow, n, first_item - firsts[block])
        high = _rows_from(data, items, narrow, n, end_item - firsts[block])
        for k in range(low, high):
            if leasts[block] + data[buckets + k] >= first_live:
                found += 1
                if size > 1:
                    found += (abs(_signed(data, deltas + size * k, size)) - 1) // _PIECE
    return found


@njit(cache=True)
def _keys(
    data: U8,
    begins: I64,
    ends: I64,
    firsts: I64,
    leasts: I64,
    first_item: int,
    end_item: int,
    first_live: int,
    neighbour_bits: int,
    bucket_bits: int,
    keys: U64,
) -> None:
    """The cells of blocks as numbers to sort, see `state.deltas.summed`."""
    at = 0
    for block in range(len(begins)):
        n, wide, size, narrow, neighbours, buckets, deltas, items = _columns(
            data, begins[block], ends[block]
        )
        low = _rows_from(data, items, narrow, n, first_item - firsts[block])
        high = _rows_from(data, items, narrow, n, end_item - firsts[block])
        for k in range(low, high):
            bucket = leasts[block] + np.int64(data[buckets + k])
            if bucket < first_live:
                continue
            item = firsts[block] + _get(data, items + narrow * k, narrow) - first_item
            cell = (np.uint64(item) << np.uint64(neighbour_bits)) | np.uint64(
                _get(data, neighbours + wide * k, wide)
            )
            cell = (cell << np.uint64(bucket_bits)) | np.uint64(bucket - first_live)
            left = _signed(data, deltas + size * k, size)
            while left != 0:
                piece = min(max(left, -_PIECE), _PIECE)
                keys[at] = (cell << np.uint64(DELTA_BITS)) | np.uint64(piece + _PIECE + 1)
                left -= piece
                at += 1


@njit(cache=True)
def _total(
    data: U8,
    begins: I64,
    ends: I64,
    firsts: I64,
    leasts: I64,
    number: int,
    first_live: int,
    totals: I32,
    met: U8,
) -> U32:
    """Add what blocks say of one item to `totals` by neighbour; returns the neighbours met."""
    found, count = np.empty(16, np.uint32), 0
    for block in range(len(begins)):
        n, wide, size, narrow, neighbours, buckets, deltas, items = _columns(
            data, begins[block], ends[block]
        )
        low, high = 0, n
        if narrow:
            low = _rows_from(data, items, narrow, n, number - firsts[block])
            high = _rows_from(data, items, narrow, n, number + 1 - firsts[block])
        least = first_live - leasts[block]
        for k in range(low, high):
            if data[buckets + k] < least:
                continue
            if wide == 2:
                at = neighbours + 2 * k
                neighbour = np.int64(data[at]) | np.int64(data[at + 1]) << 8
            else:
                neighbour = _get(data, neighbours + 4 * k, 4)
            totals[neighbour] += _signed(data, deltas + size * k, size)
            if not met[neighbour]:
                met[neighbour] = 1
                if count == len(found):
                    more = np.empty(2 * count, np.uint32)
                    more[:count] = found
                    found = more
                found[count] = neighbour
                count += 1
    return found[:count]
