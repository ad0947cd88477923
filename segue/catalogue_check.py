"""`segue catalogue --check`: show how a file of items is read; nothing is written."""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from segue.attribute_fields import AttributeField
from segue.catalogue_file import BadRow, read_attributes, read_columns
from segue.columns import ITEM_FIELDS, Column, guess_columns, named_columns
from segue.file_rows import holds_text_only, sample_rows

__all__ = ["CatalogueCheck", "check_catalogue"]


@dataclass(frozen=True, kw_only=True)
class CatalogueCheck:
    """The interpretation of a file of items, and the command that reads it this way.

    columns: column of each Segue field, given by the user or guessed. unused: the other columns.
    items: rows that workers accept; bad: rows that they refuse, the first ones with the reason.
    distinct: items with different ids. untitled: items without a title.
    sample: the first items as workers read them.
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
    command: str

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        bad = [{"place": row.place, "fault": row.fault} for row in self.bad]
        return {**asdict(self), "bad": bad, "good": not self.bad_rows}


def check_catalogue(
    file: Path, options: Iterable[str], item_type: str, *, shown: int
) -> CatalogueCheck:
    """Guess the columns from a sample, then read every row of the file.

    options: `FIELD=COLUMN`, as in `segue catalogue`. shown: items and bad rows that are returned.
    Raises ColumnError if no column fits a required field, TableError for a file that cannot be
    read, CatalogueError for a file without rows.
    """
    rows = sample_rows(file)
    attributes, others = read_attributes(options)
    named = named_columns("items", ITEM_FIELDS, others)
    fields = [name for name in ITEM_FIELDS if not (item_type and name == "item_type")]
    columns = guess_columns(rows, fields, named, of_text=holds_text_only(file), where=str(file))
    used = {field: column.column for field, column in columns.items()}
    typed = item_type or ("" if "item_type" in used else "item")
    found = read_columns(file, used, typed, attributes)
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
        command=_command(file, used, attributes, typed),
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
