"""segue feed: write an existing data set to the topics."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from segue.options import ConfigOption, JsonOption, SetOption, explained, settings_of
from segue.screen import console, errors


def feed(
    events: Annotated[
        Path, typer.Argument(help="Parquet: user_id, item_id, item_type, timestamp.")
    ],
    items: Annotated[Path, typer.Argument(help="Parquet: item_id, item_type, title, ...")],
    to: Annotated[str, typer.Option(help="kafka or embedded.")] = "kafka",
    speed: Annotated[
        float, typer.Option(help="Multiple of real time, e.g. 3600; 0 means full speed.")
    ] = 0.0,
    kind: Annotated[
        str, typer.Option(help="Kind of events, for files without a kind column.")
    ] = "stream",
    as_json: JsonOption = False,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Write a catalogue and its events to the topics, at full speed or in scaled real time.

    Example: segue feed events.parquet items.parquet --speed 86400
    """
    from segue.catalogue_file import CatalogueError
    from segue.feeding import (
        EVENT_COLUMNS,
        bulk_write_with_bar,
        catalogue_records,
        event_records,
        open_log,
        require_milliseconds,
    )
    from segue.file_rows import TableError, open_parquet, read_parquet
    from streams import AdminError, BulkWriteError

    settings = settings_of(config, flags)
    if kind not in settings.events.kinds:
        raise typer.BadParameter(
            f"kind {kind!r} is not one of events.kinds {settings.events.kinds}"
        )
    with explained(TableError, CatalogueError, OSError, AdminError, BulkWriteError, ValueError):
        log_of_events = open_parquet(events, EVENT_COLUMNS)
        # Before anything is written.
        for batch in log_of_events.iter_batches(batch_size=65_536, columns=["timestamp"]):
            require_milliseconds(batch.column("timestamp"), f"{events}: timestamp")
            break
        catalogue = catalogue_records(read_parquet(items, ("item_id", "item_type")))
        batches: Iterator[Any] = log_of_events.iter_batches(batch_size=65_536)
        if speed > 0:
            batches = _paced(log_of_events.iter_batches(batch_size=1_024), speed)
        with open_log(to, settings) as log:
            screen = errors if as_json else console

            async def write() -> tuple[int, int]:
                items_written = await bulk_write_with_bar(
                    log, settings.topics.catalogue, settings,
                    catalogue, len(catalogue), screen,
                )  # fmt: skip
                events_written = await bulk_write_with_bar(
                    log, settings.topics.events, settings,
                    event_records(batches, kind), log_of_events.metadata.num_rows, screen,
                )  # fmt: skip
                return items_written, events_written

            items_written, events_written = asyncio.run(write())
    if as_json:
        typer.echo(json.dumps({"items": items_written, "events": events_written}))
    else:
        console.print(f"{items_written:,} items and {events_written:,} events written")


def _paced(batches: Iterator[Any], speed: float) -> Iterator[Any]:
    """Yield batches, delayed to `speed` times real time."""
    first_ms, started = None, time.monotonic()
    for batch in batches:
        at_ms = batch.column("timestamp")[0].as_py()
        first_ms = at_ms if first_ms is None else first_ms
        time.sleep(max(0.0, (at_ms - first_ms) / 1000 / speed - (time.monotonic() - started)))
        yield batch
