"""How a history lies in RocksDB: about ten bytes an entry instead of the forty of a row.

4 bytes   number of entries, little-endian
per entry, newest first:
  1 byte    flags
  varint    dense item number
  varint    ms between this entry's time and the one before (the first: its time)
  varint    if LATER_STRONG: ms between the entry's latest event and its graph-making one
  8, 8 bytes if VISITED: words of the visits bitmap, left out when only the latest bucket is set
"""

import numpy as np
import numpy.typing as npt
from numba import njit

from state.kernel import COLUMNS, I64, ITEM, NONE, STRONG, TIME, VISITS

__all__ = ["pack", "packed_bytes", "unpack", "unpacked_lengths"]

U8 = npt.NDArray[np.uint8]

HEADER = 4
#: Greatest length of an entry: flags, three varints of at most 10 bytes, two words.
ENTRY = 1 + 3 * 10 + 2 * 8

SAME_STRONG, LATER_STRONG, VISITED = 1, 2, 4


@njit(cache=True, inline="always")
def _put_varint(out: U8, at: int, value: int) -> int:
    left = np.uint64(value)
    while left >= np.uint64(128):
        out[at] = np.uint8(left & np.uint64(127)) | np.uint8(128)
        left >>= np.uint64(7)
        at += 1
    out[at] = np.uint8(left)
    return at + 1


@njit(cache=True, inline="always")
def _get_varint(data: U8, at: int) -> tuple[np.int64, int]:
    value, shift = np.uint64(0), np.uint64(0)
    while data[at] >= 128:
        value |= np.uint64(data[at] & np.uint8(127)) << shift
        shift += np.uint64(7)
        at += 1
    value |= np.uint64(data[at]) << shift
    return np.int64(value), at + 1


@njit(cache=True, inline="always")
def _put_word(out: U8, at: int, value: int) -> int:
    left = np.uint64(value)
    for byte in range(8):
        out[at + byte] = np.uint8((left >> np.uint64(8 * byte)) & np.uint64(255))
    return at + 8


@njit(cache=True, inline="always")
def _get_word(data: U8, at: int) -> np.int64:
    value = np.uint64(0)
    for byte in range(8):
        value |= np.uint64(data[at + byte]) << np.uint64(8 * byte)
    return np.int64(value)


def packed_bytes(lengths: I64) -> int:
    """Return the bytes that `pack` needs for histories of these lengths."""
    return int(HEADER * len(lengths) + ENTRY * lengths.sum())


@njit(cache=True)
def pack(rows: I64, starts: I64, lengths: I64, out: U8) -> I64:
    """Write histories one behind the other; returns where each ends, int64 [users].

    rows [r, COLUMNS]: history u is the `lengths[u]` rows from `starts[u]`.
    out: at least `packed_bytes(lengths)` bytes.
    """
    ends = np.empty(len(starts), np.int64)
    at = 0
    for user in range(len(starts)):
        length = lengths[user]
        for byte in range(HEADER):
            out[at + byte] = np.uint8((length >> (8 * byte)) & 255)
        at += HEADER
        later = np.int64(0)
        for row in range(starts[user], starts[user] + length):
            time, strong = rows[row, TIME], rows[row, STRONG]
            low, high = rows[row, VISITS], rows[row, VISITS + 1]
            flags = np.uint8(0)
            if strong == time:
                flags |= np.uint8(SAME_STRONG)
            elif strong != NONE:
                flags |= np.uint8(LATER_STRONG)
            if low != 1 or high != 0:
                flags |= np.uint8(VISITED)
            out[at] = flags
            at = _put_varint(out, at + 1, rows[row, ITEM])
            first = row == starts[user]
            at = _put_varint(out, at, time if first else later - time)
            if flags & np.uint8(LATER_STRONG):
                at = _put_varint(out, at, time - strong)
            if flags & np.uint8(VISITED):
                at = _put_word(out, at, low)
                at = _put_word(out, at, high)
            later = time
        ends[user] = at
    return ends


@njit(cache=True)
def unpacked_lengths(data: U8, begins: I64, ends: I64) -> I64:
    """Entries of the histories at `data[begins[u]:ends[u]]`, 0 where that is empty: int64 [u]."""
    lengths = np.zeros(len(begins), np.int64)
    for user in range(len(begins)):
        if ends[user] > begins[user]:
            for byte in range(HEADER):
                lengths[user] |= np.int64(data[begins[user] + byte]) << (8 * byte)
    return lengths


@njit(cache=True)
def unpack(data: U8, begins: I64, lengths: I64, rows: I64, starts: I64) -> None:
    """Read histories of known lengths into `rows`, history u from row `starts[u]` on."""
    for user in range(len(begins)):
        at = begins[user] + HEADER
        later = np.int64(0)
        for row in range(starts[user], starts[user] + lengths[user]):
            flags = data[at]
            item, at = _get_varint(data, at + 1)
            apart, at = _get_varint(data, at)
            time = apart if row == starts[user] else later - apart
            strong = np.int64(NONE)
            if flags & np.uint8(SAME_STRONG):
                strong = time
            elif flags & np.uint8(LATER_STRONG):
                apart, at = _get_varint(data, at)
                strong = time - apart
            low, high = np.int64(1), np.int64(0)
            if flags & np.uint8(VISITED):
                low = _get_word(data, at)
                high = _get_word(data, at + 8)
                at += 16
            rows[row, ITEM], rows[row, TIME], rows[row, STRONG] = item, time, strong
            rows[row, VISITS], rows[row, VISITS + 1] = low, high
            later = time


def rows_of(stored: bytes) -> I64:
    """One stored history as rows, int64 [n, COLUMNS]."""
    data = np.frombuffer(stored, np.uint8)
    begins = np.zeros(1, np.int64)
    lengths = unpacked_lengths(data, begins, np.array([len(data)]))
    rows = np.zeros((int(lengths[0]), COLUMNS), np.int64)
    if len(rows):
        unpack(data, begins, lengths, rows, begins)
    return rows
