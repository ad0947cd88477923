"""From bytes to columns and back, many records at a time.

Reading never raises: each record is decoded by itself, so a bad one becomes a dead letter with
its reason and its neighbours are untouched. One core reads about a million events a second; the
hot path is list comprehensions and whole-column tests, and looks at single rows only when a
column fails its test.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Literal, TypeVar, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from streams.dead_letters import (
    LIKELY_SECONDS,
    UNREADABLE,
    Fault,
    dead_letter,
    future_fault,
    id_fault,
    key_fault,
    seconds_fault,
    unreadable,
)
from streams.erasure_records import EraseUser
from streams.event_batch import Erasure, EventBatch, EventRules, normal_ids
from streams.json_rows import read_rows
from streams.log_record import INT64_MAX, MAX_ID_BYTES, LogRecord
from streams.record_columns import RecordColumns, log_times
from streams.records import DeadLetter, Event, Reason, WireRecord

T = TypeVar("T")

_ESCAPED_NUL = b"\\u0000"


def encode(record: WireRecord) -> bytes:
    """Return the JSON of a record; its key is record.key."""
    return _ENCODER.encode(record)


def encode_events(
    user_id: Iterable[str],
    item_type: Iterable[str],
    item_id: Iterable[str],
    kind: Iterable[str],
    timestamp: Iterable[int],
) -> list[tuple[bytes, bytes]]:
    """Return the keys and values of many events given as columns (timestamps as Python ints)."""
    encode_event = _ENCODER.encode
    return [
        (
            user.encode(),
            encode_event(
                Event(user_id=user, item_type=of_type, item_id=item, kind=what, timestamp=when)
            ),
        )
        for user, of_type, item, what, when in zip(
            user_id, item_type, item_id, kind, timestamp, strict=True
        )
    ]


def decode(record_type: type[T], value: bytes) -> T:
    """Return one record that we wrote ourselves. Raises msgspec.DecodeError for anything else."""
    return msgspec.json.decode(value, type=record_type)


def readable(record_type: type[T], records: Iterable[LogRecord]) -> Iterator[tuple[LogRecord, T]]:
    """Yield the records of a topic of ours that can be read, each with what it holds.

    For topics that only Segue should write to: a foreign record must not end a reader.
    """
    read = msgspec.json.Decoder(record_type).decode
    for record in records:
        if record.value is not None:
            with contextlib.suppress(*UNREADABLE):
                yield record, read(record.value)


def decode_events(
    records: Sequence[LogRecord], rules: EventRules
) -> tuple[EventBatch, list[DeadLetter]]:
    """Return the good events and erasures of one partition's records, and dead letters.

    Every record is an event, an erasure, a dead letter or of an ignored kind, each ordered as the
    records are. Never raises.
    """
    if isinstance(records, RecordColumns):
        from streams.canonical import decode_columns  # noqa: PLC0415 compiled, and for Kafka only

        return decode_columns(records, rules)
    events, kept, letters = read_rows(records, _event_decoder(rules.kinds), rules.max_bytes)
    erasures, letters = _erasures(records, letters)
    events = _with_normal_ids(events, rules.text_types)
    batch = _columns(events, kept, erasures)
    faults = _faults(events, kept, batch, rules)
    if faults:
        letters += [dead_letter(kept[row], *fault) for row, fault in faults.items()]
        letters.sort(key=_offset)
        good = [row for row in range(len(events)) if row not in faults]
        batch = _columns([events[row] for row in good], [kept[row] for row in good], erasures)
    if rules.ignore and letters:
        letters, ignored = without_ignored(records, letters, _kind_of, rules.ignore)
        batch = replace(batch, ignored=ignored)
    return batch, letters


def checked_rows(
    events: list[Event], records: Sequence[LogRecord], rules: EventRules
) -> tuple[EventBatch, dict[int, Fault]]:
    """Return events as columns, texts in their normal form, and the faults of rows by number.

    records: of each event, which may be one for several events.
    """
    events = _with_normal_ids(events, rules.text_types)
    batch = _columns(events, records, [])
    return batch, _faults(events, records, batch, rules)


class _Kind(msgspec.Struct):
    kind: str


_read_kind = msgspec.json.Decoder(_Kind).decode


def _kind_of(value: bytes) -> str:
    return _read_kind(value).kind


def without_ignored(
    records: Sequence[LogRecord],
    letters: list[DeadLetter],
    kind_of: Callable[[bytes], str | None],
    ignore: Sequence[str],
) -> tuple[list[DeadLetter], int]:
    """Return the letters of records whose kind is not ignored, and the number of the others.

    kind_of: reads the kind of a value, whatever else is in it; may raise one of UNREADABLE.
    """
    refused = {letter.source.offset for letter in letters}
    passed: set[int] = set()
    for record in records:
        if record.offset in refused and record.value is not None:
            with contextlib.suppress(*UNREADABLE):
                if kind_of(record.value) in ignore:
                    passed.add(record.offset)
    return [letter for letter in letters if letter.source.offset not in passed], len(passed)


def _with_normal_ids(events: list[Event], text_types: Sequence[str]) -> list[Event]:
    """Return the events with ids that are texts in their normal form."""
    if not text_types:
        return events
    written = [event.item_id for event in events]
    ids = normal_ids([event.item_type for event in events], written, frozenset(text_types))
    return [
        event if item_id == event.item_id else msgspec.structs.replace(event, item_id=item_id)
        for event, item_id in zip(events, ids, strict=True)
    ]


def _columns(
    events: Sequence[Event], records: Sequence[LogRecord], erasures: list[Erasure]
) -> EventBatch:
    return EventBatch(
        user_id=[event.user_id for event in events],
        item_type=[event.item_type for event in events],
        item_id=[event.item_id for event in events],
        kind=[event.kind for event in events],
        timestamp=np.array([event.timestamp for event in events], np.int64),
        offset=np.array([record.offset for record in records], np.int64),
        context={
            record.offset: event.context
            for event, record in zip(events, records, strict=True)
            if event.context is not None
        },
        erasures=erasures,
    )


_ENCODER = msgspec.json.Encoder()


@lru_cache(maxsize=16)
def _event_decoder(kinds: tuple[str, ...]) -> msgspec.json.Decoder[Event]:
    """Return a decoder that also checks the kind, in C, and yields one string object for each."""
    one_of: Any = Literal[kinds]
    # Without garbage collector tracking: rows hold only strings and numbers, no cycles.
    row = msgspec.defstruct(
        "EventRow", [("kind", one_of)], bases=(Event,), frozen=True, kw_only=True, gc=False
    )
    return cast("msgspec.json.Decoder[Event]", msgspec.json.Decoder(row))


def _erasures(
    records: Sequence[LogRecord], letters: list[DeadLetter]
) -> tuple[list[Erasure], list[DeadLetter]]:
    """Return the erasures among records that are no events, and letters of those that are none."""
    suspects = {letter.source.offset for letter in letters if letter.reason in _MAY_ERASE}
    if not suspects:
        return [], letters
    found: list[Erasure] = []
    faults: list[DeadLetter] = []
    kept: set[int] = set()
    for record in records:
        if record.offset not in suspects:
            continue
        erasure = _erasure(record)
        if isinstance(erasure, Erasure):
            found.append(erasure)
        elif erasure is None:
            kept.add(record.offset)
        else:
            faults.append(dead_letter(record, *erasure))
    others = [
        letter
        for letter in letters
        if letter.source.offset not in suspects or letter.source.offset in kept
    ]
    return found, sorted(others + faults, key=_offset)


#: Reasons by which records that erase a user are no events: no value, or no item.
_MAY_ERASE = (Reason.EMPTY, Reason.MISSING_FIELD)


def _erasure(record: LogRecord) -> Erasure | Fault | None:
    """Return a record as an erasure; what is wrong with it; or None if it is meant as another."""
    # Attributes of an unknown time go, where the log does not say when it took the erasure.
    logged_at = record.timestamp if record.timestamp >= 0 else INT64_MAX
    if record.value is not None:
        try:
            row = msgspec.json.decode(record.value, type=EraseUser)
        except UNREADABLE:
            return None
        fault = id_fault(row.user_id) or key_fault(row, record)
        named = (row.count_from, row.topic_ids)
        return fault or Erasure(record.offset, row.user_id, logged_at, *named)
    if record.key is None:
        return unreadable(None, ValueError())
    try:
        user = record.key.decode()
    except UnicodeDecodeError as error:
        return unreadable(None, error)
    return id_fault(user) or Erasure(record.offset, user, logged_at)


def _faults(
    events: Sequence[Event], records: Sequence[LogRecord], batch: EventBatch, rules: EventRules
) -> dict[int, Fault]:
    """Return the row number and fault of each event that is readable but not acceptable.

    batch: the events as columns.
    """
    suspects: set[int] = set()
    values = [record.value or b"" for record in records]
    # JSON escapes only lengthen, so an id can be too long only within a value that is longer.
    if max(map(len, values), default=0) > MAX_ID_BYTES:
        suspects.update(row for row, value in enumerate(values) if len(value) > MAX_ID_BYTES)
    # A normal form may be longer than what was written, or empty.
    if rules.text_types:
        texts = frozenset(rules.text_types)
        suspects.update(row for row, name in enumerate(batch.item_type) if name in texts)
    if _ESCAPED_NUL in b"".join(values):
        suspects.update(row for row, value in enumerate(values) if _ESCAPED_NUL in value)
    if not _keyed_by(batch.user_id, records):
        suspects.update(
            row
            for row, (user, record) in enumerate(zip(batch.user_id, records, strict=True))
            if record.key != user.encode()
        )
    suspects.update(suspect_times(batch.timestamp, records, rules.future_ms))
    found: dict[int, Fault] = {}
    for row in suspects:
        fault = _event_fault(events[row], records[row], rules)
        if fault:
            found[row] = fault
    return found


def _keyed_by(users: Sequence[str], records: Sequence[LogRecord]) -> bool:
    """Whether every record has its user as key; may say no where users hold a NUL.

    Without one, as many parts as users between NULs can only be these users.
    """
    try:
        keys = b"\0".join([record.key for record in records])  # type: ignore[misc]  # a TypeError
    except TypeError:
        return False
    return keys == "\0".join(users).encode() and keys.count(b"\0") == max(len(users) - 1, 0)


def _event_fault(event: Event, record: LogRecord, rules: EventRules) -> Fault | None:
    return (
        id_fault(event.user_id, event.item_type, event.item_id)
        or key_fault(event, record)
        or time_fault(event.timestamp, record, rules.future_ms)
    )


def suspect_times(
    timestamp: NDArray[np.int64], records: Sequence[LogRecord], future_ms: int
) -> list[int]:
    """Return the rows whose time may be unusable: in seconds, or after the log's own time."""
    logged = log_times(records)
    # A difference, not a sum: timestamps up to the end of int64 must not overflow.
    odd = (timestamp - np.maximum(logged, 0) > future_ms) | (
        (timestamp >= LIKELY_SECONDS.start) & (timestamp < LIKELY_SECONDS.stop)
    )
    return np.flatnonzero(odd).tolist()


def time_fault(timestamp: int, record: LogRecord, future_ms: int) -> Fault | None:
    """Return what is wrong with an event's time in ms, by the log's own time, or None."""
    logged = record.timestamp
    return seconds_fault(timestamp, logged if logged >= 0 else None) or future_fault(
        timestamp, logged, future_ms
    )


def _offset(letter: DeadLetter) -> int:
    return letter.source.offset
