"""Attributes of items as typed columns, in force as soon as a catalogue record is read."""

import math
import re
import threading
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

__all__ = ["BUILT_IN", "Column", "ItemColumns", "common_type", "kind_of", "time_ms"]

NULL, NUMBER, BOOLEAN, TEXT, LIST = range(5)
_NAMES = {NUMBER: "number", BOOLEAN: "boolean", LIST: "list"}

#: Attributes of the catalogue record itself, and their types.
BUILT_IN = {
    "type": "text", "title": "title", "language": "text", "genres": "list",
    "published_at": "time",
}  # fmt: skip

#: Changed slots that are remembered; a reader further behind evaluates all items again.
_REMEMBERED = 65_536
_MERGED = 16_384  # keys in the dictionary before they join the sorted arrays
_ISO = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d.*)?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def time_ms(text: str) -> float:
    """Return ms UTC of a date or time in ISO 8601 (UTC where it names no offset); NaN for others.

    >>> time_ms("1970-01-02"), time_ms("tomorrow")
    (86400000.0, nan)
    """
    if not _ISO.fullmatch(text):
        return math.nan
    try:
        at = datetime.fromisoformat(text)
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
        return float((at - _EPOCH) // _MILLISECOND)
    except (ValueError, OverflowError):
        return math.nan


def common_type(kinds: Collection[str]) -> str | None:
    """Return the type of values of these kinds; None where they have no type in common.

    Times beside other texts are texts.

    >>> common_type({"number"}), common_type({"time", "text"}), common_type({"number", "text"})
    ('number', 'text', None)
    """
    if set(kinds) == {"time", "text"}:
        return "text"
    return next(iter(kinds)) if len(kinds) == 1 else None


def kind_of(value: Any) -> str:
    """Return the type of a value that is not None; text in ISO 8601 is a time."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, str):
        return "text" if math.isnan(time_ms(value)) else "time"
    return "list" if isinstance(value, list | tuple) else "number"


class Column:
    """One attribute of all items, by slot. Values of any type may stand side by side.

    kind:   u8 [slots]; number: f64 [slots], of numbers, booleans and texts that are times;
    code:   i32 [slots], of texts and lists: the place in `words`.
    """

    def __init__(self, slots: int) -> None:
        """Start without values."""
        self.kind = np.zeros(slots, np.uint8)
        self.number: NDArray[np.float64] | None = None
        self.code: NDArray[np.int32] | None = None
        self.words: list[str | frozenset[str]] = []
        self._places: dict[str | frozenset[str], int] = {}

    def grow(self, slots: int) -> None:
        """Add capacity for more slots."""
        more = slots - len(self.kind)
        self.kind = np.pad(self.kind, (0, more))
        if self.number is not None:
            self.number = np.pad(self.number, (0, more), constant_values=np.nan)
        if self.code is not None:
            self.code = np.pad(self.code, (0, more), constant_values=-1)

    def put(self, slot: int, value: Any) -> None:
        """Set the value of a slot; None, and a number that is not finite, is no value."""
        kind, number = NULL, math.nan
        if isinstance(value, bool):
            kind, number = BOOLEAN, float(value)
        elif isinstance(value, int | float):
            number = _finite(value)
            kind = NULL if math.isnan(number) else NUMBER
        elif isinstance(value, str):
            kind, number = TEXT, time_ms(value)
            self._codes()[slot] = self._place(value)
        elif value is not None:
            kind = LIST
            self._codes()[slot] = self._place(frozenset(value))
        self.kind[slot] = kind
        if not math.isnan(number):
            self._numbers()[slot] = number
        elif self.number is not None:
            self.number[slot] = math.nan

    def kinds(self) -> set[str]:
        """Return the types of the values, as `kind_of` names them."""
        found = set(np.unique(self.kind).tolist())
        names = {_NAMES[kind] for kind in found & _NAMES.keys()}
        if TEXT in found:
            is_time = np.zeros(1, np.bool_)
            if self.number is not None:
                is_time = ~np.isnan(self.number[self.kind == TEXT])
            names |= {"time" if one else "text" for one in np.unique(is_time).tolist()}
        return names

    def place(self, word: str) -> int:
        """Return the code of a text; -2 where no item has it."""
        return self._places.get(word, -2)

    def numbers(self, slots: Any, type_name: str) -> NDArray[np.float64]:
        """Return numbers, booleans or times of slots, f64; NaN where there is no value of it."""
        kind = self.kind[slots]
        if self.number is None:
            return np.full(len(kind), np.nan)
        if type_name == "time":
            fits = (kind == NUMBER) | (kind == TEXT)
        else:
            fits = kind == (NUMBER if type_name in ("number", "title") else BOOLEAN)
        return np.where(fits, self.number[slots], np.nan)

    def codes(self, slots: Any, type_name: str) -> NDArray[np.int32]:
        """Return codes of texts or lists of slots, i32; -1 where there is no value of it."""
        kind = self.kind[slots]
        if self.code is None:
            return np.full(len(kind), -1, np.int32)
        return np.where(kind == (TEXT if type_name == "text" else LIST), self.code[slots], -1)

    def compact(self) -> None:
        """Drop words that no slot uses, once they are the majority."""
        if self.code is None or len(self.words) < 1_024 + 2 * len(self.kind):
            return
        used = (self.kind == TEXT) | (self.kind == LIST)
        kept, place = np.unique(self.code[used], return_inverse=True)
        self.words = [self.words[at] for at in kept.tolist()]
        self._places = {word: at for at, word in enumerate(self.words)}
        self.code[used] = place

    def _place(self, word: str | frozenset[str]) -> int:
        place = self._places.setdefault(word, len(self.words))
        if place == len(self.words):
            self.words.append(word)
        return place

    def _codes(self) -> NDArray[np.int32]:
        if self.code is None:
            self.code = np.full(len(self.kind), -1, np.int32)
        return self.code

    def _numbers(self) -> NDArray[np.float64]:
        if self.number is None:
            self.number = np.full(len(self.kind), np.nan)
        return self.number


def _finite(value: float) -> float:
    try:
        number = float(value)
    except OverflowError:
        return math.nan
    return number if math.isfinite(number) else math.nan


class ItemColumns:
    """Attributes of all items of the catalogue, by name and slot.

    Slot 0 stands for an unknown item; every other item keeps its slot. `lock` is held while columns
    change, and by readers that need several values of one version.
    """

    def __init__(self) -> None:
        """Start with an empty catalogue."""
        self.lock = threading.Lock()
        self.version = 0
        self._changes: deque[NDArray[np.int64]] = deque()
        self._remembered = 0  # slots in them
        self._columns: dict[str, Column] = {}
        self._room = 1_024
        self._size = 1
        self._keys = np.zeros(self._room, np.uint64)
        self._late: dict[int, int] = {}
        self._sorted = (np.zeros(0, np.uint64), np.zeros(0, np.int64))
        self._nothing = Column(self._room)

    def __len__(self) -> int:
        """Slots, slot 0 included."""
        return self._size

    @property
    def keys(self) -> NDArray[np.uint64]:
        """Item keys by slot, u64 [slots]; slot 0 has none."""
        return self._keys[: self._size]

    @property
    def names(self) -> list[str]:
        """Names of all attributes that occurred."""
        return sorted(self._columns)

    def column(self, name: str) -> Column:
        """Return a column; one without values where no item has the attribute."""
        return self._columns.get(name, self._nothing)

    def put(self, keys: Sequence[int], rows: Sequence[Mapping[str, Any]]) -> None:
        """Replace all attributes of items; an empty row clears them. Later rows win."""
        with self.lock:
            slots = [self._slot(key) for key in keys]
            for slot, row in zip(slots, rows, strict=True):
                for name, column in self._columns.items():
                    if name not in row:
                        column.put(slot, None)
                for name, value in row.items():
                    column = self._columns.get(name) or self._add(name)
                    column.put(slot, _title_number(value) if name == "title" else value)
            for column in self._columns.values():
                column.compact()
            self._note(np.array(slots, np.int64))

    def slots_of(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return the slots of items, i64 of the same shape; 0 for items that are not known."""
        known, slots = self._sorted
        found = np.zeros(len(keys), np.int64)
        if len(known):
            place = np.minimum(np.searchsorted(known, keys), len(known) - 1)
            found = np.where(known[place] == keys, slots[place], 0)
        if self._late:
            missing = np.flatnonzero(found == 0)
            found[missing] = [self._late.get(key, 0) for key in keys[missing].tolist()]
        return found

    def changed_since(self, version: int) -> NDArray[np.int64] | None:
        """Return the slots that changed since a version, i64; None where too many did."""
        behind = self.version - version
        if behind > len(self._changes):
            return None
        changes = islice(self._changes, len(self._changes) - behind, None)
        return np.unique(np.concatenate([np.zeros(0, np.int64), *changes]))

    def changed_keys(self, version: int) -> set[int] | None:
        """Return the keys of the items that changed since a version; None where too many did."""
        with self.lock:
            slots = self.changed_since(version)
            return None if slots is None else set(self._keys[slots].tolist())

    def _note(self, slots: NDArray[np.int64]) -> None:
        self._changes.append(slots)
        self._remembered += len(slots)
        self.version += 1
        while self._remembered > _REMEMBERED or len(self._changes) > _REMEMBERED:
            self._remembered -= len(self._changes.popleft())

    def _slot(self, key: int) -> int:
        slot = self._late.get(key) or int(self._early(key))
        if slot:
            return slot
        slot = self._size
        if slot == self._room:
            self._room *= 2
            self._keys = np.pad(self._keys, (0, self._room - slot))
            for column in (*self._columns.values(), self._nothing):
                column.grow(self._room)
        self._keys[slot] = key
        self._late[key] = slot
        self._size += 1
        if len(self._late) >= max(_MERGED, self._size // 16):
            order = np.argsort(self._keys[1 : self._size], kind="stable")
            self._sorted = (self._keys[1 : self._size][order], order + 1)
            self._late = {}
        return slot

    def _early(self, key: int) -> int:
        known, slots = self._sorted
        place = int(np.searchsorted(known, np.uint64(key)))
        return int(slots[place]) if place < len(known) and known[place] == key else 0

    def _add(self, name: str) -> Column:
        self._columns[name] = column = Column(self._room)
        return column


def _title_number(value: Any) -> float | None:
    """Return a number that stands for a title, whatever its case and white space."""
    if not isinstance(value, str):
        return None
    words = " ".join(value.casefold().split())
    # As many bits as a float holds exactly.
    return float(xxhash.xxh3_64_intdigest(words.encode(errors="replace")) >> 12)
