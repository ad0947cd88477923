"""segue sources: check how records of external event topics map to events."""

import asyncio
import json
from typing import TYPE_CHECKING, Annotated

import typer

from segue.options import ConfigOption, JsonOption, SetOption, explained, settings_of
from segue.screen import console, marked

if TYPE_CHECKING:
    from segue.source_check import SourceCheck

app = typer.Typer(
    no_args_is_help=True,
    help="Check how records of your own event topics are read.",
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
    as_json: JsonOption = False,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Read the newest records of each source and show the resulting events and the failures.

    Changes nothing. Exits with status 4 if a source cannot be read or a record fails.
    """
    settings = settings_of(config, flags, asks_broker=True)
    from segue.source_check import check_sources_now
    from streams import AdminError

    with explained(AdminError):
        found = asyncio.run(check_sources_now(settings, limit))
    if as_json:
        typer.echo(json.dumps([source.as_json() for source in found]))
    elif not found:
        console.print("no sources are configured: workers read only Segue's own events topic")
    else:
        for source in found:
            _show(source)
    raise typer.Exit(0 if all(source.good for source in found) else 4)


def _show(source: "SourceCheck") -> None:
    from rich.table import Table

    way = "read in place" if source.keyed_by_user else "re-keyed by segue rekey"
    title = marked("[bold]{}[/] ({})", source.topic, way)
    if source.create_time:
        console.print(
            marked(
                "[yellow]{} keeps producer timestamps (message.timestamp.type=CreateTime)[/]: a "
                "wrong producer clock gives wrong log times. events.jump_ms refuses events "
                "ahead of Segue's own clock. Set the topic to LogAppendTime if possible",
                source.topic,
            )
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
    for record in bad:
        console.print(
            marked(
                "[red]{}/{}: {}[/]: {}\n  [dim]{}[/]",
                record.partition, record.offset, record.reason, record.detail,
                record.payload[:SHOWN_PAYLOAD],
            ),
            highlight=False,
        )  # fmt: skip
    console.print(f"{len(source.records) - len(bad)} of {len(source.records)} records map")
