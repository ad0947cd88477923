"""segue simulate: write a generated world to Kafka, the embedded log or Parquet."""

import asyncio
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segue.options import ConfigOption, JsonOption, SetOption, explained, settings_of
from segue.screen import console, errors, progress_bars

if TYPE_CHECKING:
    from simulation import World

app = typer.Typer(
    no_args_is_help=True,
    help="Generate a world: a catalogue, a history of events, and live traffic.",
    epilog="Example: segue simulate history --to events.parquet --seed 1",
)

To = Annotated[
    str, typer.Option(help="kafka, embedded (the log in the data folder), or a Parquet file.")
]
WorldName = Annotated[
    str,
    typer.Option(
        "--world",
        help="`default`: podcasts and audiobooks. `news`: hundreds of launches a day, lifetimes of "
        "hours, bursts, items that return each season.",
    ),
]
Types = Annotated[
    str | None,
    typer.Option(
        help="Item types, most used first, comma-separated; default podcast,audiobook; `news`: "
        "article."
    ),
]
Items = Annotated[
    int | None,
    typer.Option(min=1, help="Items in the catalogue; default 5,000; `news`: 400 a day."),
]
Users = Annotated[int | None, typer.Option(min=1, help="Users; default 20,000; `news`: 3,000.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the world.")]
Days = Annotated[int | None, typer.Option(min=1, help="Days of history; default 90; `news`: 14.")]
Events = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Approximate number of events in the history; default 1,000,000; `news`: 150,000.",
    ),
]
Drift = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="Share of interests that change once during the history; default 0.3; `news`: 0.5.",
    ),
]
EndMs = Annotated[
    int | None,
    typer.Option(min=0, help="End of the history in ms UTC; default now (not reproducible)."),
]


@app.command(epilog="Example: segue simulate catalogue --to catalogue.parquet --items 5000")
def catalogue(
    to: To = "kafka",
    world_name: WorldName = "default",
    item_types: Types = None,
    items: Items = None,
    users: Users = None,
    days: Days = None,
    events: Events = None,
    drift: Drift = None,
    end_ms: EndMs = None,
    seed: Seed = 0,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Write the catalogue (and the users, unless it goes to Parquet)."""
    from segue.feeding import catalogue_records, user_records

    world = _world(world_name, item_types, items, users, days, events, drift, end_ms, seed)
    if _is_parquet(to):
        _told(_write_parquet(to, iter(world.catalogue().to_batches())), as_json)
        return
    settings = settings_of(config, flags)
    topics = settings.topics
    with _log(to, settings) as log:
        entries = catalogue_records(world.catalogue())
        written = [
            _write(log, topics.catalogue, settings, entries, world.settings.items, as_json),
            _write(
                log, topics.users, settings, user_records(world.users()), world.settings.users,
                as_json,
            ),
        ]  # fmt: skip
    _told(dict(zip((topics.catalogue, topics.users), written, strict=True)), as_json)


@app.command()
def history(
    to: To = "kafka",
    world_name: WorldName = "default",
    item_types: Types = None,
    items: Items = None,
    users: Users = None,
    days: Days = None,
    events: Events = None,
    drift: Drift = None,
    end_ms: EndMs = None,
    seed: Seed = 0,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Write the events of the past.

    Examples: segue simulate history --to events.parquet --events 1000000

    segue simulate history --world news --to events.parquet --seed 1
    """
    from segue.feeding import event_records

    world = _world(world_name, item_types, items, users, days, events, drift, end_ms, seed)
    if _is_parquet(to):
        _told(_write_parquet(to, world.history()), as_json)
        return
    settings = settings_of(config, flags)
    with _log(to, settings) as log:
        records = event_records(world.history())
        written = _write(
            log, settings.topics.events, settings, records, world.settings.events, as_json
        )
    _told({settings.topics.events: written}, as_json)


@app.command(epilog="Example: segue simulate live --rate 200 --seconds 60")
def live(
    rate: Annotated[float, typer.Option(help="Events per second.")] = 100.0,
    seconds: Annotated[float, typer.Option(help="Duration of the traffic in seconds.")] = 60.0,
    to: To = "kafka",
    world_name: WorldName = "default",
    item_types: Types = None,
    items: Items = None,
    users: Users = None,
    days: Days = None,
    events: Events = None,
    drift: Drift = None,
    launches: Annotated[int, typer.Option(min=0, help="New items during the traffic.")] = 20,
    seed: Seed = 0,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Write live traffic in real time, with new items at intervals."""
    from segue.feeding import bulk, catalogue_records, event_records
    from streams.log_record import now_ms

    start = now_ms()
    world = _world(world_name, item_types, items, users, days, events, drift, start, seed)
    steps = world.live(rate, start, seconds, launches=launches)
    if _is_parquet(to):
        _told(_write_parquet(to, (step.events for step in steps)), as_json)
        return
    settings = settings_of(config, flags)
    written = {settings.topics.catalogue: 0, settings.topics.events: 0}
    screen = errors if as_json else console
    with _log(to, settings) as log, progress_bars(screen) as bars:
        task = bars.add_task("live events", total=int(rate * seconds), note="")
        for step in steps:
            time.sleep(max(0.0, (step.time_ms - now_ms()) / 1000))
            if step.launches.num_rows:
                bulk(log, settings.topics.catalogue, settings, catalogue_records(step.launches))
            bulk(log, settings.topics.events, settings, event_records([step.events]))
            bars.advance(task, step.events.num_rows)
            written[settings.topics.catalogue] += step.launches.num_rows
            written[settings.topics.events] += step.events.num_rows
    _told(written, as_json)


def _world(
    name: str,
    item_types: str | None,
    items: int | None,
    users: int | None,
    days: int | None,
    events: int | None,
    drift: float | None,
    end_ms: int | None,
    seed: int,
) -> "World":
    """Draw a world; None leaves a setting as the named world has it."""
    from simulation import World, WorldSettings, news_settings
    from streams.log_record import now_ms

    if name not in ("default", "news"):
        raise typer.BadParameter(f"expected --world default or news, got {name!r}")
    with explained(ValueError):
        if name == "news":
            base = news_settings() if days is None else news_settings(days=days)
        else:
            base = WorldSettings()
        given: dict[str, Any] = {
            "items": items, "users": users, "days": days, "events": events, "drift": drift,
            "end_ms": now_ms() if end_ms is None else end_ms,
        }  # fmt: skip
        if item_types is not None:
            types = tuple(t.strip() for t in item_types.split(",") if t.strip())
            behaviours = base.behaviours and base.behaviours[:1] * len(types)
            given |= {"item_types": types, "behaviours": behaviours}
        known = {key: value for key, value in given.items() if value is not None}
        return World(replace(base, **known), seed)


def _is_parquet(to: str) -> bool:
    if to not in ("kafka", "embedded") and not to.endswith(".parquet"):
        raise typer.BadParameter(f"expected kafka, embedded or a file name.parquet, got {to!r}")
    return to.endswith(".parquet")


def _told(written: Mapping[str, int], as_json: bool) -> None:
    """Print how many rows a topic or a file got."""
    if as_json:
        typer.echo(json.dumps({"written": written}))
    else:
        for place, rows in written.items():
            console.print(f"{place}: {rows:,} rows", highlight=False, soft_wrap=True)


def _write_parquet(to: str, batches: Iterator[Any]) -> dict[str, int]:
    import pyarrow.parquet as pq

    rows = 0
    writer = None
    with explained(OSError):
        for batch in batches:
            writer = writer or pq.ParquetWriter(Path(to), batch.schema)
            writer.write_batch(batch)
            rows += batch.num_rows
        if writer:
            writer.close()
    return {to: rows}


def _log(to: str, settings: Any) -> Any:
    from segue.feeding import open_log

    return open_log(to, settings)


def _write(
    log: Any,
    topic: str,
    settings: Any,
    records: Iterable[tuple[bytes, bytes]],
    total: int,
    as_json: bool,
) -> int:
    from segue.feeding import bulk_write_with_bar
    from streams import AdminError, BulkWriteError, UnknownTopicError

    with explained(AdminError, BulkWriteError, UnknownTopicError):
        screen = errors if as_json else console
        written = asyncio.run(bulk_write_with_bar(log, topic, settings, records, total, screen))
    return written
