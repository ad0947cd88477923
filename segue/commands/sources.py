"""segue sources: check how records of external topics map to events, items and users."""

import asyncio
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from segue.options import ConfigOption, JsonOption, SetOption, explained, settings_of
from segue.screen import console, marked

if TYPE_CHECKING:
    from segue.item_source_check import ItemSourceCheck, MappedItem, MappedUser
    from segue.source_check import MappedRecord, SourceCheck

app = typer.Typer(
    no_args_is_help=True,
    help="Check how records of your own topics of events, items and users are read.",
    epilog="Example: segue sources check --limit 5",
)

SHOWN_PAYLOAD = 200


@app.callback()
def _sources() -> None:
    """Keep `check` a subcommand although it is the only one."""


@app.command(epilog="Example: segue sources check --limit 5 --config segue.toml")
def check(
    limit: Annotated[
        int, typer.Option(min=1, max=10_000, help="Number of records to check per source.")
    ] = 10,
    items: Annotated[
        str,
        typer.Option(
            metavar="TOPIC",
            help="Guess the mapping of a topic of items that the settings do not have yet.",
        ),
    ] = "",
    as_json: JsonOption = False,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Read the newest records of each source and show what they say and the failures.

    With --items the mapping of one topic of items is guessed, and its settings are shown in TOML.
    Changes nothing. Exits with status 4 if a source cannot be read or a record fails.
    """
    settings = settings_of(config, flags, asks_broker=True)
    from segue.item_source_check import check_item_sources_now, suggested_item_source
    from segue.source_check import SourceCheck, check_sources_now
    from streams import AdminError

    async def checked() -> "list[SourceCheck | ItemSourceCheck]":
        if items:
            return [await suggested_item_source(settings, items, limit)]
        return [
            *await check_sources_now(settings, limit),
            *await check_item_sources_now(settings, limit),
        ]

    with explained(AdminError):
        found = asyncio.run(checked())
    if as_json:
        typer.echo(json.dumps([source.as_json() for source in found]))
    elif not found:
        console.print("no sources are configured: workers read only Segue's own topics")
    else:
        for source in found:
            _show(source) if isinstance(source, SourceCheck) else _show_items(source)
    raise typer.Exit(0 if all(source.good for source in found) else 4)


def _show(source: "SourceCheck") -> None:
    from rich.table import Table

    way = "read in place" if source.keyed_by_user else "re-keyed by segue rekey"
    title = marked("[bold]{}[/] ({})", source.topic, way)
    if source.create_time:
        _warn_of_producer_times(
            source.topic,
            "a wrong producer clock gives wrong log times. events.jump_ms refuses events ahead of "
            "Segue's own clock",
        )
    if source.fault:
        console.print(title, marked(": [red]{}[/]", source.fault), sep="")
        return
    if not source.records:
        console.print(title, ": no records yet", sep="")
        return
    table = Table(title=title, title_justify="left")
    for head in ("place", "user", "type", "item", "kind", "when (UTC)"):
        table.add_column(head, overflow="fold")
    bad = [record for record in source.records if record.reason]
    for record in source.records:
        place = f"{record.partition}/{record.offset}"
        if record.reason:
            table.add_row(place, marked("[red]{}[/]", record.reason))
        else:
            texts = (record.user_id, record.item_type, record.item_id, record.kind, record.when)
            table.add_row(place, *texts)
    console.print(table)
    _show_bad(bad, len(source.records))


def _show_items(source: "ItemSourceCheck") -> None:
    from rich.table import Table

    way = "items, read in place" if source.of == "items" else "users, re-keyed by segue rekey"
    title = marked("[bold]{}[/] ({})", source.topic, way)
    if source.create_time:
        _warn_of_producer_times(
            source.topic,
            "an erasure covers a record of a user by this time (docs/foreign-users.md)",
        )
    if source.fault or not source.records:
        fault = marked(": [red]{}[/]", source.fault) if source.fault else ": no records yet"
        console.print(title, fault, sep="")
        return
    table = Table(title=title, title_justify="left")
    of_items = ("type", "item", "title"), ("item_type", "item_id", "title")
    of_users = ("user", "country", "born"), ("user_id", "country", "birth_year")
    heads, names = of_items if source.of == "items" else of_users
    for head in ("place", *heads, "attributes"):
        table.add_column(head, overflow="fold")
    bad = [record for record in source.records if record.reason]
    for record in source.records:
        place = f"{record.partition}/{record.offset}"
        if record.reason:
            table.add_row(place, marked("[red]{}[/]", record.reason))
            continue
        gone = record.deleted or getattr(record, "removes", False)
        own = ", ".join(f"{name}={value}" for name, value in record.attributes.items())
        texts = (str(getattr(record, name) or "") for name in names)
        table.add_row(place, *texts, "deleted" if gone else own)
    console.print(table)
    _show_bad(bad, len(source.records))
    if source.suggestion:
        console.print(f"\n{source.suggestion}", highlight=False, soft_wrap=True)


def _warn_of_producer_times(topic: str, why: str) -> None:
    console.print(
        marked(
            "[yellow]{} keeps producer timestamps (message.timestamp.type=CreateTime)[/]: {}. Set "
            "the topic to LogAppendTime if possible",
            topic, why,
        )
    )  # fmt: skip


def _show_bad(bad: "Sequence[MappedRecord | MappedItem | MappedUser]", checked: int) -> None:
    for record in bad:
        console.print(
            marked(
                "[red]{}/{}: {}[/]: {}\n  [dim]{}[/]",
                record.partition, record.offset, record.reason, record.detail,
                record.payload[:SHOWN_PAYLOAD],
            ),
            highlight=False,
        )  # fmt: skip
    console.print(f"{checked - len(bad)} of {checked} records map")
