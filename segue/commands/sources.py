"""segue sources: event topics of other owners, and how their records map."""

import asyncio
import json
from typing import TYPE_CHECKING, Annotated

import typer

from segue.options import ConfigOption, JsonOption, SetOption, explained, settings_of
from segue.screen import console

if TYPE_CHECKING:
    from segue.source_check import SourceCheck

app = typer.Typer(no_args_is_help=True, help="Event topics of other owners.")

SHOWN_PAYLOAD = 200


@app.callback()
def _sources() -> None:
    """Keep `check` a command of its own while it is the only one."""


@app.command(epilog="Example: segue sources check --limit 5 --config segue.toml")
def check(
    limit: Annotated[
        int, typer.Option(min=1, max=10_000, help="Records to look at, of each source.")
    ] = 10,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Read the newest records of each source and show what they become, what fails, and why.

    Changes nothing. Ends with status 4 if a source cannot be read or one of the records fails.
    """
    from segue.source_check import check_sources_now
    from streams import AdminError

    settings = settings_of(config, flags)
    with explained(AdminError):
        found = asyncio.run(check_sources_now(settings, limit))
    if as_json:
        typer.echo(json.dumps([source.as_json() for source in found]))
    elif not found:
        console.print("no sources are configured: workers read Segue's own events topic alone")
    else:
        for source in found:
            _show(source)
    raise typer.Exit(0 if all(source.good for source in found) else 4)


def _show(source: "SourceCheck") -> None:
    from rich.markup import escape
    from rich.table import Table

    way = "read in place" if source.keyed_by_user else "re-keyed by segue rekey"
    title = f"[bold]{escape(source.topic)}[/] ({way})"
    if source.fault:
        console.print(f"{title}: [red]{escape(source.fault)}[/]")
        return
    if not source.records:
        console.print(f"{title}: no records yet")
        return
    table = Table(title=title, title_justify="left")
    for head in ("place", "user", "type", "item", "kind", "when (UTC)"):
        table.add_column(head, overflow="fold")
    bad = [record for record in source.records if record.reason]
    for record in source.records:
        place = f"{record.partition}/{record.offset}"
        if record.reason:
            table.add_row(place, f"[red]{record.reason}[/]")
        else:
            texts = (record.user_id, record.item_type, record.item_id, record.kind, record.when)
            table.add_row(place, *map(escape, texts))
    console.print(table)
    for record in bad:
        console.print(
            f"[red]{record.partition}/{record.offset}: {record.reason}[/]: "
            f"{escape(record.detail)}\n  [dim]{escape(record.payload[:SHOWN_PAYLOAD])}[/]",
            highlight=False,
        )
    console.print(f"{len(source.records) - len(bad)} of {len(source.records)} records map")
