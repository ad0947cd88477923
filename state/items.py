"""Items as numbers: a key that is the same everywhere, and dense numbers within a partition."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import xxhash
from numba import njit

from state import database
from state.database import Database
from state.names import NameTable, Utf8, codes_of, utf8_of

__all__ = ["ItemNumbers", "item_key"]


def item_key(item_type: str, item_id: str) -> int:
    """Return the unsigned 64-bit key of an item: xxh3 of type, NUL, id in UTF-8.

    >>> hex(item_key("podcast", "p1"))
    '0xbacc2d4883352590'
    """
    return xxhash.xxh3_64_intdigest(f"{item_type}\0{item_id}".encode())


I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(tuple[str, str]).decode

#: Items whose names are kept in memory, about 60 bytes each. Demand is uneven: most events are
#: about one of them.
RECENT = 1 << 16
_LEAST = 1024


class ItemNumbers:
    """Numbers 0, 1, 2, .. by first sight, and the key and name behind each.

    Numbers differ between partitions and between orders of arrival: nothing outside of a
    partition's database names an item by number. Two names with equal keys would be one item, as
    in all counts that are merged by key: of ten million items, with a chance of 3 in a million.

    Memory: at most 24 bytes an item, and the recent names. Names are read from the database.
    """

    def __init__(self, source: Database) -> None:
        """Read the items of a database; names are read from it later too."""
        self._source = source
        rows = source.scan(database.ITEMS, database.after(database.ITEMS))
        keys = np.fromiter((item_key(*_unpack(value)) for _, value in rows), np.uint64)
        self._count = self._saved = len(keys)
        self._keys = np.zeros(0, np.uint64)
        self._table = np.zeros(0, np.int32)
        self._reserve(_LEAST, keys)
        # Recent names have numbers of their own; `_number` has the item's of each.
        self._recent = NameTable()
        self._number = np.zeros(_LEAST, np.int64)
        # Names that a commit has yet to write, and those that the commit before has just written.
        self._new: list[tuple[str, str]] = []
        self._written: dict[int, tuple[str, str]] = {}

    @property
    def keys(self) -> U64:
        """Item keys, uint64 [>= n]; rows behind the last number are zero."""
        return self._keys

    def __len__(self) -> int:
        return self._count

    def numbers(self, types: Sequence[str], ids: Sequence[str]) -> I64:
        """Numbers of items, given to new ones on the way: int64 [n]."""
        if len(self._recent) > RECENT:
            self._recent.clear()
        known = len(self._recent)
        recent = self._recent.numbers(_whole(types, ids))
        if len(self._recent) > known:
            # The first row of each name that was not among the recent ones, in their order.
            rows = np.flatnonzero(recent >= known)
            rows = rows[np.unique(recent[rows], return_index=True)[1]]
            names = [(types[row], ids[row]) for row in rows.tolist()]
            while len(self._recent) > len(self._number):
                self._number = np.concatenate([self._number, np.zeros_like(self._number)])
            self._number[known : len(self._recent)] = self._numbers_of(names)
        return self._number[recent]

    def find(self, item_type: str, item_id: str) -> int | None:
        """Number of an item; None if this partition has not seen it."""
        # The table first: one that grows meanwhile never has fewer keys than it needs.
        table, wanted = self._table, np.array([item_key(item_type, item_id)], np.uint64)
        number = int(_find(table, self._keys, wanted)[0])
        return None if number < 0 else number

    def name(self, number: int) -> tuple[str, str]:
        """Type and id of an item."""
        if number >= self._saved:
            return self._new[number - self._saved]
        known = self._written.get(number)
        if known is None:
            stored = self._source.get(database.item_row_key(number))
            if stored is None:
                raise IndexError(f"there is no item {number}")
            known = _unpack(stored)
        return known

    def names(self) -> Iterator[tuple[str, str]]:
        """Type and id of all items, in the order of their numbers."""
        stored = 0
        for _, value in self._source.scan(database.ITEMS, database.after(database.ITEMS)):
            yield _unpack(value)
            stored += 1
        yield from map(self.name, range(stored, self._count))

    def take_new(self) -> Iterator[tuple[int, bytes]]:
        """Number and stored form of the items that were added since the last call.

        The caller writes them to the database.
        """
        self._written = dict(enumerate(self._new, self._saved))
        self._new, self._saved = [], self._count
        for number, name in self._written.items():
            yield number, _pack(name)

    def _numbers_of(self, names: Sequence[tuple[str, str]]) -> I64:
        """Return the numbers of items, given to new ones on the way."""
        keys = np.fromiter((item_key(*name) for name in names), np.uint64, len(names))
        self._reserve(self._count + len(names), self._keys[: self._count])
        found = np.zeros(len(names), np.int64)
        self._count = int(_find_or_add(self._table, self._keys, self._count, keys, found))
        for name, number in zip(names, found.tolist(), strict=True):
            if number == self._saved + len(self._new):
                self._new.append(name)
        return found

    def _reserve(self, items: int, keys: U64) -> None:
        """Hold capacity for so many items, of which the first have these keys."""
        if items > len(self._keys) or not len(self._keys):
            capacity = max(_LEAST, items, len(keys) + len(keys) // 4)
            self._keys = np.concatenate([keys, np.zeros(capacity - len(keys), np.uint64)])
        # At least a quarter of the table is free, so that few steps lead to an item.
        size = len(self._table)
        while 4 * max(items, len(keys)) > 3 * size:
            size = max(2 * _LEAST, 2 * size)
        if size > len(self._table):
            table = np.full(size, -1, np.int32)
            _fill(table, self._keys, len(keys))
            self._table = table


def _whole(types: Sequence[str], ids: Sequence[str]) -> Utf8:
    """Return type, NUL, id of items as bytes, of which `item_key` makes their keys."""
    names, codes = codes_of(types)
    known, wanted = utf8_of(names), utf8_of(ids)
    lengths = (known.ends - known.begins)[codes] + 1 + wanted.ends - wanted.begins
    ends, data = np.cumsum(lengths), np.empty(int(lengths.sum()), np.uint8)
    _join(codes, *known, *wanted, data)
    return Utf8(data, np.concatenate([np.zeros(1, np.int64), ends])[: len(ends)], ends)


@njit(cache=True)
def _join(
    codes: I64, types: U8, type_begins: I64, type_ends: I64, ids: U8, begins: I64, ends: I64,
    data: U8,
) -> None:  # fmt: skip
    """Write the type, NUL and the id of each item, one behind the other."""
    at = 0
    for row in range(len(codes)):
        for k in range(type_begins[codes[row]], type_ends[codes[row]]):
            data[at] = types[k]
            at += 1
        data[at] = 0
        at += 1
        for k in range(begins[row], ends[row]):
            data[at] = ids[k]
            at += 1


@njit(cache=True)
def _place(table: I32, keys: U64, key: int) -> np.signedinteger[Any]:
    """Return where a key's number stands in the table, or would: open addressing, step by step."""
    last = len(table) - 1
    at = np.int64(key & np.uint64(last))
    while table[at] >= 0 and keys[table[at]] != key:
        at = (at + 1) & last
    return at


@njit(cache=True)
def _fill(table: I32, keys: U64, count: int) -> None:
    """Put the numbers of the first keys into an empty table."""
    for number in range(count):
        table[_place(table, keys, keys[number])] = number


@njit(cache=True)
def _find(table: I32, keys: U64, wanted: U64) -> I64:
    """Return the numbers of keys, -1 for unknown ones."""
    found = np.zeros(len(wanted), np.int64)
    for row in range(len(wanted)):
        found[row] = table[_place(table, keys, wanted[row])]
    return found


@njit(cache=True)
def _find_or_add(table: I32, keys: U64, count: int, wanted: U64, found: I64) -> int:
    """Write the numbers of keys to `found`; a new key gets the next number. Returns the count."""
    for row in range(len(wanted)):
        at = _place(table, keys, wanted[row])
        if table[at] < 0:
            table[at], keys[count] = count, wanted[row]
            count += 1
        found[row] = table[at]
    return count
