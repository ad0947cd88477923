"""Export the history in the log as Parquet files, for `segue evaluate` and other programs."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from agents.bundles.catalogue_frame import catalogue_frame
from agents.erased import ErasedUsers
from segue.replaying import spans_of
from segue.settings import Settings
from segue.times import LogPoint
from streams import (
    EmbeddedLog,
    EventBatch,
    EventDecoder,
    Item,
    KafkaSettings,
    LogRecord,
    event_decoders,
    read_catalogue,
    without_rows,
)
from streams.spans import Span, open_reader

__all__ = ["EVENTS", "ITEMS", "ExportExists", "NothingToExport", "export_history"]

EVENTS, ITEMS = "events.parquet", "items.parquet"
BATCH = 20_000
_COLUMNS = ("user_id", "item_type", "item_id", "kind")
_EVENTS = pa.schema([*((name, pa.string()) for name in _COLUMNS), ("timestamp", pa.int64())])

Progress = Callable[[int, int], None]
"""(records read, records in all spans)"""


class ExportExists(Exception):
    """The folder already holds an export; the message names the file."""


class NothingToExport(Exception):
    """The log holds no event in the requested period."""


async def export_history(
    settings: Settings,
    log: KafkaSettings | EmbeddedLog,
    folder: Path,
    *,
    begin: LogPoint,
    end: LogPoint,
    replace: bool,
    progress: Progress,
) -> dict[str, Any]:
    """Write `events.parquet` and `items.parquet`; returns counts as JSON values.

    Events are those of `segue.events` and of the sources that workers read in place, decoded by
    the workers' decoders, with columns user_id, item_type, item_id, kind and timestamp (ms UTC);
    each partition is in the order of its log. Users whose erasure is recorded are left out. Items
    are the live ones of the catalogue and of `item_sources`. Files appear when they are complete.

    Raises ExportExists, NothingToExport, AdminError, PositionError, and ValueError for points
    that do not fit.
    """
    paths = {name: folder / name for name in (EVENTS, ITEMS)}
    if not replace and (there := [path for path in paths.values() if path.exists()]):
        raise ExportExists(f"{there[0]} exists; choose another folder, or use --replace")
    started, names = time.monotonic(), settings.topics
    spans = await asyncio.to_thread(spans_of, settings, log, begin, end, catalogue_to_its_end=True)
    # Impressions are read in place like events, and are none.
    sources = [source for source in settings.sources if source.format != "impressions"]
    decoders = event_decoders(names.events, sources, settings.events)
    wanted = [
        span
        for of_partition in spans.values()
        for topic, span in of_partition.items()
        if topic in decoders
    ]
    erased = ErasedUsers(names, log, settings.personal_sources)
    await erased.read()
    folder.mkdir(parents=True, exist_ok=True)
    made = {name: path.with_name(f"{name}.part") for name, path in paths.items()}
    try:
        with pq.ParquetWriter(made[EVENTS], _EVENTS, compression="zstd") as writer:
            reading = _Reading(erased, decoders, writer)
            done, total = 0, sum(len(span) for span in wanted)
            async with open_reader(log) as reader:
                for span in wanted:
                    progress(done, total)
                    async for records in reader.read(span, BATCH):
                        reading.take(span, records)
                        progress(done + records[-1].offset + 1 - span.first, total)
                    done += len(span)
            progress(total, total)
        if not reading.events:
            raise NothingToExport(f"the log holds no event from {begin.text} to {end.text}")
        items, refused = await read_catalogue(log, names, settings.item_sources)
        items = [item for item in items if not item.deleted]
        _items_frame(items).write_parquet(made[ITEMS])
        for name, path in paths.items():
            made[name].replace(path)
    finally:
        for part in made.values():
            part.unlink(missing_ok=True)
    return {
        **{name: str(path) for name, path in paths.items()},
        "events": reading.events,
        "items": len(items),
        "refused": reading.refused + refused,
        "erased": reading.erased,
        "seconds": round(time.monotonic() - started, 1),
    }


class _Reading:
    """What was read: events go to the writer."""

    def __init__(
        self,
        erased: ErasedUsers,
        decoders: Mapping[str, EventDecoder],
        writer: pq.ParquetWriter,
    ) -> None:
        self._erased, self._decoders, self._writer = erased, decoders, writer
        self.events = self.refused = self.erased = 0

    def take(self, span: Span, records: Sequence[LogRecord]) -> None:
        events, letters = self._decoders[span.topic](records)
        self.refused += len(letters)
        gone = self._erased.gone(records, events)
        if events.erasures:
            gone = self._erased.with_those_of(records, events, gone)
        if gone is not None:
            self.erased += int(gone.sum())
            events = without_rows(events, set(np.flatnonzero(gone).tolist()))
        if len(events):
            self._writer.write_table(_table(events))
            self.events += len(events)


def _table(events: EventBatch) -> pa.Table:
    columns = [pa.array(getattr(events, name), pa.string()) for name in _COLUMNS]
    return pa.Table.from_arrays([*columns, pa.array(events.timestamp)], schema=_EVENTS)


def _items_frame(found: Sequence[Item]) -> pl.DataFrame:
    return catalogue_frame(found).with_columns(
        pl.Series("item_id", [item.item_id for item in found], pl.String),
        pl.Series("published_at", [item.published_at for item in found], pl.Int64),
    )
