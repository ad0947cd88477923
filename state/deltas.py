"""The log of pair deltas between two commits, and how deltas are sorted and summed.

The kernel appends; nothing is looked up. Sorting at the commit brings equal cells together, where
they are summed: one sequential write and one sort for each delta instead of a place in a table
that no cache holds.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from state.kernel import I32, I64, U64, Deltas

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
    least, most, n = (int(found) for found in _span(pairs[:count], places[:count], first_live))
    neighbour_bits, bucket_bits = bits_for(items), bits_for(most - least + 1)
    if 2 * neighbour_bits + bucket_bits + _SIGN_BITS > 64:
        raise OverflowError(f"{items} items and {most - least + 1} buckets in one commit")
    keys = np.empty(n, np.uint64)
    _keys(pairs[:count], places[:count], first_live, least, neighbour_bits, bucket_bits, keys)
    keys.sort()
    return Cells(*_summed(keys, 0, least, neighbour_bits, bucket_bits, _SIGN_BITS))


def summed(keys: U64, first_item: int, least: int, items: int, buckets: int) -> Cells:
    """Cells of numbers that hold, from the highest bits on, item, neighbour, bucket and delta.

    keys: sorted here, in place. Items count from `first_item`, buckets from `least`; the widths
    follow from the item numbers in use, the buckets spanned, and `DELTA_BITS`.
    """
    keys.sort()
    return Cells(*_summed(keys, first_item, least, bits_for(items), bits_for(buckets), DELTA_BITS))


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
def _span(pairs: U64, places: I32, first_live: int) -> tuple[np.int64, np.int64, int]:
    """Least and greatest live bucket, and directed entries."""
    least, most, n = np.int64(1) << 40, np.int64(-1), 0
    for row in range(len(pairs)):
        bucket = np.int64(places[row] >> 1)
        if bucket >= first_live:
            least, most = min(least, bucket), max(most, bucket)
            same = (pairs[row] >> np.uint64(32)) == (pairs[row] & np.uint64(0xFFFFFFFF))
            n += 1 if same else 2
    if n == 0:
        least = most = np.int64(first_live)
    return least, most, n


@njit(cache=True)
def _keys(
    pairs: U64,
    places: I32,
    first_live: int,
    least: int,
    neighbour_bits: int,
    bucket_bits: int,
    keys: U64,
) -> None:
    """One number for each direction of each live delta."""
    at = 0
    bias = np.uint64(1) << np.uint64(_SIGN_BITS - 1)
    for row in range(len(pairs)):
        bucket = np.int64(places[row] >> 1)
        if bucket < first_live:
            continue
        low, high = pairs[row] >> np.uint64(32), pairs[row] & np.uint64(0xFFFFFFFF)
        sign = bias - np.uint64(1) if places[row] & 1 else bias + np.uint64(1)
        rest = (np.uint64(bucket - least) << np.uint64(_SIGN_BITS)) | sign
        for turn in range(1 if low == high else 2):
            item, neighbour = (low, high) if turn == 0 else (high, low)
            key = (item << np.uint64(neighbour_bits)) | neighbour
            keys[at] = (key << np.uint64(bucket_bits + _SIGN_BITS)) | rest
            at += 1


@njit(cache=True)
def _summed(
    keys: U64, first_item: int, least: int, neighbour_bits: int, bucket_bits: int, delta_bits: int
) -> tuple[U32, U32, I32, I32]:
    """Sum equal cells of sorted numbers; zeros are left out."""
    item, neighbour = np.empty(len(keys), np.uint32), np.empty(len(keys), np.uint32)
    bucket, delta = np.empty(len(keys), np.int32), np.empty(len(keys), np.int32)
    bias = np.int64(1) << (delta_bits - 1)
    delta_mask = (np.uint64(1) << np.uint64(delta_bits)) - np.uint64(1)
    bucket_mask = (np.uint64(1) << np.uint64(bucket_bits)) - np.uint64(1)
    neighbour_mask = (np.uint64(1) << np.uint64(neighbour_bits)) - np.uint64(1)
    n, row = 0, 0
    while row < len(keys):
        cell, total = keys[row] >> np.uint64(delta_bits), np.int64(0)
        while row < len(keys) and keys[row] >> np.uint64(delta_bits) == cell:
            total += np.int64(keys[row] & delta_mask) - bias
            row += 1
        if total != 0:
            bucket[n] = np.int64(cell & bucket_mask) + least
            cell >>= np.uint64(bucket_bits)
            neighbour[n] = np.uint32(cell & neighbour_mask)
            item[n] = np.uint32((cell >> np.uint64(neighbour_bits)) + np.uint64(first_item))
            delta[n] = total
            n += 1
    return item[:n], neighbour[:n], bucket[:n], delta[:n]
