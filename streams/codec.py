"""From bytes to columns and back, many records at a time.

Reading never raises: each record is decoded by itself, so a bad one becomes a dead letter with
its reason and its neighbours are untouched. One core reads about a million events a second; the
hot path is list comprehensions and whole-column tests, and looks at single rows only when a
column fails its test.
"""

import contextlib
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Generic, Literal, NamedTuple, TypeVar, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from streams.actions import ActionSettings
from streams.dead_letters import dead_letter
from streams.faults import (
    LIKELY_SECONDS,
    UNREADABLE,
    Fault,
    future_fault,
    id_fault,
    key_fault,
    seconds_fault,
    too_large,
    unreadable,
)
from streams.record_columns import RecordColumns, log_times
from streams.records import (
    INT64_MAX,
    MAX_ID_BYTES,
    Context,
    DeadLetter,
    EraseUser,
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

    kinds:     accepted kinds of events, and those of `actions`; others are dead letters.
    actions:   meaning of kinds of events that are more than strong or weak.
    ignore:    ignored kinds: such a record is neither an event nor a dead letter.
    text_types: item types whose ids are texts, such as queries: the text is normalised
                (streams.text_ids) and needs no catalogue entry.
    future_ms: maximum time of an event after the record's log timestamp, in milliseconds (clocks of
               devices run ahead); compared with the log, so that a replay decides in the same way.
    jump_ms:   maximum time of an event after the latest one of its partition, in milliseconds, on
               topics with producer timestamps (CreateTime) and for events ahead of the system
               clock; a later event would move the window and drop its content.
    max_bytes: maximum length of an event's value in bytes.
    """

    kinds: tuple[str, ...] = ("stream", "follow", "preview", "intent")
    actions: tuple[ActionSettings, ...] = ()
    ignore: tuple[str, ...] = ()
    text_types: tuple[str, ...] = ()
    future_ms: int = 3_600_000
    jump_ms: int = 86_400_000
    max_bytes: int = 65_536

    def __post_init__(self) -> None:
        """Accept the kinds of actions; refuse a kind that is both wanted and ignored."""
        # A frozen value is completed here as __init__ would.
        object.__setattr__(
            self, "kinds", tuple(dict.fromkeys([*self.kinds, *(a.kind for a in self.actions)]))
        )
        if reserved := sorted(kind for kind in self.kinds if kind.startswith("segue:")):
            raise ValueError(f"kinds: names that begin with segue: are Segue's own, not {reserved}")
        if both := sorted(set(self.kinds) & set(self.ignore)):
            raise ValueError(f"ignore: {', '.join(both)} is also one of kinds")


class Erasure(NamedTuple):
    """A user is to be erased; see `streams.records.EraseUser`.

    logged_at: when the log took the record, ms UTC. count_from: topic/partition -> offset.
    topic_ids: topic -> id.
    """

    offset: int
    user_id: str
    logged_at: int
    count_from: Mapping[str, int] = MappingProxyType({})
    topic_ids: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True, eq=False)
class EventBatch:
    """Good events as columns of equal length n, in the order of the records.

    user_id, item_type, item_id, kind: lists of n strings; timestamp: int64[n], ms UTC;
    offset: int64[n], the place in the partition of each event.
    position: of impressions, int64[n], the place in the list; None for events.
    list_code: of impressions, int64[n], `list_code` of the list; None for events.
    context: of events that have one, by offset.
    erasures: the records that erase a user, in order: a user's key with a null value, or an
    `EraseUser`.
    ignored: number of records whose kind is one that is passed over.
    """

    user_id: list[str]
    item_type: list[str]
    item_id: list[str]
    kind: list[str]
    timestamp: NDArray[np.int64]
    offset: NDArray[np.int64]
    position: NDArray[np.int64] | None = None
    list_code: NDArray[np.int64] | None = None
    context: Mapping[int, Context] = field(default_factory=dict)
    erasures: list[Erasure] = field(default_factory=list)
    ignored: int = 0

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


def without_rows(batch: EventBatch, rows: Container[int]) -> EventBatch:
    """Return the events but for some rows; erasures stay."""
    keep = [row for row in range(len(batch)) if row not in rows]
    return EventBatch(
        user_id=[batch.user_id[row] for row in keep],
        item_type=[batch.item_type[row] for row in keep],
        item_id=[batch.item_id[row] for row in keep],
        kind=[batch.kind[row] for row in keep],
        timestamp=batch.timestamp[keep],
        offset=batch.offset[keep],
        position=None if batch.position is None else batch.position[keep],
        list_code=None if batch.list_code is None else batch.list_code[keep],
        context=batch.context,
        erasures=batch.erasures,
        ignored=batch.ignored,
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
        return read_each(records, with_text_ids(decoder.decode, decoder.type), max_bytes)
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


_ID_FIELDS = ("user_id", "item_id", "item_type")


def with_text_ids(read: Callable[[bytes], T], record_type: type[T]) -> Callable[[bytes], T]:
    """Return a reader that also takes ids that are whole numbers: as their text.

    A value with ids of text, the rule, costs nothing more; another one is read twice.
    """

    def read_either(value: bytes) -> T:
        try:
            return read(value)
        except msgspec.ValidationError:
            row = msgspec.json.decode(value)
            texts = text_ids(row) if isinstance(row, dict) else {}
            if not texts:
                raise
        return msgspec.convert({**row, **texts}, record_type)

    return read_either


def text_ids(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return by name the ids of a row that are whole numbers, as text.

    Where there are any in the items of a row, all of its items, with theirs as text.
    """
    found: dict[str, Any] = {
        name: str(row[name])
        for name in _ID_FIELDS
        if isinstance(row.get(name), int) and not isinstance(row[name], bool)
    }
    items = row.get("items")
    if isinstance(items, list) and all(isinstance(item, dict) for item in items):
        own = [text_ids(item) for item in items]
        if any(own):
            found["items"] = [{**item, **texts} for item, texts in zip(items, own, strict=True)]
    return found


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


def _decode_keyed(
    records: Sequence[LogRecord],
    record_type: type[Keyed],
    max_bytes: int,
    deleted: Callable[[bytes], Keyed] | None,
) -> tuple[RecordBatch[Keyed], list[DeadLetter]]:
    read = with_text_ids(msgspec.json.Decoder(record_type).decode, record_type)
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
        if isinstance(row, Item) and row.published_at is not None:
            fault = fault or seconds_fault(row.published_at)
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
