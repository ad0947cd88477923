"""From bytes to columns and back, many records at a time.

Reading never raises: each record is decoded by itself, so a bad one becomes a dead letter with
its reason and its neighbours are untouched. One core reads about a million events a second; the
hot path is list comprehensions and whole-column tests, and looks at single rows only when a
column fails its test.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Generic, Literal, NamedTuple, TypeVar, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from streams.dead_letters import dead_letter
from streams.faults import (
    UNREADABLE,
    Fault,
    future_fault,
    id_fault,
    key_fault,
    too_large,
    unreadable,
)
from streams.records import (
    MAX_ID_BYTES,
    DeadLetter,
    Event,
    Item,
    LogRecord,
    Reason,
    Request,
    User,
    WireRecord,
)
from streams.text_ids import normal_ids

T = TypeVar("T")
Keyed = TypeVar("Keyed", Item, User, Request)

ITEM_MAX_BYTES = 1_048_576
USER_MAX_BYTES = 65_536
REQUEST_MAX_BYTES = 65_536

_ESCAPED_NUL = b"\\u0000"


@dataclass(frozen=True, kw_only=True)
class EventRules:
    """Which events are accepted.

    kinds:     the kinds of event that mean something here; others are dead letters.
    text_types: item types whose items are texts, such as queries: the id is the text, which is
               brought into its normal form (streams.text_ids), and needs no catalogue entry.
    future_ms: how far after the record's own log timestamp an event may lie, in milliseconds
               (clocks of devices run ahead); judged against the log, so a replay decides alike.
    max_bytes: greatest length of an event's value in bytes.
    """

    kinds: tuple[str, ...] = ("stream", "follow", "preview", "intent")
    text_types: tuple[str, ...] = ()
    future_ms: int = 3_600_000
    max_bytes: int = 65_536


class Erasure(NamedTuple):
    """A user is to be forgotten from here on; logged_at: when the log took the record, ms UTC."""

    offset: int
    user_id: str
    logged_at: int


@dataclass(frozen=True, kw_only=True, eq=False)
class EventBatch:
    """Good events as columns of equal length n, in the order of the records.

    user_id, item_type, item_id, kind: lists of n strings; timestamp: int64[n], ms UTC;
    offset: int64[n], the place in the partition of each event.
    erasures: the records that erase a user, in order: a user's key with a null value.
    """

    user_id: list[str]
    item_type: list[str]
    item_id: list[str]
    kind: list[str]
    timestamp: NDArray[np.int64]
    offset: NDArray[np.int64]
    erasures: list[Erasure] = field(default_factory=list)

    def __len__(self) -> int:
        """Return the number of events."""
        return len(self.user_id)


@dataclass(frozen=True, kw_only=True, eq=False)
class RecordBatch(Generic[T]):
    """Good records in the order of the log: records, a list of n; offset, int64[n].

    An item or user that was deleted, by a null value or by its own field, has deleted set.
    """

    records: list[T]
    offset: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self.records)


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


def decode_events(
    records: Sequence[LogRecord], rules: EventRules
) -> tuple[EventBatch, list[DeadLetter]]:
    """Return the good events and erasures of one partition's records, and dead letters.

    Every record is an event, an erasure or a dead letter, each ordered as the records are. Never
    raises.
    """
    events, kept, letters = _read_all(records, _event_decoder(rules.kinds), rules.max_bytes)
    erasures, letters = _erasures(records, letters)
    events = _with_normal_ids(events, rules.text_types)
    batch = _columns(events, kept, erasures)
    faults = _faults(events, kept, batch, rules)
    if faults:
        letters += [dead_letter(kept[row], *fault) for row, fault in faults.items()]
        letters.sort(key=_offset)
        good = [row for row in range(len(events)) if row not in faults]
        batch = _columns([events[row] for row in good], [kept[row] for row in good], erasures)
    return batch, letters


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
        erasures=erasures,
    )


def decode_items(
    records: Sequence[LogRecord], *, max_bytes: int = ITEM_MAX_BYTES
) -> tuple[RecordBatch[Item], list[DeadLetter]]:
    """Return the good items of one partition's records, and dead letters for the others."""
    return _decode_keyed(records, Item, max_bytes, _deleted_item)


def decode_users(
    records: Sequence[LogRecord], *, max_bytes: int = USER_MAX_BYTES
) -> tuple[RecordBatch[User], list[DeadLetter]]:
    """Return the good users of one partition's records, and dead letters for the others."""
    return _decode_keyed(records, User, max_bytes, _deleted_user)


def decode_requests(
    records: Sequence[LogRecord], *, max_bytes: int = REQUEST_MAX_BYTES
) -> tuple[RecordBatch[Request], list[DeadLetter]]:
    """Return the good requests of one partition's records, and dead letters for the others."""
    return _decode_keyed(records, Request, max_bytes, None)


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


#: Fewer records than this are read one by one: among them is one that is bad.
_FEW = 16


def _read_all(
    records: Sequence[LogRecord], decoder: msgspec.json.Decoder[T], max_bytes: int
) -> tuple[list[T], list[LogRecord], list[DeadLetter]]:
    """Return rows and their records, and the letters of those that could not be read.

    All at once where that is possible, else in halves, down to the few around a bad record.
    """
    if len(records) < _FEW:
        return read_each(records, decoder.decode, max_bytes)
    rows = _read_lines([record.value for record in records], decoder, max_bytes)
    if rows is not None:
        return rows, list(records), []
    half = len(records) // 2
    rows, kept, letters = _read_all(records[:half], decoder, max_bytes)
    more = _read_all(records[half:], decoder, max_bytes)
    return rows + more[0], kept + more[1], letters + more[2]


def _read_lines(
    values: Sequence[bytes | None], decoder: msgspec.json.Decoder[T], max_bytes: int
) -> list[T] | None:
    """Return one row for each value, or None unless every value by itself is a good one.

    Where every value begins with { and ends with }, and none holds a line break, each object ends
    in the value in which it began; as many rows as values are then one row from each.
    """
    try:
        lines = b"\n".join(values)  # type: ignore[arg-type]  # no value: a TypeError
        between = len(values) - 1
        if (
            lines.count(b"}\n{") != between
            or lines.count(b"\n") != between
            or not lines.startswith(b"{")
            or not lines.endswith(b"}")
            or max(map(len, values)) > max_bytes  # type: ignore[arg-type]
        ):
            return None
        rows = decoder.decode_lines(lines)
    except UNREADABLE:
        return None
    return rows if len(rows) == len(values) else None


def read_each(
    records: Sequence[LogRecord], read: Callable[[bytes], T], max_bytes: int
) -> tuple[list[T], list[LogRecord], list[DeadLetter]]:
    """Return rows and their records, and the letters of those that could not be read."""
    rows: list[T] = []
    kept: list[LogRecord] = []
    letters: list[DeadLetter] = []
    for record in records:
        value = record.value
        try:
            if len(value) > max_bytes:  # type: ignore[arg-type]  # no value: a TypeError
                letters.append(too_large(record, max_bytes))
                continue
            rows.append(read(value))  # type: ignore[arg-type]
        except UNREADABLE as error:
            letters.append(dead_letter(record, *unreadable(value, error)))
        else:
            kept.append(record)
    return rows, kept, letters


def _erasures(
    records: Sequence[LogRecord], letters: list[DeadLetter]
) -> tuple[list[Erasure], list[DeadLetter]]:
    """Return the erasures among records without value, and letters of those that are none."""
    empty = {letter.source.offset for letter in letters if letter.reason is Reason.EMPTY}
    if not empty:
        return [], letters
    found: list[Erasure] = []
    others = [letter for letter in letters if letter.reason is not Reason.EMPTY]
    for record in records:
        if record.offset not in empty:
            continue
        try:
            user = (record.key or b"").decode()
            fault = id_fault(user) if record.key is not None else unreadable(None, ValueError())
        except UnicodeDecodeError as error:
            fault = unreadable(None, error)
        if fault:
            others.append(dead_letter(record, *fault))
        else:
            found.append(Erasure(record.offset, user, record.timestamp))
    others.sort(key=_offset)
    return found, others


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
    logged = np.array([record.timestamp for record in records], np.int64)
    # A difference, not a sum: timestamps up to the end of int64 must not overflow.
    suspects.update(np.flatnonzero(batch.timestamp - logged > rules.future_ms).tolist())
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
        or future_fault(event.timestamp, record.timestamp, rules.future_ms)
    )


def _decode_keyed(
    records: Sequence[LogRecord],
    record_type: type[Keyed],
    max_bytes: int,
    deleted: Callable[[bytes], Keyed] | None,
) -> tuple[RecordBatch[Keyed], list[DeadLetter]]:
    read = msgspec.json.Decoder(record_type).decode
    good: list[Keyed] = []
    offsets: list[int] = []
    letters: list[DeadLetter] = []
    for record in records:
        value = record.value
        try:
            if value is None and record.key is not None and deleted is not None:
                row = deleted(record.key)
            elif value is not None and len(value) > max_bytes:
                letters.append(too_large(record, max_bytes))
                continue
            else:
                row = read(value)  # type: ignore[arg-type]  # no value: a TypeError
        except UNREADABLE as error:
            letters.append(dead_letter(record, *unreadable(value, error)))
            continue
        ids = (row.item_type, row.item_id) if isinstance(row, Item) else (row.user_id,)
        fault = id_fault(*ids) or key_fault(row, record)
        if fault:
            letters.append(dead_letter(record, *fault))
            continue
        good.append(row)
        offsets.append(record.offset)
    return RecordBatch(records=good, offset=np.array(offsets, np.int64)), letters


def _deleted_item(key: bytes) -> Item:
    item_type, separator, item_id = key.decode().partition("\0")
    if not separator:
        raise ValueError(f"key of a deleted item: expected item_type, NUL, item_id; got {key!r}")
    return Item(item_type=item_type, item_id=item_id, deleted=True)


def _deleted_user(key: bytes) -> User:
    return User(user_id=key.decode(), deleted=True)


def _offset(letter: DeadLetter) -> int:
    return letter.source.offset
