"""A file of items of somebody else's, as a table in the canonical form."""

from collections.abc import Callable, Iterable
from pathlib import Path

import polars as pl

__all__ = ["CatalogueError", "read_catalogue"]

REQUIRED = ("item_id", "item_type", "title")
OPTIONAL = ("description", "language", "genres", "published_at")

_READERS: dict[str, Callable[[Path], pl.DataFrame]] = {
    ".jsonl": pl.read_ndjson,
    ".ndjson": pl.read_ndjson,
    ".csv": pl.read_csv,
    ".parquet": pl.read_parquet,
}


class CatalogueError(ValueError):
    """The file does not hold items as it was said; the message names the field or the row."""


def read_catalogue(file: Path, fields: Iterable[str] = (), item_type: str = "") -> pl.DataFrame:
    """Read the items of a file; columns item_id, item_type, title, and the optional ones it has.

    fields:    `ours=theirs` each: what a field of ours is called in the file.
    item_type: of all items, where the file has no such field.
    Raises CatalogueError, OSError, and polars' errors for a file that cannot be read as its ending
    says.
    """
    reader = _READERS.get(file.suffix)
    if reader is None:
        raise CatalogueError(
            f"{file}: expected a name that ends with {', '.join(_READERS)}, got {file.suffix!r}"
        )
    table = reader(file)
    names = _names(fields)
    if item_type:
        table = table.with_columns(pl.lit(item_type).alias(names["item_type"]))
    for ours in REQUIRED:
        if names[ours] not in table.columns:
            raise CatalogueError(
                f"{file} has no field {names[ours]!r}, expected for {ours}; it has "
                f"{', '.join(table.columns)}. Say which it is: --field {ours}=THEIRS"
            )
    kept = [ours for ours in (*REQUIRED, *OPTIONAL) if names[ours] in table.columns]
    items = table.select(pl.col(names[ours]).alias(ours) for ours in kept)
    for ours in REQUIRED:
        empty = items.with_row_index("row", offset=1).filter(
            pl.col(ours).is_null() | (pl.col(ours).cast(pl.String) == "")
        )
        if len(empty):
            raise CatalogueError(f"{file}, row {empty['row'][0]}: {names[ours]!r} is empty")
    return items


def _names(fields: Iterable[str]) -> dict[str, str]:
    """What each field of ours is called."""
    names = {ours: ours for ours in (*REQUIRED, *OPTIONAL)}
    for text in fields:
        ours, separator, theirs = text.partition("=")
        if not separator or ours not in names or not theirs:
            raise CatalogueError(
                f"--field {text}: expected OURS=THEIRS, where OURS is one of {', '.join(names)}"
            )
        names[ours] = theirs
    return names
