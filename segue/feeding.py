"""Tables into topics: catalogue, users and events as records, written in bulk."""

import asyncio
import contextlib
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pyarrow as pa

from segue.screen import progress_bars
from segue.settings import Settings
from streams import (
    EmbeddedLog,
    Item,
    KafkaSettings,
    User,
    bulk_write,
    create_topics,
    encode,
    encode_events,
    topics,
)

__all__ = [
    "bulk",
    "bulk_write_with_bar",
    "catalogue_records",
    "event_records",
    "open_log",
    "user_records",
]

Log = KafkaSettings | EmbeddedLog
KeyValues = Iterator[tuple[bytes, bytes]]

_ITEM_FIELDS = ("title", "description", "language", "genres", "published_at")


def open_log(to: str, settings: Settings, *, create: bool = True) -> AbstractContextManager[Log]:
    """Open Kafka or the embedded log below the data folder, whose topics are created if asked."""
    if to == "embedded":
        log = EmbeddedLog(settings.folder / "embedded-log")
        if create:
            create_topics(log, topics(settings.topics))
        return log
    return contextlib.nullcontext(settings.kafka)


def catalogue_records(table: pa.Table | pa.RecordBatch) -> KeyValues:
    """Keys and values of catalogue rows; columns that are missing are null."""
    for row in table.to_pylist():
        item = Item(
            item_id=str(row["item_id"]),
            item_type=str(row["item_type"]),
            **{name: row[name] for name in _ITEM_FIELDS if row.get(name) is not None},
        )
        yield item.key, encode(item)


def user_records(table: pa.Table | pa.RecordBatch) -> KeyValues:
    """Keys and values of user rows (user_id, country, birth_year)."""
    for row in table.to_pylist():
        user = User(
            user_id=str(row["user_id"]),
            country=row.get("country"),
            birth_year=row.get("birth_year"),
        )
        yield user.key, encode(user)


def event_records(batches: Iterable[pa.RecordBatch], kind: str = "stream") -> KeyValues:
    """Keys and values of events, in order; events without a kind get `kind`."""
    for batch in batches:
        kinds = (
            batch.column("kind").to_pylist()
            if "kind" in batch.schema.names
            else [kind] * batch.num_rows
        )
        yield from encode_events(
            _text(batch.column("user_id")),
            _text(batch.column("item_type")),
            _text(batch.column("item_id")),
            kinds,
            batch.column("timestamp").cast(pa.int64()).to_pylist(),
        )


def bulk(log: Log, topic: str, settings: Settings, records: Iterable[tuple[bytes, bytes]]) -> int:
    """Write records and wait until they are safe."""
    return asyncio.run(bulk_write(log, topic, settings.topics.partitions, records))


async def bulk_write_with_bar(
    log: Log,
    topic: str,
    settings: Settings,
    records: Iterable[tuple[bytes, bytes]],
    total: int,
) -> int:
    """Write records with a progress bar; returns how many."""
    with progress_bars() as bars:
        task = bars.add_task(f"write {topic}", total=total, note="")

        def advance(done: int) -> None:
            bars.update(task, completed=done)

        written = await bulk_write(log, topic, settings.topics.partitions, records, advance)
        bars.update(task, completed=written, total=written)
    return written


def _text(column: Any) -> list[str]:
    values: list[str] = column.cast(pa.string()).to_pylist()
    return values
