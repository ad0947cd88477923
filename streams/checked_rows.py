"""Rows from outside, checked by the workers' decoder before they are written.

A row is the JSON of one record. Its key is computed from its own ids, so that a record that passes
here lies in the right partition and is one that workers accept.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from streams.codec import decode_events
from streams.dead_letters import UNREADABLE
from streams.event_batch import EventRules
from streams.impressions import decode_impressions
from streams.keyed_records import decode_items, decode_users
from streams.log_record import Record
from streams.records import DeadLetter, Reason

__all__ = [
    "BadRow",
    "CheckedRows",
    "check_events",
    "check_impressions",
    "check_items",
    "check_users",
]

NO_EVENT = "expected an event, got the record that erases a user"


@dataclass(frozen=True, order=True)
class BadRow:
    """A row that workers would refuse: its index, and their reason."""

    index: int
    reason: Reason
    detail: str


@dataclass(frozen=True, kw_only=True)
class CheckedRows:
    """Rows that workers accept, and those that they would refuse.

    records: key and value of each good row, in order; good: their indices; bad: ordered by index.
    ignored: number of events of a kind that workers pass over; they are neither good nor bad.
    """

    records: list[tuple[bytes, bytes]]
    good: list[int]
    bad: list[BadRow]
    ignored: int = 0

    def of_users(self, prefix: str) -> "CheckedRows":
        """Return the same, with rows of users whose id begins otherwise as bad ones."""
        beginning = prefix.encode()
        foreign = {
            index
            for index, (key, _) in zip(self.good, self.records, strict=True)
            if not key.startswith(beginning)
        }
        if not foreign:
            return self
        detail = f"expected the id of a user that begins with {prefix!r}"
        kept = [row for row in zip(self.good, self.records, strict=True) if row[0] not in foreign]
        return CheckedRows(
            records=[record for _, record in kept],
            good=[index for index, _ in kept],
            bad=sorted([*self.bad, *(BadRow(index, Reason.BAD_ID, detail) for index in foreign)]),
            ignored=self.ignored,
        )


def check_events(values: Sequence[bytes], rules: EventRules, logged_at: int) -> CheckedRows:
    """Check rows as events. logged_at: when the log will take them, ms UTC.

    A record that erases a user is a bad row: to write events is not the right to erase.
    """
    records = _records(values, _user_key, logged_at)
    batch, letters = decode_events(records, rules)
    erasing = [BadRow(found.offset, Reason.WRONG_TYPE, NO_EVENT) for found in batch.erasures]
    return _checked(records, batch.offset.tolist(), letters, erasing, batch.ignored)


def check_impressions(values: Sequence[bytes], rules: EventRules, logged_at: int) -> CheckedRows:
    """Check rows as impressions. logged_at: when the log will take them, ms UTC."""
    records = _records(values, _user_key, logged_at)
    batch, letters = decode_impressions(records, rules)
    return _checked(records, sorted(set(batch.offset.tolist())), letters)


def check_items(values: Sequence[bytes]) -> CheckedRows:
    """Check rows as entries of the catalogue."""
    records = _records(values, _item_key)
    batch, letters = decode_items(records)
    return _checked(records, batch.offset.tolist(), letters)


def check_users(values: Sequence[bytes]) -> CheckedRows:
    """Check rows as what is known of users."""
    records = _records(values, _user_key)
    batch, letters = decode_users(records)
    return _checked(records, batch.offset.tolist(), letters)


class _User(msgspec.Struct):
    user_id: str | int


class _Item(msgspec.Struct):
    item_type: str | int
    item_id: str | int


_read_user = msgspec.json.Decoder(_User).decode
_read_item = msgspec.json.Decoder(_Item).decode


def _user_key(value: bytes) -> bytes:
    return f"{_read_user(value).user_id}".encode()


def _item_key(value: bytes) -> bytes:
    row = _read_item(value)
    return f"{row.item_type}\0{row.item_id}".encode()


def _records(
    values: Sequence[bytes], key_of: Callable[[bytes], bytes], logged_at: int = 0
) -> list[Record]:
    """Return rows as records at the offsets 0, 1, 2, ...; one whose ids cannot be read has no key.

    What is wrong with its ids is found by the decoder, which reads them before the key.
    """
    records = []
    for index, value in enumerate(values):
        try:
            key = key_of(value)
        except UNREADABLE:
            key = None
        records.append(Record("", 0, index, logged_at, key, _one_line(value)))
    return records


def _one_line(value: bytes) -> bytes:
    """Return a row without line breaks: workers read lines many times faster than other rows."""
    if b"\n" not in value and b"\r" not in value:
        return value
    try:
        return msgspec.json.format(value, indent=-1)
    except UNREADABLE:
        return value  # a bad row, as its decoder will say


def _checked(
    records: Sequence[Record],
    good: list[int],
    letters: Sequence[DeadLetter],
    more: Sequence[BadRow] = (),
    ignored: int = 0,
) -> CheckedRows:
    bad = [BadRow(letter.source.offset, letter.reason, letter.detail) for letter in letters]
    return CheckedRows(
        # A good row has a key and a value.
        records=[(records[index].key or b"", records[index].value or b"") for index in good],
        good=good,
        bad=sorted((*bad, *more)),
        ignored=ignored,
    )
