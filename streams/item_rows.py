"""Rows of items with Segue's field names, from files and topics, as records of the catalogue."""

import datetime
from collections.abc import Mapping
from typing import Any

import msgspec

from streams.json_rows import text_ids
from streams.log_record import Record
from streams.timestamps import time_ms, time_text_ms

__all__ = ["item_record", "typed_value"]

#: What separates genres that are one text.
GENRES_APART = "|"


def item_record(offset: int, row: Mapping[str, Any] | str) -> Record:
    """Return a row as a record of the catalogue topic; raises ValueError with the reason.

    row: values by Segue's names, or what is wrong with the row. Whole numbers as ids become text.
    Raises TypeError and OverflowError too, for values that JSON cannot represent.
    """
    if isinstance(row, str):
        raise ValueError(row)
    row = {name: value for name, value in row.items() if value is not None}
    row |= text_ids(row)
    key = f"{row.get('item_type')}\0{row.get('item_id')}".encode(errors="replace")
    value = msgspec.json.encode(row)
    return Record(topic="", partition=0, offset=offset, timestamp=0, key=key, value=value)


def typed_value(name: str, value: Any, *, of_text: bool) -> Any:
    """Convert a value to the type of its field; raises ValueError for bad JSON in a text.

    Genres may be one text, separated by bars or a JSON array. of_text: the source holds only text,
    as CSV does.
    """
    if name == "published_at" and isinstance(value, (datetime.date, str)):
        return _published(value, of_text=of_text)
    if name == "genres" and isinstance(value, str):
        return _genres(value)
    if name == "attributes" and of_text and value is not None:
        return _json_object(value)
    return value


def _genres(text: str) -> Any:
    if text.lstrip().startswith("["):
        return _json_array(text)
    return [genre.strip() for genre in text.split(GENRES_APART) if genre.strip()]


def _published(value: datetime.date | str, *, of_text: bool) -> Any:
    """Return a time in ms UTC; other text stays unchanged, and the decoder refuses it."""
    if isinstance(value, datetime.date):
        return time_ms(value)
    if of_text and value.strip().removeprefix("-").isdecimal():
        return int(value)
    try:
        return time_text_ms(value.strip())
    except ValueError:
        return value


def _json_array(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"genres: expected a JSON array, got {text!r}: {error}") from error


def _json_object(text: str) -> Any:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"attributes: expected a JSON object, got {text!r}: {error}") from error
