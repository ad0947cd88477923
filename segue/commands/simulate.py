"""segue simulate: write a generated world to Kafka, the embedded log or Parquet."""

import asyncio
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from segue.options import ConfigOption, SetOption, explained, settings_of
from segue.screen import console, progress_bars

app = typer.Typer(
    no_args_is_help=True,
    help="Generate a world: a catalogue, a history of events, and live traffic.",
)

To = Annotated[
    str, typer.Option(help="kafka, embedded (the log in the data folder), or a Parquet file.")
]
Types = Annotated[str, typer.Option(help="Item types, most used first, comma-separated.")]
Items = Annotated[int, typer.Option(help="Items in the catalogue.")]
Users = Annotated[int, typer.Option(help="Users.")]
Seed = Annotated[int, typer.Option(help="Seed of the world.")]
Days = Annotated[int, typer.Option(help="Days of history.")]
Events = Annotated[int, typer.Option(help="Approximate number of events in the history.")]
Drift = Annotated[
    float,
    typer.Option(min=0, max=1, help="Share of interests that change once during the history."),
]
EndMs = Annotated[
    int | None, typer.Option(help="End of the history in ms UTC; default now (not reproducible).")
]


@app.command(epilog="Example: segue simulate catalogue --to catalogue.parquet --items 5000")
def catalogue(
    to: To = "kafka",
    item_types: Types = "podcast,audiobook",
    items: Items = 5_000,
    users: Users = 20_000,
    days: Days = 90,
    events: Events = 1_000_000,
    drift: Drift = 0.3,
    end_ms: EndMs = None,
    seed: Seed = 0,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Write the catalogue (and the users, unless it goes to Parquet)."""
    from segue.feeding import catalogue_records, user_records

    world = _world(item_types, items, users, days, events, drift, end_ms, seed)
    if _is_parquet(to):
        _write_parquet(to, iter(world.catalogue().to_batches()))
        return
    settings = settings_of(config, flags)
    topics = settings.topics
    with _log(to, settings) as log:
        _write(log, topics.catalogue, settings, catalogue_records(world.catalogue()), items)
        _write(log, topics.users, settings, user_records(world.users()), users)


@app.command(epilog="Example: segue simulate history --to events.parquet --events 1000000")
def history(
    to: To = "kafka",
    item_types: Types = "podcast,audiobook",
    items: Items = 5_000,
    users: Users = 20_000,
    days: Days = 90,
    events: Events = 1_000_000,
    drift: Drift = 0.3,
    end_ms: EndMs = None,
    seed: Seed = 0,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Write the events of the past."""
    from segue.feeding import event_records

    world = _world(item_types, items, users, days, events, drift, end_ms, seed)
    if _is_parquet(to):
        _write_parquet(to, world.history())
        return
    settings = settings_of(config, flags)
    with _log(to, settings) as log:
        _write(log, settings.topics.events, settings, event_records(world.history()), events)


@app.command(epilog="Example: segue simulate live --rate 200 --seconds 60")
def live(
    rate: Annotated[float, typer.Option(help="Events per second.")] = 100.0,
    seconds: Annotated[float, typer.Option(help="How long.")] = 60.0,
    to: To = "kafka",
    item_types: Types = "podcast,audiobook",
    items: Items = 5_000,
    users: Users = 20_000,
    days: Days = 90,
    events: Events = 1_000_000,
    drift: Drift = 0.3,
    launches: Annotated[int, typer.Option(help="New items during the traffic.")] = 20,
    seed: Seed = 0,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Write live traffic in real time, with new items at intervals."""
    from segue.feeding import bulk, catalogue_records, event_records
    from streams.wall_clock import now_ms

    start = now_ms()
    world = _world(item_types, items, users, days, events, drift, start, seed)
    steps = world.live(rate, start, seconds, launches=launches)
    if _is_parquet(to):
        _write_parquet(to, (step.events for step in steps))
        return
    settings = settings_of(config, flags)
    with _log(to, settings) as log, progress_bars() as bars:
        task = bars.add_task("live events", total=int(rate * seconds), note="")
        for step in steps:
            time.sleep(max(0.0, (step.time_ms - now_ms()) / 1000))
            if step.launches.num_rows:
                bulk(log, settings.topics.catalogue, settings, catalogue_records(step.launches))
            bulk(log, settings.topics.events, settings, event_records([step.events]))
            bars.advance(task, step.events.num_rows)


def _world(
    item_types: str,
    items: int,
    users: int,
    days: int,
    events: int,
    drift: float,
    end_ms: int | None,
    seed: int,
) -> Any:
    from simulation import World, WorldSettings
    from streams.wall_clock import now_ms

    with explained(ValueError):
        settings = WorldSettings(
            item_types=tuple(t.strip() for t in item_types.split(",") if t.strip()),
            items=items,
            users=users,
            days=days,
            events=events,
            drift=drift,
            end_ms=now_ms() if end_ms is None else end_ms,
        )
        return World(settings, seed)


def _is_parquet(to: str) -> bool:
    if to not in ("kafka", "embedded") and not to.endswith(".parquet"):
        raise typer.BadParameter(f"expected kafka, embedded or a file name.parquet, got {to!r}")
    return to.endswith(".parquet")


def _write_parquet(to: str, batches: Iterator[Any]) -> None:
    import pyarrow.parquet as pq

    started, rows = time.perf_counter(), 0
    writer = None
    with explained(OSError):
        for batch in batches:
            writer = writer or pq.ParquetWriter(Path(to), batch.schema)
            writer.write_batch(batch)
            rows += batch.num_rows
        if writer:
            writer.close()
    seconds = time.perf_counter() - started
    console.print(f"{to}: {rows:,} rows in {seconds:.1f} s ({rows / seconds:,.0f}/s)")


def _log(to: str, settings: Any) -> Any:
    from segue.feeding import open_log

    return open_log(to, settings)


def _write(
    log: Any, topic: str, settings: Any, records: Iterable[tuple[bytes, bytes]], total: int
) -> None:
    from segue.feeding import bulk_write_with_bar
    from streams import AdminError, BulkWriteError, UnknownTopicError

    with explained(AdminError, BulkWriteError, UnknownTopicError):
        asyncio.run(bulk_write_with_bar(log, topic, settings, records, total))
