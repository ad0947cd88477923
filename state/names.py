"""Numbers for names by first sight, for whole columns of names at once.

A column of texts is a sequence of strings. It may also have them as bytes (`utf8()`: the fields of
`Utf8`), or be few distinct ones (`names`, and `codes`, int64 [n]: string i is names[codes[i]]).
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from state.kernel import I64, U64
from state.prefetching import prefetch

__all__ = ["NameTable", "Utf8", "codes_of", "in_set", "utf8_of"]

U8 = npt.NDArray[np.uint8]

_LEAST = 1024
#: Of the FNV-1a hash.
_PRIME = np.uint64(0x100000001B3)
#: The part of an entry of the table that is not of the hash.
_NUMBER = np.uint64(0xFFFFFFFF)
#: Names whose places in memory are asked for together.
_TOGETHER = 64


class Utf8(NamedTuple):
    """Texts as UTF-8: text i is data[begins[i]:ends[i]]. uint8 [b], int64 [n], int64 [n]."""

    data: U8
    begins: I64
    ends: I64


def utf8_of(texts: Sequence[str]) -> Utf8:
    """Return texts as bytes."""
    # Asked so, since isinstance takes 30 us for a protocol.
    if (known := getattr(texts, "utf8", None)) is not None:
        return Utf8(*known())
    parts = [text.encode() for text in texts]
    ends = np.cumsum(np.fromiter(map(len, parts), np.int64, len(parts)))
    begins = np.concatenate([np.zeros(1, np.int64), ends[:-1]])[: len(parts)]
    return Utf8(np.frombuffer(b"".join(parts), np.uint8), begins, ends)


def codes_of(texts: Sequence[str]) -> tuple[Sequence[str], I64]:
    """Return distinct names, and for each text which of them it is: int64 [n]."""
    if (codes := getattr(texts, "codes", None)) is not None:
        names: Sequence[str] = texts.names  # type: ignore[attr-defined]
        return names, codes
    places: Mapping[str, int] = {name: at for at, name in enumerate(dict.fromkeys(texts))}
    return list(places), np.fromiter(map(places.__getitem__, texts), np.int64, len(texts))


def in_set(texts: Sequence[str], wanted: frozenset[str]) -> npt.NDArray[np.bool_]:
    """Return which texts are among those wanted, bool [n]."""
    names, codes = codes_of(texts)
    found: npt.NDArray[np.bool_] = np.array([name in wanted for name in names], bool)[codes]
    return found


class NameTable:
    """Numbers 0, 1, 2, .. of names by first sight; about 30 bytes a name, and the name."""

    def __init__(self) -> None:
        """Begin without names."""
        # Python's own hash differs between processes, so no client can choose names that collide.
        self._start = np.uint64(hash("names") & 0xFFFFFFFFFFFFFFFF)
        self.clear()

    def clear(self) -> None:
        """Forget all names."""
        self._count = 0
        self._data: U8 = np.empty(16 * _LEAST, np.uint8)
        # Name n is data[bounds[n]:bounds[n + 1]].
        self._bounds: I64 = np.zeros(_LEAST + 1, np.int64)
        # Place by hash: upper half of the hash, and the number plus one; 0 where there is none.
        self._table = self._filled(2 * _LEAST)

    def __len__(self) -> int:
        return self._count

    def numbers(self, names: Utf8) -> I64:
        """Numbers of names, given to new ones on the way: int64 [n]."""
        self._reserve(len(names.begins), int((names.ends - names.begins).sum()))
        found = np.empty(len(names.begins), np.int64)
        self._count = int(
            _numbers(*names, self._start, self._table, self._data, self._bounds, self._count, found)
        )
        return found

    def find(self, name: str) -> int | None:
        """Number of a name; None if it has none."""
        data = np.frombuffer(name.encode(), np.uint8)
        number = int(_find(data, self._start, self._table, self._data, self._bounds))
        return None if number < 0 else number

    def name(self, number: int) -> bytes:
        """Name of a number, as UTF-8."""
        begin, end = self._bounds[number : number + 2].tolist()
        return self._data[begin:end].tobytes()

    def utf8(self, numbers: I64) -> Utf8:
        """Names of numbers, as a column over the table's own bytes."""
        return Utf8(self._data, self._bounds[numbers], self._bounds[numbers + 1])

    def names(self, numbers: I64) -> list[bytes]:
        """Names of numbers, as UTF-8."""
        data = self._data[: self._bounds[self._count]].tobytes()
        begins, ends = self._bounds[numbers].tolist(), self._bounds[numbers + 1].tolist()
        return [data[begin:end] for begin, end in zip(begins, ends, strict=True)]

    def _reserve(self, names: int, size: int) -> None:
        """Hold capacity for so many more names, of so many bytes together."""
        used = int(self._bounds[self._count])
        if used + size > len(self._data):
            self._data = _longer(self._data, used, 2 * len(self._data) + size)
        if self._count + names >= len(self._bounds):
            room = 2 * len(self._bounds) + names
            self._bounds = _longer(self._bounds, self._count + 1, room)
        places = len(self._table)
        # Half of the table is free, so that few steps lead to a name.
        while 2 * (self._count + names) > places:
            places *= 2
        if places > len(self._table):
            self._table = self._filled(places)

    def _filled(self, places: int) -> U64:
        """Return a table of so many places with the names there are."""
        table = np.zeros(places, np.uint64)
        _fill(self._start, table, self._data, self._bounds, self._count)
        return table


def _longer(array: npt.NDArray[Any], used: int, room: int) -> npt.NDArray[Any]:
    longer = np.empty(room, array.dtype)
    longer[:used] = array[:used]
    return longer


@njit(cache=True, inline="always")
def _hash(data: U8, begin: int, end: int, start: np.uint64) -> np.uint64:
    """FNV-1a of data[begin:end], its halves mixed: places come from the lowest bits."""
    found = start
    for at in range(begin, end):
        found = (found ^ np.uint64(data[at])) * _PRIME
    return found ^ (found >> np.uint64(32))


@njit(cache=True, inline="always")
def _place(
    data: U8, begin: int, end: int, hashed: np.uint64, table: U64, known: U8, bounds: I64
) -> np.uint64:
    """Where a name stands in the table, or would: open addressing, step by step."""
    last = np.uint64(len(table) - 1)
    at = hashed & last
    while table[at]:
        if table[at] >> np.uint64(32) == hashed >> np.uint64(32):
            number = np.int64(table[at] & _NUMBER) - 1
            first, length = bounds[number], end - begin
            if bounds[number + 1] - first == length:
                same = 0
                while same < length and known[first + same] == data[begin + same]:
                    same += 1
                if same == length:
                    return at
        at = (at + np.uint64(1)) & last
    return at


@njit(cache=True, inline="always")
def _entry(hashed: np.uint64, number: int) -> np.uint64:
    """What the table has of a name."""
    return ((hashed >> np.uint64(32)) << np.uint64(32)) | np.uint64(number + 1)


@njit(cache=True)
def _numbers(
    data: U8,
    begins: I64,
    ends: I64,
    start: np.uint64,
    table: U64,
    known: U8,
    bounds: I64,
    count: int,
    found: I64,
) -> int:
    """Write the numbers of names to `found`; a new name gets the next number. Returns the count."""
    hashes, last, low = np.empty(_TOGETHER, np.uint64), np.uint64(len(table) - 1), _NUMBER
    for some in range(0, len(begins), _TOGETHER):
        rows = min(_TOGETHER, len(begins) - some)
        for k in range(rows):
            hashes[k] = _hash(data, begins[some + k], ends[some + k], start)
            prefetch(table, np.int64(hashes[k] & last))
        for k in range(rows):
            prefetch(bounds, np.int64(table[hashes[k] & last] & low))
        for k in range(rows):
            # The end of the name that stands first where this one is looked for.
            prefetch(known, bounds[np.int64(table[hashes[k] & last] & low)] - 1)
        for k in range(rows):
            begin, end = begins[some + k], ends[some + k]
            at = _place(data, begin, end, hashes[k], table, known, bounds)
            if table[at] == 0:
                table[at] = _entry(hashes[k], count)
                first = bounds[count]
                for byte in range(end - begin):
                    known[first + byte] = data[begin + byte]
                count += 1
                bounds[count] = first + end - begin
            found[some + k] = np.int64(table[at] & low) - 1
    return count


@njit(cache=True)
def _find(data: U8, start: np.uint64, table: U64, known: U8, bounds: I64) -> np.int64:
    """Return the number of a name, -1 if it has none."""
    hashed = _hash(data, 0, len(data), start)
    at = _place(data, 0, len(data), hashed, table, known, bounds)
    return np.int64(table[at] & _NUMBER) - 1


@njit(cache=True)
def _fill(start: np.uint64, table: U64, known: U8, bounds: I64, count: int) -> None:
    """Put the first names into an empty table."""
    last = np.uint64(len(table) - 1)
    for number in range(count):
        hashed = _hash(known, bounds[number], bounds[number + 1], start)
        at = hashed & last
        while table[at]:
            at = (at + np.uint64(1)) & last
        table[at] = _entry(hashed, number)
