"""Reads a user's file of events as a frame of events.

Every row goes through the decoder that workers use for external topics (`streams.mapping`). A bad
row has the same reason as its dead letter.
"""

import datetime
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from segue.catalogue_file import BadRow
from segue.file_rows import ReadProgress, Row, holds_text_only, no_progress, read_rows
from streams import EventRules, Record, SourceSettings
from streams.mapping import EventDecoder, MappedDecoder
from streams.sources import TimestampMapping, ValueMapping
from streams.timestamps import time_ms

__all__ = ["FRAME_COLUMNS", "CheckedEvents", "read_events"]

FRAME_COLUMNS = ("user_id", "item_id", "item_type", "kind", "timestamp")
#: Rows that are decoded at once.
BATCH = 10_000
#: Numbers from here on are microseconds, and nanoseconds: as milliseconds they would lie after the
#: year 5138. Smaller units than milliseconds are told apart by the decoder.
_FINER = ((10**17, 1_000_000), (10**14, 1_000))
_NUMBER = re.compile(r"\d+(\.\d+)?")
_SCHEMA = dict.fromkeys(FRAME_COLUMNS[:-1], pl.String) | {"timestamp": pl.Int64}

TypeOf = Callable[[str], str]
"""Item id -> item type, for a file without such a column; raises ValueError if it is unknown."""


@dataclass(frozen=True, kw_only=True)
class CheckedEvents:
    """Rows that are events, and bad rows.

    frame: FRAME_COLUMNS in file order, timestamp in ms UTC. bad: the other rows.
    """

    frame: pl.DataFrame
    bad: list[BadRow]


def read_events(
    file: Path,
    columns: Mapping[str, str],
    rules: EventRules,
    *,
    now_ms: int,
    kind: str,
    type_of: TypeOf | None = None,
    progress: ReadProgress = no_progress,
) -> CheckedEvents:
    """Read the events of a file: CSV, JSON lines or Parquet, by the end of its name.

    columns: Segue field -> column. Timestamps are text in ISO 8601 (UTC without an offset), times
             of Parquet, or numbers since 1970: s, ms, us or ns, by their size.
    now_ms:  events more than `rules.future_ms` after it are bad rows.
    kind: of events without one. type_of: returns the types if no column has them.
    Raises TableError for a file that cannot be read.
    """
    source = SourceSettings(
        topic=file.name,
        keyed_by_user=False,
        item_type=ValueMapping(field="item_type"),
        kind=ValueMapping(field="kind", default=kind),
        timestamp=TimestampMapping(unit="auto"),
    )
    decode = MappedDecoder(source, rules)
    of_text = holds_text_only(file)
    rows = (
        (place, row if isinstance(row, str) else _ours(row, columns, type_of, of_text=of_text))
        for place, row in read_rows(file, progress)
    )
    frames, bad = [pl.DataFrame(schema=_SCHEMA)], []
    while batch := list(itertools.islice(rows, BATCH)):
        frame, faults = _decoded(batch, decode, now_ms)
        frames.append(frame)
        bad += [BadRow(batch[n][0], _with_column(faults[n], columns)) for n in sorted(faults)]
    return CheckedEvents(frame=pl.concat(frames), bad=bad)


def _decoded(
    batch: Sequence[Row], decode: EventDecoder, now_ms: int
) -> tuple[pl.DataFrame, dict[int, str]]:
    """Return the events of some rows, and the faults of the others by row number."""
    records: list[Record] = []
    faults: dict[int, str] = {}
    for number, (_, row) in enumerate(batch):
        try:
            if isinstance(row, str):
                raise ValueError(row)
            value = msgspec.json.encode(row)
        except (TypeError, ValueError, OverflowError) as error:
            faults[number] = str(error)
            continue
        records.append(
            Record(topic="", partition=0, offset=number, timestamp=now_ms, key=None, value=value)
        )
    events, letters = decode(records)
    for letter in letters:
        faults[letter.source.offset] = f"{letter.reason.value}: {letter.detail}"
    columns = [events.user_id, events.item_id, events.item_type, events.kind, events.timestamp]
    return pl.DataFrame(dict(zip(FRAME_COLUMNS, columns, strict=True)), schema=_SCHEMA), faults


def _ours(
    row: Mapping[str, Any], columns: Mapping[str, str], type_of: TypeOf | None, *, of_text: bool
) -> Mapping[str, Any] | str:
    """Return a row with Segue names, or its fault."""
    ours = {field: row[column] for field, column in columns.items() if row.get(column) is not None}
    if "timestamp" in ours:
        ours["timestamp"] = _time(ours["timestamp"], of_text=of_text)
    if type_of is not None:
        try:
            # Without an item id the decoder refuses the row for that.
            ours["item_type"] = type_of(str(ours["item_id"])) if "item_id" in ours else ""
        except ValueError as error:
            return str(error)
    return ours


def _time(value: Any, *, of_text: bool) -> Any:
    """Convert a time to the decoder's format; other values stay unchanged."""
    if isinstance(value, datetime.date):
        return time_ms(value)
    if isinstance(value, str):
        value = value.strip()
        if of_text and _NUMBER.fullmatch(value):
            value = float(value) if "." in value else int(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return next((value // unit for least, unit in _FINER if value >= least), value)
    return value


def _with_column(fault: str, columns: Mapping[str, str]) -> str:
    """Return a fault that also names the file's column, if its name differs."""
    for field, column in columns.items():
        word = "a timestamp" if field == "timestamp" else field
        if column != field and re.search(rf"\b{word}\b", fault):
            return f"{fault} (column {column})"
    return fault
