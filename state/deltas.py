"""The log of pair deltas between two commits, and how deltas are sorted and summed.

The kernel appends; nothing is looked up. Sorting at the commit brings equal cells together, where
they are summed: one sequential write and one sort for each delta instead of a place in a table
that no cache holds. A pair is sorted once, and what is left of it is sorted by its other item.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from state.kernel import I32, I64, U64, Deltas
from state.sorting import sorted_from, sorted_with

__all__ = [
    "DELTA_BITS",
    "U32",
    "Cells",
    "bits_for",
    "cells_of",
    "cleared",
    "count_buckets",
    "empty_deltas",
    "grown",
    "room_for_items",
    "summed",
]

U32 = npt.NDArray[np.uint32]

#: Bits of a delta within a sorted number where blocks are merged; greater ones are cut in pieces.
DELTA_BITS = 16
#: Bits of a delta of the log: once more, or once less.
_SIGN_BITS = 2


class Cells(NamedTuple):
    """Deltas, both directions of a pair: sorted by item, neighbour, bucket, each once, no zeros.

    item, neighbour: uint32 [n], dense numbers. bucket: int32 [n]. delta: int32 [n].
    """

    item: U32
    neighbour: U32
    bucket: I32
    delta: I32


class _Form(NamedTuple):
    """How a cell is one number: from the highest bits on item, neighbour and bucket.

    Items count from `first_item` and buckets from `least`; neighbours count from zero.
    """

    first_item: int
    least: int
    neighbour_bits: int
    bucket_bits: int


def empty_deltas(room: int) -> Deltas:
    """Return an empty log with capacity for so many deltas, 12 bytes each."""
    return np.empty(room, np.uint64), np.empty(room, np.int32), np.zeros(1, np.int64)


def grown(deltas: Deltas) -> Deltas:
    """Return the same log with twice the capacity."""
    pairs, places, used = deltas
    more = empty_deltas(2 * len(pairs))
    count = int(used[0])
    more[0][:count], more[1][:count] = pairs[:count], places[:count]
    more[2][0] = count
    return more


def cleared(deltas: Deltas, room: int) -> Deltas:
    """The log emptied; one that grew far beyond what was in it shrinks again."""
    if len(deltas[0]) > max(room, 4 * int(deltas[2][0])):
        return empty_deltas(room)
    deltas[2][0] = 0
    return deltas


def cells_of(deltas: Deltas, first_live: int, items: int) -> Cells:
    """What a log comes to: its pairs in both directions, the diagonal once.

    Buckets before `first_live` (not negative) are left out. items: item numbers in use.
    Raises OverflowError beyond 134 million items, or 256 buckets apart.
    """
    pairs, places, used = deltas
    count = int(used[0])
    least, most, n = (int(found) for found in _span(places[:count], first_live))
    form = _Form(0, least, bits_for(items), bits_for(most - least + 1))
    if 2 * form.neighbour_bits + form.bucket_bits + _SIGN_BITS > 64:
        raise OverflowError(f"{items} items and {most - least + 1} buckets in one commit")
    # One direction is sorted; the other is made of what is left of it.
    keys = np.empty(n, np.uint64)
    _keys(pairs[:count], places[:count], first_live, form, keys)
    cells, totals = _summed(sorted_from(keys, _SIGN_BITS), _SIGN_BITS)
    turned, theirs = _turned(cells, totals, form)
    turned, theirs = sorted_with(turned, theirs, form.neighbour_bits + form.bucket_bits)
    return Cells(*_merged(turned, theirs, cells, totals, form))


def summed(keys: U64, first_item: int, least: int, items: int, buckets: int) -> Cells:
    """Cells of numbers that hold, from the highest bits on, item, neighbour, bucket and delta.

    keys: overwritten. Items count from `first_item`, buckets from `least`; the widths
    follow from the item numbers in use, the buckets spanned, and `DELTA_BITS`.
    """
    form = _Form(first_item, least, bits_for(items), bits_for(buckets))
    cells, totals = _summed(sorted_from(keys, DELTA_BITS), DELTA_BITS)
    return Cells(*_merged(cells[:0], totals[:0], cells, totals, form))


def room_for_items(items: int, buckets: int) -> int:
    """How many items fit the part of a sorted number that is left for them."""
    return 1 << max(64 - bits_for(items) - bits_for(buckets) - DELTA_BITS, 0)


@njit(cache=True)
def count_buckets(bucket: I32, least: int, counts: I64) -> None:
    """Add to counts[i] how often bucket least + i occurs."""
    for row in range(len(bucket)):
        counts[bucket[row] - least] += 1


def bits_for(numbers: int) -> int:
    """Bits that hold 0 .. numbers - 1."""
    return max(numbers - 1, 1).bit_length()


@njit(cache=True)
def _span(places: I32, first_live: int) -> tuple[np.int64, np.int64, int]:
    """Least and greatest live bucket, and live deltas."""
    least, most, n = np.int64(1) << 40, np.int64(-1), 0
    for row in range(len(places)):
        bucket = np.int64(places[row] >> 1)
        if bucket >= first_live:
            least, most = min(least, bucket), max(most, bucket)
            n += 1
    if n == 0:
        least = most = np.int64(first_live)
    return least, most, n


@njit(cache=True)
def _keys(pairs: U64, places: I32, first_live: int, form: _Form, keys: U64) -> None:
    """One number for each live delta: lesser item, greater item, bucket and sign."""
    at = 0
    bias = np.uint64(1) << np.uint64(_SIGN_BITS - 1)
    for row in range(len(pairs)):
        bucket = np.int64(places[row] >> 1)
        if bucket < first_live:
            continue
        low, high = pairs[row] >> np.uint64(32), pairs[row] & np.uint64(0xFFFFFFFF)
        cell = (low << np.uint64(form.neighbour_bits)) | high
        cell = (cell << np.uint64(form.bucket_bits)) | np.uint64(bucket - form.least)
        sign = bias - np.uint64(1) if places[row] & 1 else bias + np.uint64(1)
        keys[at] = (cell << np.uint64(_SIGN_BITS)) | sign
        at += 1


@njit(cache=True)
def _summed(keys: U64, delta_bits: int) -> tuple[U64, I32]:
    """Cells of sorted numbers, each once, ascending, and their totals; zeros are left out.

    The cells are written over the numbers.
    """
    totals = np.empty(len(keys), np.int32)
    bias = np.int64(1) << (delta_bits - 1)
    mask = (np.uint64(1) << np.uint64(delta_bits)) - np.uint64(1)
    n, row = 0, 0
    while row < len(keys):
        cell, total = keys[row] >> np.uint64(delta_bits), np.int64(0)
        while row < len(keys) and keys[row] >> np.uint64(delta_bits) == cell:
            total += np.int64(keys[row] & mask) - bias
            row += 1
        if total != 0:
            keys[n], totals[n] = cell, total
            n += 1
    return keys[:n], totals[:n]


@njit(cache=True)
def _turned(cells: U64, totals: I32, form: _Form) -> tuple[U64, I32]:
    """Cells with item and neighbour in each other's place, but for the diagonal; in their order."""
    turned, theirs = np.empty(len(cells), np.uint64), np.empty(len(cells), np.int32)
    n = 0
    for row in range(len(cells)):
        item, neighbour, bucket = _parts(cells[row], form)
        if item != neighbour:
            cell = (neighbour << np.uint64(form.neighbour_bits)) | item
            turned[n] = (cell << np.uint64(form.bucket_bits)) | bucket
            theirs[n] = totals[row]
            n += 1
    return turned[:n], theirs[:n]


@njit(cache=True)
def _merged(
    one: U64, its_totals: I32, other: U64, totals: I32, form: _Form
) -> tuple[U32, U32, I32, I32]:
    """The columns of two ascending lists of cells, which have none in common, as one."""
    n = len(one) + len(other)
    item, neighbour = np.empty(n, np.uint32), np.empty(n, np.uint32)
    bucket, delta = np.empty(n, np.int32), np.empty(n, np.int32)
    first, second = 0, 0
    for row in range(n):
        if second == len(other) or (first < len(one) and one[first] < other[second]):
            cell, total = one[first], its_totals[first]
            first += 1
        else:
            cell, total = other[second], totals[second]
            second += 1
        mine, near, when = _parts(cell, form)
        item[row] = np.uint32(mine + np.uint64(form.first_item))
        neighbour[row] = np.uint32(near)
        bucket[row] = np.int64(when) + form.least
        delta[row] = total
    return item, neighbour, bucket, delta


@njit(cache=True, inline="always")
def _parts(cell: np.uint64, form: _Form) -> tuple[np.uint64, np.uint64, np.uint64]:
    """Item, neighbour and bucket of a cell."""
    near = cell >> np.uint64(form.bucket_bits)
    bucket = cell - (near << np.uint64(form.bucket_bits))
    item = near >> np.uint64(form.neighbour_bits)
    return item, near - (item << np.uint64(form.neighbour_bits)), bucket
