"""Blocks of adjacency runs: how cells of co-interaction deltas are cut and packed, over arrays.

A run holds what one commit, or the merge of several, adds to the counts of all buckets. It is cut
into blocks of neighbouring item numbers. Blocks grow with the item number, as the gaps between
floating-point numbers do: items are numbered by first sight, so that popular ones come early and
have blocks of their own, and the long tail shares a few. A sparse run has a shorter mantissa and so
fewer, longer blocks: what a commit costs depends on its deltas and not on the size of the catalogue
(`docs/adr/0003-adjacency-blocks.md`).

Value  two bytes of widths, then packed little-endian arrays of equal length: neighbour (u16 or
       u32), bucket from the run's least (u8), delta (i8, i16 or i32), item within the block (none
       where the block is one item, else u8, u16 or u32). Both directions of a pair are there, the
       diagonal once. Sorted by item, neighbour and bucket, each cell once.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from state.deltas import U32, Cells
from state.kernel import I32, I64

__all__ = [
    "Packed",
    "Span",
    "block_of",
    "cells_in",
    "columns_of",
    "first_of",
    "firsts_of",
    "mantissa_for",
    "number_at",
    "packed",
    "rows_from",
    "signed_at",
    "unpacked",
]

U8 = npt.NDArray[np.uint8]


class Packed(NamedTuple):
    """Blocks one behind the other.

    blocks: int64 [n], their numbers. data: uint8. starts: int64 [n + 1], value i is
    data[starts[i]:starts[i + 1]].
    """

    blocks: I64
    data: U8
    starts: I64


class Span(NamedTuple):
    """Consecutive blocks of one run.

    data: uint8. starts: int64 [n + 1], value i is data[starts[i]:starts[i + 1]]. firsts: int64 [n],
    first item of each block. least: least bucket of the run.
    """

    data: U8
    starts: I64
    firsts: I64
    least: int


#: Entries of a block that are worth a value of their own.
BLOCK_ENTRIES = 1024
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


@njit(cache=True)
def firsts_of(blocks: I64, mantissa: int) -> I64:
    """First item number of each block: int64 [n]."""
    firsts = np.empty(len(blocks), np.int64)
    for place in range(len(blocks)):
        firsts[place] = first_of(blocks[place], mantissa)
    return firsts


def mantissa_for(entries: int, items: int) -> int:
    """Longest mantissa with which blocks have `BLOCK_ENTRIES` entries on average, or more.

    >>> mantissa_for(4_000_000, 20_000), mantissa_for(40_000, 1_000_000), mantissa_for(10, 100)
    (9, 0, -1)
    """
    mantissa = WHOLE
    while (
        mantissa < 31 and (block_of(max(items, 1) - 1, mantissa + 1) + 1) * BLOCK_ENTRIES <= entries
    ):
        mantissa += 1
    return mantissa


def packed(cells: Cells, least: int, mantissa: int) -> Packed:
    """Pack cells into blocks, ascending. least: least bucket of the run.

    Raises OverflowError for a bucket more than 255 above it.
    """
    if len(cells.item) and int(cells.bucket.max()) - least > _U8:
        raise OverflowError(f"buckets {least} to {int(cells.bucket.max())} in one run")
    return Packed(*_pack(*cells, least, mantissa))


def unpacked(span: Span) -> Cells:
    """The cells of blocks, in their order."""
    n = cells_in(span.data, span.starts, span.firsts, 0, _ALL)
    cells = Cells(
        np.empty(n, np.uint32), np.empty(n, np.uint32), np.empty(n, np.int32), np.empty(n, np.int32)
    )
    _unpack(*span, *cells)
    return cells


@njit(cache=True)
def _pack(
    item: U32, neighbour: U32, bucket: I32, delta: I32, least: int, mantissa: int
) -> tuple[I64, U8, I64]:
    """The fields of `Packed`."""
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
        at = _write(out, at, neighbour[row:end], 0, wide)
        at = _write(out, at, bucket[row:end], least, 1)
        at = _write(out, at, delta[row:end], 0, size)
        at = _write(out, at, item[row:end], first, narrow)
        row = end
    starts[count] = at
    return blocks[:count], out[:at], starts[: count + 1]


@njit(cache=True)
def _write(out: U8, at: int, column: npt.NDArray[Any], base: int, size: int) -> int:
    """Write column - base as little-endian numbers of `size` bytes; returns where they end."""
    end = at + size * len(column)
    if size == 1:
        _narrowed(column, base, out[at:end])
    elif size == 2:
        _narrowed(column, base, out[at:end].view(np.uint16))
    elif size == 4:
        _narrowed(column, base, out[at:end].view(np.uint32))
    return end


@njit(cache=True)
def _narrowed(column: npt.NDArray[Any], base: int, out: npt.NDArray[Any]) -> None:
    for k in range(len(column)):
        out[k] = np.int64(column[k]) - base


@njit(cache=True, inline="always")
def number_at(data: U8, at: int, size: int) -> np.int64:
    """Read an unsigned number of `size` bytes."""
    value = np.int64(0)
    for byte in range(size):
        value |= np.int64(data[at + byte]) << (8 * byte)
    return value


@njit(cache=True, inline="always")
def signed_at(data: U8, at: int, size: int) -> np.int64:
    """Read a signed number of 1, 2 or 4 bytes."""
    if size == 1:
        value = np.int64(np.int8(data[at]))
    else:
        value = number_at(data, at, size)
        value -= (value >> (8 * size - 1)) << (8 * size)
    return value


@njit(cache=True, inline="always")
def columns_of(data: U8, begin: int, end: int) -> tuple[Any, ...]:
    """Entries of a block, three widths, and where its four columns begin."""
    wide, size = np.int64(data[begin] >> 4), np.int64(data[begin] & 15)
    narrow = np.int64(data[begin + 1])
    n = (end - begin - HEADER) // (wide + 1 + size + narrow)
    neighbours = begin + HEADER
    buckets = neighbours + wide * n
    deltas = buckets + n
    return n, wide, size, narrow, neighbours, buckets, deltas, deltas + size * n


@njit(cache=True, inline="always")
def rows_from(data: U8, items: int, narrow: int, n: int, local: int) -> int:
    """First row of a block whose item is `local` or one behind it."""
    low, high = 0, n
    while low < high:
        middle = (low + high) // 2
        if number_at(data, items + narrow * middle, narrow) < local:
            low = middle + 1
        else:
            high = middle
    return low


#: Behind every item number.
_ALL = 1 << 40


@njit(cache=True)
def _unpack(
    data: U8,
    starts: I64,
    firsts: I64,
    least: int,
    item: U32,
    neighbour: U32,
    bucket: I32,
    delta: I32,
) -> None:
    """Write the cells of blocks to the columns given."""
    at = 0
    for block in range(len(firsts)):
        n, wide, size, narrow, neighbours, buckets, deltas, items = columns_of(
            data, starts[block], starts[block + 1]
        )
        for k in range(n):
            item[at] = firsts[block] + number_at(data, items + narrow * k, narrow)
            neighbour[at] = number_at(data, neighbours + wide * k, wide)
            bucket[at] = least + data[buckets + k]
            delta[at] = signed_at(data, deltas + size * k, size)
            at += 1


@njit(cache=True)
def cells_in(data: U8, starts: I64, firsts: I64, first_item: int, end_item: int) -> int:
    """Cells of the items in [first_item, end_item), expired ones included."""
    found = 0
    for block in range(len(firsts)):
        n, _, _, narrow, _, _, _, items = columns_of(data, starts[block], starts[block + 1])
        found += rows_from(data, items, narrow, n, end_item - firsts[block])
        found -= rows_from(data, items, narrow, n, first_item - firsts[block])
    return found
