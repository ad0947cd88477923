"""segue catalogue: write the items of a file to the catalogue topic."""

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segue.options import ConfigOption, JsonOption, SetOption, explained, settings_of
from segue.screen import StageBars, console, errors, marked, progress_bars

if TYPE_CHECKING:
    from segue.catalogue_check import CatalogueCheck
    from segue.settings import Settings

#: Items and bad rows that --check shows.
SHOWN = 5


def catalogue(
    file: Annotated[Path, typer.Argument(help="JSON lines (.jsonl, .ndjson), CSV or Parquet.")],
    field: Annotated[
        list[str] | None,
        typer.Option(
            "--field",
            "-f",
            metavar="FIELD=COLUMN",
            help="Column of a field in the file, e.g. item_id=slug; repeat for more.",
        ),
    ] = None,
    item_type: Annotated[
        str, typer.Option(help="Type of all items, for a file that has no such field.")
    ] = "",
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Write the good rows even if there are bad ones.")
    ] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Write nothing: guess the fields, read every row, show the result and the "
            "command that writes it.",
        ),
    ] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Write the items of a file to the catalogue topic; existing items are replaced.

    Fields: item_id, item_type and title; description, language, genres (a list, or text separated
    by |), published_at (ms UTC or ISO 8601). Ids and types are those of the events, after
    their mapping.

    Attributes for policies come from a field `attributes` (an object), and from any field that is
    named: -f attributes.stock:number=quantity, with text, number, boolean, time or list as the
    type. Without a type, values stay as they are in the file.

    Every row is read as workers read it. If workers would refuse a row, nothing is written, the
    command reports the number of bad rows and names the first ones, and exits with status 1.

    With --check nothing is written and no broker is needed. Fields that are not given are guessed
    from a sample. Languages that the text model does not read are named. The command exits with
    status 4 if a row is bad.

    Examples: segue catalogue items.csv --check

    segue catalogue items.jsonl -f item_id=slug -f item_type=class -f title=name
    """
    if check:
        _check(file, field or [], item_type, settings_of(config, flags), as_json=as_json)
    from segue.catalogue_file import CatalogueError, read_catalogue
    from segue.feeding import NAMED_ROWS, bulk_write_with_bar
    from segue.file_rows import TableError
    from streams import AdminError, BulkWriteError, require_broker

    settings = settings_of(config, flags)
    with explained(TableError, CatalogueError, AdminError, BulkWriteError):
        with progress_bars(errors if as_json else console) as bars:
            items = read_catalogue(file, field or (), item_type, StageBars(bars))
        if items.bad:
            errors.print(
                marked(
                    "[red]{} of {} rows are bad:[/]\n{}",
                    f"{len(items.bad):,}",
                    f"{len(items.bad) + len(items.records):,}",
                    items.faults(NAMED_ROWS),
                ),
                highlight=False,
            )
            if not skip_bad:
                errors.print("nothing is written; --skip-bad writes the good rows")
                raise typer.Exit(1)
        require_broker(settings.kafka)
        written = asyncio.run(
            bulk_write_with_bar(
                settings.kafka, settings.topics.catalogue, settings,
                items.records, len(items.records), errors if as_json else console,
            )
        )  # fmt: skip
    if as_json:
        report = {"topic": settings.topics.catalogue, "items": written, "bad_rows": len(items.bad)}
        typer.echo(json.dumps(report))
        return
    skipped = f"; {len(items.bad):,} bad rows skipped" if items.bad else ""
    console.print(f"{written:,} items written to {settings.topics.catalogue}{skipped}")


def _check(
    file: Path, fields: list[str], item_type: str, settings: "Settings", *, as_json: bool
) -> None:
    """Show how the file is read, and exit."""
    from segue.catalogue_check import check_catalogue
    from segue.catalogue_file import CatalogueError
    from segue.columns import ColumnError
    from segue.file_rows import TableError

    screen = errors if as_json else console
    with explained(TableError, CatalogueError, ColumnError), progress_bars(screen) as bars:
        found = check_catalogue(
            file, fields, item_type, settings, shown=SHOWN, progress=StageBars(bars)
        )
    if as_json:
        typer.echo(json.dumps(found.as_json()))
    else:
        _show(found)
    raise typer.Exit(4 if found.bad_rows else 0)


def _show(found: "CatalogueCheck") -> None:
    from rich.table import Table

    table = Table(title=found.file, title_justify="left")
    for head in ("field", "column", "", "example"):
        table.add_column(head, overflow="fold")
    for column in found.columns.values():
        table.add_row(
            column.field, column.column, "named" if column.given else "guessed", column.example[:60]
        )
    if found.item_type:
        table.add_row("item_type", "-", "one for all", found.item_type)
    console.print(table)
    if found.unused:
        console.print(f"not used: {', '.join(found.unused)}", highlight=False, soft_wrap=True)
    console.print(
        f"items: {found.items:,} ({found.distinct:,} different ids, {found.untitled:,} without a "
        f"title); bad rows: {found.bad_rows:,}",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    for row in found.bad:
        console.print(
            marked("[red]{}[/]: {}", row.place, row.fault), highlight=False, soft_wrap=True
        )
    if found.bad_rows > len(found.bad):
        console.print(f"and {found.bad_rows - len(found.bad):,} more")
    if found.language.verdict != "ok":
        console.print(
            marked("[yellow]{}[/]; {}", found.language.found, found.language.fix),
            highlight=False, soft_wrap=True,
        )  # fmt: skip
    if found.bad_rows:
        console.print("correct the bad rows, or add --skip-bad")
    console.print(marked("write them: [bold]{}[/]", found.command), highlight=False, soft_wrap=True)
