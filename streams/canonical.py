"""Events in canonical form, read from the columns of a whole batch at once.

The kernel accepts a record only if the general decoder (`streams.codec.decode_events`) finds the
same event in it and no fault. All other records are left to the general decoder, which also has the
reasons for dead letters.

The canonical form: one JSON object of exactly the five fields of an event, in any order, with any
white space between them; texts of 1 to 256 printable ASCII characters without escapes; a time of at
most 18 digits that is not suspect; a kind that is wanted; the user as the record's key.
"""

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from streams.codec import decode_events
from streams.dead_letters import LIKELY_SECONDS
from streams.event_batch import EventBatch, EventRules
from streams.log_record import MAX_ID_BYTES
from streams.record_columns import (
    KEY,
    KEY_BYTES,
    OFFSET,
    TIME,
    VALUE,
    VALUE_BYTES,
    RecordColumns,
)
from streams.records import DeadLetter
from streams.text_columns import AsciiTexts, CodedTexts

__all__ = ["decode_columns"]

U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]
Bools = NDArray[np.bool_]

_USER, _ITEM, _TYPE, _KIND, _TIME = range(5)
_ALL_FIELDS = 0b11111
#: Rows of what the kernel finds: where the item's id begins and ends, numbers of the item type
#: (in order of first sight) and of the kind, and the time.
_ITEM_AT, _ITEM_END, _TYPE_OF, _KIND_OF, _TIME_OF = range(5)
_FOUND = 5
#: Item types of one batch that are told apart; records of more are left to the general decoder.
_MOST_TYPES = 64
#: Digits of a number that always fits 64 bits.
_MOST_DIGITS = 18
_SECONDS_FROM, _SECONDS_TO = LIKELY_SECONDS.start, LIKELY_SECONDS.stop
#: In place of a time: the record is left to the general decoder.
_REFUSED = np.int64(-1)
_QUOTE, _BACKSLASH, _COLON, _COMMA, _OPEN, _CLOSE, _ZERO = (ord(c) for c in '"\\:,{}0')
_SPACE, _TAB, _LINE, _RETURN = (ord(c) for c in " \t\n\r")
_PRINTABLE_FROM, _PRINTABLE_TO = 0x20, 0x7E
_FIELDS = (b"user_id", b"item_id", b"item_type", b"kind", b"timestamp")
_NAMES = np.frombuffer(b"".join(_FIELDS), np.uint8)
_NAME_BEGINS = np.cumsum([0, *map(len, _FIELDS)])
_NAME_I, _NAME_K, _NAME_T = b"ikt"
_ITEM_BYTES = len(_FIELDS[_ITEM])


def decode_columns(
    records: RecordColumns, rules: EventRules
) -> tuple[EventBatch, list[DeadLetter]]:
    """Return what `streams.codec.decode_events` returns for the same records."""
    batch, accepted = _canonical_events(records, rules)
    if accepted.all():
        return batch, []
    others, letters = decode_events(records.take(~accepted), rules)
    return (_merged(batch, others) if len(batch) else others), letters


def _canonical_events(records: RecordColumns, rules: EventRules) -> tuple[EventBatch, Bools]:
    """Return the events in canonical form, and which records hold one, bool [n]."""
    table = records.table
    wanted = [kind.encode() for kind in rules.kinds]
    found = np.empty((_FOUND, len(table)), np.int64)
    types = np.empty((_MOST_TYPES, 2), np.int64)
    data = np.frombuffer(records.data, np.uint8)
    known = _read(
        data, table, np.frombuffer(b"".join(wanted), np.uint8),
        np.cumsum([len(kind) for kind in wanted]), rules.max_bytes, rules.future_ms, types, found,
    )  # fmt: skip
    item_types = [records.data[begin:end].decode() for begin, end in types[:known].tolist()]
    accepted = found[_TYPE_OF] >= 0
    for number, name in enumerate(item_types):
        if name in rules.text_types:
            accepted &= found[_TYPE_OF] != number
    if not accepted.all():
        table, found = table[accepted], found[:, accepted]
    users = table[:, KEY].copy()
    batch = EventBatch(
        user_id=AsciiTexts(data, users, users + table[:, KEY_BYTES]),
        item_type=CodedTexts(item_types, found[_TYPE_OF]),
        item_id=AsciiTexts(data, found[_ITEM_AT], found[_ITEM_END]),
        kind=CodedTexts(rules.kinds, found[_KIND_OF]),
        timestamp=found[_TIME_OF],
        offset=table[:, OFFSET].copy(),
    )
    return batch, accepted


def _merged(one: EventBatch, other: EventBatch) -> EventBatch:
    """Two batches of events of the same records as one, by offset."""
    offset = np.concatenate([one.offset, other.offset])
    order = np.argsort(offset, kind="stable")

    def column(first: Sequence[str], second: Sequence[str]) -> list[str]:
        both = [*first, *second]
        return [both[row] for row in order.tolist()]

    return EventBatch(
        user_id=column(one.user_id, other.user_id),
        item_type=column(one.item_type, other.item_type),
        item_id=column(one.item_id, other.item_id),
        kind=column(one.kind, other.kind),
        timestamp=np.concatenate([one.timestamp, other.timestamp])[order],
        offset=offset[order],
        context={**one.context, **other.context},
        erasures=sorted([*one.erasures, *other.erasures], key=lambda erasure: erasure.offset),
        ignored=one.ignored + other.ignored,
    )


@njit(cache=True, inline="always")
def _behind_space(data: U8, at: int, end: int) -> int:
    """The place of the first byte that is not white space."""
    while at < end and (
        data[at] == _SPACE or data[at] == _LINE or data[at] == _RETURN or data[at] == _TAB
    ):
        at += 1
    return at


@njit(cache=True, inline="always")
def _text_end(data: U8, at: int, end: int) -> int:
    """The place of the closing quote; -1 for an escape, a byte beyond ASCII, or no end."""
    while at < end:
        byte = data[at]
        if byte == _QUOTE:
            return at
        if byte < _PRINTABLE_FROM or byte > _PRINTABLE_TO or byte == _BACKSLASH:
            return -1
        at += 1
    return -1


@njit(cache=True, inline="always")
def _equal(a: U8, at: int, b: U8, begin: int, length: int) -> bool:
    for k in range(length):  # noqa: SIM110 numba compiles no generators inline
        if a[at + k] != b[begin + k]:
            return False
    return True


@njit(cache=True, inline="always")
def _among(data: U8, at: int, end: int, texts: U8, ends: I64) -> int:
    """Number of the text that lies in data[at:end], -1 if it is none of them."""
    begin = 0
    for number in range(len(ends)):
        if end - at == ends[number] - begin and _equal(data, at, texts, begin, end - at):
            return number
        begin = ends[number]
    return -1


@njit(cache=True, inline="always")
def _field(data: U8, at: int, end: int) -> int:
    """Field whose name lies in data[at:end], -1 if there is none. The first byte tells which."""
    if at == end:
        return -1
    first, length = data[at], end - at
    field = _USER
    if first == _NAME_I:
        field = _ITEM if length == _ITEM_BYTES else _TYPE
    elif first == _NAME_K:
        field = _KIND
    elif first == _NAME_T:
        field = _TIME
    begin = _NAME_BEGINS[field]
    if length != _NAME_BEGINS[field + 1] - begin or not _equal(data, at, _NAMES, begin, length):
        return -1
    return field


@njit(cache=True, inline="always")
def _type_number(data: U8, at: int, end: int, types: I64, known: int) -> int:
    """Number of an item type: `known` for one not seen before."""
    for number in range(known):
        begin = types[number, 0]
        if types[number, 1] - begin == end - at and _equal(data, at, data, begin, end - at):
            return number
    return known


@njit(cache=True, inline="always")
def _read_fields(  # noqa: PLR0911, PLR0912 each check ends it
    data: U8, at: int, end: int, begins: I64, ends: I64
) -> np.int64:
    """Read the object in data[at:end]: where the texts lie, by field; returns the time, or -1."""
    if at >= end or data[at] != _OPEN:
        return _REFUSED
    at += 1
    seen, time = 0, np.int64(0)
    while True:
        at = _behind_space(data, at, end)
        if at >= end or data[at] != _QUOTE:
            return _REFUSED
        begin = at + 1
        at = _text_end(data, begin, end)
        if at < 0:
            return _REFUSED
        field = _field(data, begin, at)
        if field < 0 or seen >> field & 1:
            return _REFUSED
        seen |= 1 << field
        at = _behind_space(data, at + 1, end)
        if at >= end or data[at] != _COLON:
            return _REFUSED
        at = _behind_space(data, at + 1, end)
        if at >= end:
            return _REFUSED
        if field == _TIME:
            begin = at
            while at < end and _ZERO <= data[at] < _ZERO + 10 and at - begin <= _MOST_DIGITS:
                time = time * 10 + (data[at] - _ZERO)
                at += 1
            digits = at - begin
            if digits == 0 or digits > _MOST_DIGITS or (digits > 1 and data[begin] == _ZERO):
                return _REFUSED
        else:
            if data[at] != _QUOTE:
                return _REFUSED
            begins[field] = at + 1
            at = _text_end(data, at + 1, end)
            if at < 0 or not 0 < at - begins[field] <= MAX_ID_BYTES:
                return _REFUSED
            ends[field] = at
            at += 1
        at = _behind_space(data, at, end)
        if at >= end:
            return _REFUSED
        if data[at] == _CLOSE:
            whole = seen == _ALL_FIELDS and _behind_space(data, at + 1, end) == end
            return time if whole else _REFUSED
        if data[at] != _COMMA:
            return _REFUSED
        at += 1


@njit(cache=True)
def _read(
    data: U8, table: I64, kinds: U8, kind_ends: I64, max_bytes: int, future_ms: int, types: I64,
    found: I64,
) -> int:  # fmt: skip
    """Fill `found`, item type -1 where a record is not accepted; returns the number of types."""
    known = 0
    begins, ends = np.zeros(5, np.int64), np.zeros(5, np.int64)
    for row in range(len(table)):
        found[_TYPE_OF, row] = -1
        length = table[row, VALUE_BYTES]
        if length > max_bytes or length < 2:
            continue
        at = table[row, VALUE]
        time = _read_fields(data, _behind_space(data, at, at + length), at + length, begins, ends)
        if time < 0 or _SECONDS_FROM <= time < _SECONDS_TO:
            continue
        if time - max(table[row, TIME], 0) > future_ms:
            continue
        user = ends[_USER] - begins[_USER]
        if table[row, KEY_BYTES] != user or not _equal(
            data, table[row, KEY], data, begins[_USER], user
        ):
            continue
        kind = _among(data, begins[_KIND], ends[_KIND], kinds, kind_ends)
        if kind < 0:
            continue
        number = _type_number(data, begins[_TYPE], ends[_TYPE], types, known)
        if number == len(types):
            continue
        if number == known:
            types[known, 0], types[known, 1] = begins[_TYPE], ends[_TYPE]
            known += 1
        found[_ITEM_AT, row], found[_ITEM_END, row] = begins[_ITEM], ends[_ITEM]
        found[_TYPE_OF, row], found[_KIND_OF, row], found[_TIME_OF, row] = number, kind, time
    return known
