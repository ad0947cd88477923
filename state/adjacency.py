"""Adjacency runs: how co-interaction deltas are packed, folded and merged, over plain arrays.

A run holds what one commit, or the merge of several, adds to one bucket. It is cut into blocks of
neighbouring item numbers, each a value of its own in RocksDB. Blocks grow with the item number, as
the gaps between floating-point numbers do: items are numbered by first sight, so that popular ones
come early and have blocks of their own, and the long tail shares a few. A sparse run has a shorter
mantissa and so fewer, longer blocks: what a commit costs depends on its deltas and not on the size
of the catalogue (`docs/adr/0003-adjacency-blocks.md`).

Value  two bytes of widths, then packed little-endian arrays of equal length: neighbour (u16 or
       u32), delta (i8, i16 or i32), item within the block (u8, u16 or u32). Both directions of a
       pair are there, the diagonal once. In no order: whoever reads, sums.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from numba import njit

from state.kernel import I64, NONE, Fold

__all__ = [
    "block_of",
    "cleared",
    "empty_fold",
    "first_of",
    "mantissa_for",
    "merged_blocks",
    "packed_blocks",
    "summed",
    "unpack_block",
]

U8 = npt.NDArray[np.uint8]
U32 = npt.NDArray[np.uint32]
I32 = npt.NDArray[np.int32]

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


def unpack_block(first_item: int, value: bytes) -> tuple[U32, U32, I32]:
    """Arrays (item, neighbour, delta) of a block that begins with `first_item`."""
    wide, size, narrow = value[0] >> 4, value[0] & 15, value[1]
    n = (len(value) - HEADER) // (wide + size + narrow)
    at = HEADER
    neighbour = np.frombuffer(value, f"<u{wide}", n, at)
    delta = np.frombuffer(value, f"<i{size}", n, at + wide * n)
    local = np.frombuffer(value, f"<u{narrow}", n, at + (wide + size) * n)
    return (
        local.astype(np.uint32) + np.uint32(first_item),
        neighbour.astype(np.uint32),
        delta.astype(np.int32),
    )


def packed_blocks(
    fold: Fold, first_live: int, items: int
) -> Iterator[tuple[int, int, list[tuple[int, int, bytes]]]]:
    """What a commit adds: for each bucket (bucket, mantissa, [(block, entries, value)]).

    items: item numbers in use. Zeros and buckets before `first_live` are left out.
    """
    first_live = max(first_live, 0)
    buckets = np.flatnonzero(np.bincount(fold[1][(fold[1] >= first_live) & (fold[2] != 0)]))
    if not len(buckets):
        return
    place = np.full(int(buckets[-1] - buckets[0]) + 1, NONE)
    place[buckets - buckets[0]] = np.arange(len(buckets))
    rows = _rows_of_fold(fold, int(buckets[0]), place, first_live)
    entries = np.bincount(rows[0], minlength=len(buckets))
    mantissas = np.array([mantissa_for(n, items) for n in entries.tolist()])
    yield from _blocks(rows, buckets, mantissas, items)


def merged_blocks(
    values: Sequence[tuple[int, bytes]], mantissa: int, first_item: int, end_item: int
) -> list[tuple[int, int, bytes]]:
    """Sum blocks (first item, value) of several runs into new ones: [(block, entries, value)].

    Only items in [first_item, end_item) are taken, whole new blocks; zeros are left out.
    """
    item, neighbour, total = summed(values, first_item, end_item)
    rows = (np.zeros(len(item), np.int64), item, neighbour, total)
    return next(_blocks(rows, np.zeros(1, np.int64), np.array([mantissa]), end_item))[2]


def summed(
    values: Sequence[tuple[int, bytes]], first_item: int, end_item: int
) -> tuple[U32, U32, I32]:
    """Sum blocks (first item, value): item, neighbour, delta, each pair once, without zeros."""
    data = np.frombuffer(b"".join([value for _, value in values]), np.uint8)
    ends = np.cumsum(np.array([len(value) for _, value in values], np.int64))
    begins = np.concatenate([[0], ends[:-1]]).astype(np.int64)
    offsets = np.array([first for first, _ in values], np.int64)
    entries = int(_count(data, begins, ends, offsets, first_item, end_item))
    table = empty_fold(_slots(entries))
    _sum(data, begins, ends, offsets, first_item, end_item, table)
    kept = np.flatnonzero((table[1] != NONE) & (table[2] != 0))
    return (
        (table[0][kept] >> np.uint64(32)).astype(np.uint32),
        (table[0][kept] & np.uint64(0xFFFFFFFF)).astype(np.uint32),
        table[2][kept],
    )


def _slots(entries: int) -> int:
    """Slots of a table that is at most three quarters full with so many entries."""
    return 1 << max(entries * 4 // 3, 15).bit_length()


Rows = tuple[I64, U32, U32, I32]


def _blocks(
    rows: Rows, buckets: I64, mantissas: I64, items: int
) -> Iterator[tuple[int, int, list[tuple[int, int, bytes]]]]:
    """Sort entries (bucket's place, item, neighbour, delta) into blocks and pack these."""
    last = max(items, 1) - 1
    blocks = np.array([block_of(last, mantissa) + 1 for mantissa in mantissas.tolist()])
    first = np.cumsum(blocks) - blocks
    count, wide, size, narrow = _widths(rows, mantissas, first, int(blocks.sum()))
    cells = np.flatnonzero(count)
    ends = np.cumsum(HEADER + count[cells] * (wide + size + narrow)[cells])
    begins = np.zeros(len(count), np.int64)
    begins[cells] = np.concatenate([[0], ends[:-1]])
    out = np.empty(int(ends[-1]) if len(ends) else 0, np.uint8)
    _scatter(rows, mantissas, first, count, wide, size, narrow, begins, out)
    packed = out.tobytes()
    bounds = np.searchsorted(cells, np.append(first, first[-1] + blocks[-1])).tolist()
    for place, (bucket, mantissa) in enumerate(
        zip(buckets.tolist(), mantissas.tolist(), strict=True)
    ):
        mine = cells[bounds[place] : bounds[place + 1]]
        spans = zip(
            (mine - first[place]).tolist(),
            count[mine].tolist(),
            begins[mine].tolist(),
            ends[bounds[place] : bounds[place + 1]].tolist(),
            strict=True,
        )
        yield bucket, mantissa, [(b, n, packed[i:j]) for b, n, i, j in spans]


@njit(cache=True)
def _rows_of_fold(fold: Fold, least: int, place: I64, first_live: int) -> Rows:
    """Entries of a fold table in both directions, the diagonal once."""
    pairs, buckets, deltas, _ = fold
    n = 0
    for slot in range(len(pairs)):
        if buckets[slot] >= first_live and deltas[slot] != 0:
            low, high = pairs[slot] >> np.uint64(32), pairs[slot] & np.uint64(0xFFFFFFFF)
            n += 1 if low == high else 2
    where = np.empty(n, np.int64)
    item, neighbour = np.empty(n, np.uint32), np.empty(n, np.uint32)
    delta = np.empty(n, np.int32)
    at = 0
    for slot in range(len(pairs)):
        if buckets[slot] >= first_live and deltas[slot] != 0:
            low, high = pairs[slot] >> np.uint64(32), pairs[slot] & np.uint64(0xFFFFFFFF)
            for turn in range(1 if low == high else 2):
                where[at] = place[buckets[slot] - least]
                item[at] = low if turn == 0 else high
                neighbour[at] = high if turn == 0 else low
                delta[at] = deltas[slot]
                at += 1
    return where, item, neighbour, delta


@njit(cache=True)
def _widths(rows: Rows, mantissas: I64, first: I64, cells: int) -> tuple[I64, I64, I64, I64]:
    """Entries of each block, and the bytes of a neighbour, a delta and an item within it."""
    where, item, neighbour, delta = rows
    count = np.zeros(cells, np.int64)
    wide, size, narrow = np.full(cells, 2), np.full(cells, 1), np.full(cells, 1)
    for row in range(len(item)):
        mantissa = mantissas[where[row]]
        block = block_of(np.int64(item[row]), mantissa)
        cell = first[where[row]] + block
        count[cell] += 1
        if neighbour[row] > _U16:
            wide[cell] = 4
        magnitude = abs(np.int64(delta[row]))
        if magnitude > _I8:
            size[cell] = max(size[cell], 2 if magnitude <= _I16 else 4)
        local = np.int64(item[row]) - first_of(block, mantissa)
        if local > _U8:
            narrow[cell] = max(narrow[cell], 2 if local <= _U16 else 4)
    return count, wide, size, narrow


@njit(cache=True)
def _scatter(
    rows: Rows,
    mantissas: I64,
    first: I64,
    count: I64,
    wide: I64,
    size: I64,
    narrow: I64,
    begins: I64,
    out: U8,
) -> None:
    """Write each entry to its place in its block."""
    where, item, neighbour, delta = rows
    for cell in range(len(count)):
        if count[cell]:
            out[begins[cell]] = wide[cell] << 4 | size[cell]
            out[begins[cell] + 1] = narrow[cell]
    filled = np.zeros(len(count), np.int64)
    for row in range(len(item)):
        mantissa = mantissas[where[row]]
        block = block_of(np.int64(item[row]), mantissa)
        cell = first[where[row]] + block
        k = filled[cell]
        filled[cell] += 1
        at = begins[cell] + HEADER
        _put(out, at + wide[cell] * k, np.int64(neighbour[row]), wide[cell])
        at += wide[cell] * count[cell]
        _put(out, at + size[cell] * k, np.int64(delta[row]), size[cell])
        at += size[cell] * count[cell]
        local = np.int64(item[row]) - first_of(block, mantissa)
        _put(out, at + narrow[cell] * k, local, narrow[cell])


@njit(cache=True, inline="always")
def _put(out: U8, at: int, value: int, size: int) -> None:
    for byte in range(size):
        out[at + byte] = (value >> (8 * byte)) & 255


@njit(cache=True, inline="always")
def _get(data: U8, at: int, size: int) -> np.int64:
    value = np.int64(0)
    for byte in range(size):
        value |= np.int64(data[at + byte]) << (8 * byte)
    return value


@njit(cache=True)
def _count(data: U8, begins: I64, ends: I64, offsets: I64, first_item: int, end_item: int) -> int:
    """Entries of all blocks for items in [first_item, end_item)."""
    found = 0
    for block in range(len(begins)):
        head, at = data[begins[block]], begins[block] + HEADER
        wide, size = np.int64(head >> 4), np.int64(head & 15)
        narrow = np.int64(data[begins[block] + 1])
        n = (ends[block] - at) // (wide + size + narrow)
        for k in range(n):
            item = offsets[block] + _get(data, at + (wide + size) * n + narrow * k, narrow)
            found += first_item <= item < end_item
    return found


@njit(cache=True)
def _sum(
    data: U8, begins: I64, ends: I64, offsets: I64, first_item: int, end_item: int, table: Fold
) -> None:
    """Add the entries of blocks to a table by (item, neighbour), each direction by itself."""
    keys, used, totals, _ = table
    mask = np.uint64(len(keys) - 1)
    for block in range(len(begins)):
        head, at = data[begins[block]], begins[block] + HEADER
        wide, size = np.int64(head >> 4), np.int64(head & 15)
        narrow = np.int64(data[begins[block] + 1])
        n = (ends[block] - at) // (wide + size + narrow)
        for k in range(n):
            local = _get(data, at + (wide + size) * n + narrow * k, narrow)
            item = offsets[block] + local
            if item < first_item or item >= end_item:
                continue
            delta = _get(data, at + wide * n + size * k, size)
            delta -= (delta >> (8 * size - 1)) << (8 * size)
            neighbour = _get(data, at + wide * k, wide)
            key = (np.uint64(item) << np.uint64(32)) | np.uint64(neighbour)
            mixed = key * np.uint64(0xBF58476D1CE4E5B9)
            slot = (mixed ^ (mixed >> np.uint64(29))) & mask
            while used[slot] != NONE and keys[slot] != key:
                slot = (slot + np.uint64(1)) & mask
            keys[slot] = key
            used[slot] = 0
            totals[slot] += delta
