"""segue catalogue: items of a file of one's own into the catalogue topic."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from segue.options import ConfigOption, SetOption, explained, settings_of
from segue.screen import console


def catalogue(
    file: Annotated[Path, typer.Argument(help="JSON lines (.jsonl), CSV or Parquet.")],
    field: Annotated[
        list[str] | None,
        typer.Option(
            "--field",
            "-f",
            metavar="OURS=THEIRS",
            help="What a field is called in the file, e.g. item_id=slug; repeat for more.",
        ),
    ] = None,
    item_type: Annotated[
        str, typer.Option(help="Type of all items, for a file that has no such field.")
    ] = "",
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Write the items of a file to the catalogue topic; items that are there already are replaced.

    Fields: item_id, item_type and title; description, language, genres (a list), published_at
    (ms UTC) where there are such. Ids and types are those of the events, after their mapping.

    Example: segue catalogue items.jsonl -f item_id=slug -f item_type=class -f title=name
    """
    import polars as pl

    from segue.catalogue_file import CatalogueError, read_catalogue
    from segue.feeding import bulk_write_with_bar, catalogue_records
    from streams import AdminError, BulkWriteError

    settings = settings_of(config, flags)
    with explained(OSError, pl.exceptions.PolarsError, CatalogueError, AdminError, BulkWriteError):
        items = read_catalogue(file, field or (), item_type).to_arrow()
        asyncio.run(
            bulk_write_with_bar(
                settings.kafka, settings.topics.catalogue, settings,
                catalogue_records(items), items.num_rows,
            )
        )  # fmt: skip
    console.print(f"{items.num_rows:,} items written to {settings.topics.catalogue}")
