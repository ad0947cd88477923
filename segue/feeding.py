"""Write tables to topics in bulk: catalogue, users and events."""

import asyncio
import contextlib
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from segue.catalogue_file import CatalogueError, checked_items
from segue.file_rows import TableError
from segue.screen import SafeConsole, progress_bars
from segue.settings import Settings
from streams import (
    EmbeddedLog,
    KafkaSettings,
    User,
    bulk_write,
    create_topics,
    encode,
    encode_events,
    require_broker,
    topics,
)
from streams.dead_letters import seconds_fault

__all__ = [
    "EVENT_COLUMNS",
    "NAMED_ROWS",
    "bulk",
    "bulk_write_with_bar",
    "catalogue_records",
    "event_records",
    "open_log",
    "require_milliseconds",
    "user_records",
]

Log = KafkaSettings | EmbeddedLog
#: Columns that a table of events must have.
EVENT_COLUMNS = ("user_id", "item_id", "item_type", "timestamp")
KeyValues = Iterator[tuple[bytes, bytes]]

ITEM_FIELDS = (
    "item_id", "item_type", "title", "description", "language", "genres", "published_at",
    "attributes",
)  # fmt: skip
#: Bad rows that a message names.
NAMED_ROWS = 10


def open_log(to: str, settings: Settings, *, create: bool = True) -> AbstractContextManager[Log]:
    """Open Kafka or the embedded log in the data folder; create its topics on request.

    Raises UnreachableError if no Kafka broker answers.
    """
    if to == "embedded":
        log = EmbeddedLog(settings.folder / "embedded-log")
        if create:
            create_topics(log, topics(settings.topics))
        return log
    require_broker(settings.kafka)
    return contextlib.nullcontext(settings.kafka)


def catalogue_records(table: pa.Table | pa.RecordBatch) -> list[tuple[bytes, bytes]]:
    """Keys and values of catalogue rows; missing columns are null.

    Raises CatalogueError that names the first rows that workers refuse.
    """
    kept = [name for name in ITEM_FIELDS if name in table.schema.names]
    rows = table.select(kept).to_pylist()
    found = checked_items((f"row {number}", row) for number, row in enumerate(rows, 1))
    if found.bad:
        raise CatalogueError(
            f"the catalogue has {len(found.bad):,} rows that workers refuse:\n"
            + found.faults(NAMED_ROWS)
        )
    return found.records


def user_records(table: pa.Table | pa.RecordBatch) -> KeyValues:
    """Keys and values of user rows (user_id, country, birth_year)."""
    for row in table.to_pylist():
        user = User(
            user_id=str(row["user_id"]),
            country=row.get("country"),
            birth_year=row.get("birth_year"),
        )
        yield user.key, encode(user)


def require_milliseconds(column: Any, name: str) -> None:
    """Raise ValueError if all times of a column (pyarrow, whole numbers or times) are in seconds.

    A single such time among others becomes a dead letter.
    """
    if not pa.types.is_integer(column.type):
        return
    ends = pc.min_max(column).as_py()
    faults = [seconds_fault(end) for end in ends.values() if end is not None]
    if faults and faults[0] and faults[-1]:
        raise ValueError(f"{name}: {faults[0][1]}")


def event_records(batches: Iterable[pa.RecordBatch], kind: str = "stream") -> KeyValues:
    """Keys and values of events, in order; events without a kind get `kind`.

    Raises TableError for a column of the wrong type, or a row without a value.
    """
    for batch in batches:
        require_milliseconds(batch.column("timestamp"), "timestamp")
        kinds = (
            batch.column("kind").to_pylist()
            if "kind" in batch.schema.names
            else [kind] * batch.num_rows
        )
        yield from encode_events(
            _text(batch, "user_id"),
            _text(batch, "item_type"),
            _text(batch, "item_id"),
            kinds,
            _milliseconds(batch),
        )


def bulk(log: Log, topic: str, settings: Settings, records: Iterable[tuple[bytes, bytes]]) -> int:
    """Write records and wait until they are acknowledged."""
    return asyncio.run(bulk_write(log, topic, settings.topics.partitions, records))


async def bulk_write_with_bar(
    log: Log,
    topic: str,
    settings: Settings,
    records: Iterable[tuple[bytes, bytes]],
    total: int,
    screen: SafeConsole | None = None,
) -> int:
    """Write records with a progress bar on `screen`, by default `console`; returns how many."""
    with progress_bars(screen) as bars:
        task = bars.add_task(f"write {topic}", total=total, note="")

        def advance(done: int) -> None:
            bars.update(task, completed=done)

        written = await bulk_write(log, topic, settings.topics.partitions, records, advance)
        bars.update(task, completed=written, total=written)
    return written


def _text(batch: pa.RecordBatch, name: str) -> list[str]:
    """Return ids as text; accepts text and whole numbers, not 5.0."""
    column = _whole(batch, name)
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not (
        pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)
    ):
        raise TableError(f"{name}: expected text or whole numbers, got {column.type}")
    values: list[str] = column.cast(pa.string()).to_pylist()
    return values


def _milliseconds(batch: pa.RecordBatch) -> list[int]:
    column = _whole(batch, "timestamp")
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("ms", column.type.tz), safe=False)
    elif not pa.types.is_integer(column.type):
        raise TableError(f"timestamp: expected ms UTC or a time, got {column.type}")
    values: list[int] = column.cast(pa.int64()).to_pylist()
    return values


def _whole(batch: pa.RecordBatch, name: str) -> Any:
    column = batch.column(name)
    if column.null_count:
        raise TableError(f"{column.null_count:,} rows have no {name}")
    return column
