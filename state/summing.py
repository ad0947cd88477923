"""Summing the blocks of several runs: merges into one, and an item's neighbours."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from state.blocks import U8, Span, cells_in, columns_of, number_at, rows_from, signed_at
from state.deltas import DELTA_BITS, U32, Cells, bits_for, summed
from state.kernel import I32, I64, U64

__all__ = ["merged", "neighbours_in"]

#: Greatest piece of a delta in a sorted number.
_PIECE = (1 << (DELTA_BITS - 1)) - 1


def merged(
    spans: Sequence[Span], first_item: int, end_item: int, first_live: int, last: int, items: int
) -> Cells:
    """Sum the cells of several runs' blocks for the items in [first_item, end_item).

    Only buckets from `first_live` on are taken; none is beyond `last`. items: numbers in use.
    """
    rooms = [
        cells_in(span.data, span.starts, span.firsts, first_item, end_item)
        + _pieces(span.data, span.starts, span.firsts, first_item, end_item)
        for span in spans
    ]
    keys = np.empty(sum(rooms), np.uint64)
    buckets = max(last - first_live + 1, 1)
    neighbour_bits, bucket_bits = bits_for(items), bits_for(buckets)
    at = 0
    for span in spans:
        at = _keys(*span, first_item, end_item, first_live, neighbour_bits, bucket_bits, keys, at)
    return summed(keys[:at], first_item, first_live, items, buckets)


def neighbours_in(
    spans: Sequence[Span], number: int, first_live: int, items: int
) -> tuple[U32, I32]:
    """Sum blocks for one item: its neighbours and the users of each pair, without zeros."""
    totals = np.zeros(items, np.int32)
    for span in spans:
        _total(*span, number, first_live, totals)
    found = np.flatnonzero(totals)
    return found.astype(np.uint32), totals[found]


@njit(cache=True)
def _pieces(data: U8, starts: I64, firsts: I64, first_item: int, end_item: int) -> int:
    """Numbers that `_keys` needs beyond one for each cell: for deltas that fill four bytes."""
    found = 0
    for block in range(len(firsts)):
        n, _, size, narrow, _, _, deltas, items = columns_of(data, starts[block], starts[block + 1])
        if size == 4:
            low = rows_from(data, items, narrow, n, first_item - firsts[block])
            high = rows_from(data, items, narrow, n, end_item - firsts[block])
            for k in range(low, high):
                found += (abs(signed_at(data, deltas + size * k, size)) - 1) // _PIECE
    return found


@njit(cache=True)
def _keys(
    data: U8,
    starts: I64,
    firsts: I64,
    least: int,
    first_item: int,
    end_item: int,
    first_live: int,
    neighbour_bits: int,
    bucket_bits: int,
    keys: U64,
    at: int,
) -> int:
    """The cells of blocks as numbers to sort (`state.deltas.summed`), from `at` on; where they end.

    Column by column, a nanosecond each, unless cells may have expired or deltas fill four bytes.
    """
    above_bucket, above_neighbour = (
        DELTA_BITS + bucket_bits,
        DELTA_BITS + bucket_bits + neighbour_bits,
    )
    for block in range(len(firsts)):
        n, wide, size, narrow, neighbours, buckets, deltas, items = columns_of(
            data, starts[block], starts[block + 1]
        )
        low = rows_from(data, items, narrow, n, first_item - firsts[block])
        high = rows_from(data, items, narrow, n, end_item - firsts[block])
        if least >= first_live and size < 4:
            mine = keys[at : at + high - low]
            mine[:] = 0
            base = firsts[block] - first_item
            if narrow:
                place = data[items + narrow * low : items + narrow * high]
                _add_column(mine, place, narrow, base, above_neighbour)
            else:
                mine[:] = np.uint64(base) << np.uint64(above_neighbour)
            near = data[neighbours + wide * low : neighbours + wide * high]
            _add_column(mine, near, wide, 0, above_bucket)
            _add_column(
                mine, data[buckets + low : buckets + high], 1, least - first_live, DELTA_BITS
            )
            more = data[deltas + size * low : deltas + size * high]
            if size == 1:
                _add_shifted(mine, more.view(np.int8), _PIECE + 1, 0)
            else:
                _add_shifted(mine, more.view(np.int16), _PIECE + 1, 0)
            at += high - low
            continue
        for k in range(low, high):
            bucket = least + np.int64(data[buckets + k])
            if bucket < first_live:
                continue
            item = firsts[block] + number_at(data, items + narrow * k, narrow) - first_item
            cell = (np.uint64(item) << np.uint64(neighbour_bits)) | np.uint64(
                number_at(data, neighbours + wide * k, wide)
            )
            cell = (cell << np.uint64(bucket_bits)) | np.uint64(bucket - first_live)
            left = signed_at(data, deltas + size * k, size)
            while left != 0:
                piece = min(max(left, -_PIECE), _PIECE)
                keys[at] = (cell << np.uint64(DELTA_BITS)) | np.uint64(piece + _PIECE + 1)
                left -= piece
                at += 1
    return at


@njit(cache=True)
def _add_column(keys: U64, column: U8, size: int, base: int, shift: int) -> None:
    """Add column + base, unsigned numbers of `size` bytes, to the keys, `shift` bits up."""
    if size == 1:
        _add_shifted(keys, column, base, shift)
    elif size == 2:
        _add_shifted(keys, column.view(np.uint16), base, shift)
    else:
        _add_shifted(keys, column.view(np.uint32), base, shift)


@njit(cache=True)
def _add_shifted(keys: U64, column: npt.NDArray[Any], base: int, shift: int) -> None:
    for k in range(len(keys)):
        keys[k] += np.uint64(np.int64(column[k]) + base) << np.uint64(shift)


@njit(cache=True)
def _total(
    data: U8,
    starts: I64,
    firsts: I64,
    least: int,
    number: int,
    first_live: int,
    totals: I32,
) -> None:
    """Add what blocks say of one item to `totals` by neighbour."""
    for block in range(len(firsts)):
        n, wide, size, narrow, neighbours, buckets, deltas, items = columns_of(
            data, starts[block], starts[block + 1]
        )
        low, high = 0, n
        if narrow:
            low = rows_from(data, items, narrow, n, number - firsts[block])
            high = rows_from(data, items, narrow, n, number + 1 - firsts[block])
        when = data[buckets + low : buckets + high]
        more = data[deltas + size * low : deltas + size * high]
        near = data[neighbours + wide * low : neighbours + wide * high]
        if wide == 2:
            _add(near.view(np.uint16), when, more, size, first_live - least, totals)
        else:
            _add(near.view(np.uint32), when, more, size, first_live - least, totals)


@njit(cache=True)
def _add(
    near: npt.NDArray[Any], when: U8, more: U8, size: int, first_live: int, totals: I32
) -> None:
    """Add deltas of `size` bytes by neighbour: a nanosecond each, where columns have one type."""
    if size == 1:
        _add_typed(near, when, more.view(np.int8), first_live, totals)
    elif size == 2:
        _add_typed(near, when, more.view(np.int16), first_live, totals)
    else:
        _add_typed(near, when, more.view(np.int32), first_live, totals)


@njit(cache=True)
def _add_typed(
    near: npt.NDArray[Any], when: U8, more: npt.NDArray[Any], first_live: int, totals: I32
) -> None:
    for k in range(len(near)):
        totals[near[k]] += more[k] * (when[k] >= first_live)
