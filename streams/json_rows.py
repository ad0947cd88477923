"""Rows of JSON records, all at once where that is possible; bad ones become dead letters."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from streams.dead_letters import (
    UNREADABLE,
    dead_letter,
    too_large,
    unreadable,
)
from streams.log_record import LogRecord
from streams.records import DeadLetter

T = TypeVar("T")

#: Fewer records than this are read one by one: among them is one that is bad.
_FEW = 16


def read_rows(
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
    rows, kept, letters = read_rows(records[:half], decoder, max_bytes)
    more = read_rows(records[half:], decoder, max_bytes)
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
