"""Items, users and requests from the records of one partition."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec
import numpy as np

from streams.dead_letters import (
    UNREADABLE,
    dead_letter,
    id_fault,
    key_fault,
    seconds_fault,
    too_large,
    unreadable,
)
from streams.event_batch import RecordBatch
from streams.json_rows import with_text_ids
from streams.log_record import LogRecord
from streams.records import DeadLetter, Item, Request, User

Keyed = TypeVar("Keyed", Item, User, Request)


ITEM_MAX_BYTES = 1_048_576


USER_MAX_BYTES = 65_536


REQUEST_MAX_BYTES = 65_536


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
