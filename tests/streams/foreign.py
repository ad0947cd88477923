"""Records as other owners write them, made of our events by the settings that read them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from streams import Event, SourceSettings, ValueMapping
from streams.sources import TimestampUnit, path_of

NOW = 1_800_000_000_000


def foreign_record(source: SourceSettings, event: Event) -> dict[str, Any]:
    """The event in the shape of a source."""
    record: dict[str, Any] = {}
    _put(record, source.user_id, event.user_id)
    _put(record, source.item_id, event.item_id)
    _put_mapped(record, source.item_type, event.item_type)
    _put_mapped(record, source.kind, event.kind)
    _put(record, source.timestamp.field, foreign_time(event.timestamp, source.timestamp.unit))
    return record


def foreign_time(timestamp_ms: int, unit: TimestampUnit) -> int | float | str:
    if unit == "s":
        return timestamp_ms / 1000
    if unit == "us":
        return timestamp_ms * 1000
    if unit == "iso":
        at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=timestamp_ms)
        return at.isoformat()
    return timestamp_ms


def _put(record: dict[str, Any], path: str, value: object) -> None:
    *outer, last = path_of(path)
    for name in outer:
        record = record.setdefault(name, {})
    record[last] = value


def _put_mapped(record: dict[str, Any], mapping: ValueMapping, ours: str) -> None:
    theirs = {ours: theirs for theirs, ours in mapping.values.items()}
    if mapping.field and ours != mapping.default:
        _put(record, mapping.field, theirs.get(ours, ours))
