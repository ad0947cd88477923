"""`segue catalogue --check`: show how a file of items is read; nothing is written."""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from segue.catalogue_file import BadRow, CheckedItems, read_attributes, read_columns
from segue.columns import ITEM_FIELDS, Column, guess_columns, named_columns
from segue.doctor import Finding
from segue.file_rows import ReadProgress, no_progress, sample_rows
from segue.settings import Settings
from streams.attribute_fields import AttributeField

__all__ = ["CatalogueCheck", "check_catalogue"]

#: Texts of which the language is checked.
TEXTS = 2_000


@dataclass(frozen=True, kw_only=True)
class CatalogueCheck:
    """The interpretation of a file of items, and the command that reads it this way.

    columns: column of each Segue field, given by the user or guessed. unused: the other columns.
    items: rows that workers accept; bad: rows that they refuse, the first ones with the reason.
    distinct: items with different ids. untitled: items without a title.
    sample: the first items as workers read them.
    language: whether the text model reads the items' texts.
    command: writes the items to the catalogue topic.
    """

    file: str
    columns: dict[str, Column]
    unused: list[str]
    item_type: str
    items: int
    distinct: int
    untitled: int
    bad_rows: int
    bad: list[BadRow]
    sample: list[dict[str, Any]]
    language: Finding
    command: str

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        bad = [{"place": row.place, "fault": row.fault} for row in self.bad]
        return {**asdict(self), "bad": bad, "good": not self.bad_rows}


def check_catalogue(
    file: Path,
    options: Iterable[str],
    item_type: str,
    settings: Settings,
    *,
    shown: int,
    progress: ReadProgress = no_progress,
) -> CatalogueCheck:
    """Guess the columns from a sample, then read every row of the file.

    options: `FIELD=COLUMN`, as in `segue catalogue`. settings: with the text model. shown: items
    and bad rows that are returned.
    Raises ColumnError if no column fits a required field, TableError for a file that cannot be
    read, CatalogueError for a file without rows.
    """
    rows = sample_rows(file)
    attributes, others = read_attributes(options)
    named = named_columns("items", ITEM_FIELDS, others)
    fields = [name for name in ITEM_FIELDS if not (item_type and name == "item_type")]
    columns = guess_columns(rows, fields, named, where=str(file))
    used = {field: column.column for field, column in columns.items()}
    typed = item_type or ("" if "item_type" in used else "item")
    found = read_columns(file, used, typed, attributes, progress)
    sample = [msgspec.json.decode(value) for _, value in islice(found.records, shown)]
    untitled = sum(b'"title"' not in value for _, value in found.records)
    theirs = dict.fromkeys(name for row in rows for name in row)
    taken = {*used.values(), *(one.theirs for one in attributes)}
    return CatalogueCheck(
        file=str(file),
        columns=columns,
        unused=[name for name in theirs if name not in taken],
        item_type=typed,
        items=len(found.records),
        distinct=len({key for key, _ in found.records}),
        untitled=untitled,
        bad_rows=len(found.bad),
        bad=found.bad[:shown],
        sample=sample,
        language=_language(found, settings),
        command=_command(file, used, attributes, typed),
    )


def _language(found: CheckedItems, settings: Settings) -> Finding:
    """Check a sample of the items, in even steps."""
    from segue.text_language import language_finding

    step = -(-len(found.records) // TEXTS) or 1
    rows = [msgspec.json.decode(value) for _, value in found.records[::step]]
    names = ("item_type", "title", "description", "genres", "language")
    return language_finding(
        settings, pl.DataFrame({name: [row.get(name) for row in rows] for name in names})
    )


def _command(
    file: Path, columns: dict[str, str], attributes: Sequence[AttributeField], item_type: str
) -> str:
    words = ["segue", "catalogue", str(file)]
    for field, column in columns.items():
        if field != column:
            words += ["-f", f"{field}={column}"]
    for one in attributes:
        words += ["-f", str(one)]
    if item_type:
        words += ["--item-type", item_type]
    return shlex.join(words)
