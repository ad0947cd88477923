"""Reads a user's file of items as records of the catalogue topic.

Every row goes through the decoder that workers use for the topic. A row that workers refuse is
refused here, with its place in the file.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from segue.file_rows import ReadProgress, Row, holds_text_only, no_progress, read_rows
from streams import decode_items, encode
from streams.attribute_fields import ATTRIBUTES, AttributeField, attribute_fields
from streams.item_rows import item_record, typed_value

__all__ = [
    "BadRow",
    "CatalogueError",
    "CheckedItems",
    "checked_items",
    "faults_of",
    "read_attributes",
    "read_catalogue",
    "read_columns",
]

REQUIRED = ("item_id", "item_type", "title")
OPTIONAL = ("description", "language", "genres", "published_at", "attributes")
#: Rows that are checked at once.
BATCH = 1_000


class CatalogueError(ValueError):
    """The file does not hold items as described; the message names the field."""


class BadRow(NamedTuple):
    """A row that workers refuse: its place in the file, and the reason."""

    place: str
    fault: str


@dataclass(kw_only=True)
class CheckedItems:
    """Rows of a catalogue: accepted rows as records, and refused rows.

    records: keys and values in the order of the file.
    """

    records: list[tuple[bytes, bytes]] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)

    def faults(self, most: int) -> str:
        """Name the first `most` bad rows, one per line."""
        return faults_of(self.bad, most)


def faults_of(bad: Sequence[BadRow], most: int) -> str:
    """Name the first `most` bad rows, one per line."""
    lines = [f"{row.place}: {row.fault}" for row in bad[:most]]
    if len(bad) > most:
        lines.append(f"and {len(bad) - most:,} more")
    return "\n".join(lines)


def read_catalogue(
    file: Path,
    fields: Iterable[str] = (),
    item_type: str = "",
    progress: ReadProgress = no_progress,
) -> CheckedItems:
    """Read and check the items of a file: CSV, JSON lines or Parquet, by the end of its name.

    fields:    `ours=theirs` each: the column of a Segue field in the file; an attribute is
               `attributes.NAME=theirs` or `attributes.NAME:TYPE=theirs` (`attribute_fields`).
    item_type: type of all items, for a file without such a field.
    In CSV an empty cell means no value, and genres are separated by | (or are a JSON array).
    published_at is in ms UTC, or text in ISO 8601. Text ids stay unchanged; whole numbers become
    text.
    Raises CatalogueError for a required field that no row has, TableError for a file that cannot be
    read.
    """
    attributes, others = read_attributes(fields)
    return read_columns(file, _names(others), item_type, attributes, progress)


def read_attributes(fields: Iterable[str]) -> tuple[list[AttributeField], list[str]]:
    """Return the attributes among `--field` options, and the others. Raises CatalogueError."""
    try:
        return attribute_fields(fields)
    except ValueError as error:
        raise CatalogueError(str(error)) from error


def read_columns(
    file: Path,
    names: Mapping[str, str],
    item_type: str = "",
    attributes: Sequence[AttributeField] = (),
    progress: ReadProgress = no_progress,
) -> CheckedItems:
    """Read the items of a file from these columns only. names: Segue field -> column.

    Otherwise like `read_catalogue`.
    """
    if item_type:
        names = {ours: theirs for ours, theirs in names.items() if ours != "item_type"}
    of_text = holds_text_only(file)
    return checked_items(
        _chosen(read_rows(file, progress), names, attributes, item_type, file, of_text=of_text)
    )


def checked_items(rows: Iterable[Row]) -> CheckedItems:
    """Return rows with Segue fields as records; a row that workers refuse is bad."""
    found = CheckedItems()
    rows = iter(rows)
    while batch := list(itertools.islice(rows, BATCH)):
        records, faults = [], {}
        for number, (_, row) in enumerate(batch):
            try:
                records.append(item_record(number, row))
            except (TypeError, ValueError, OverflowError) as error:
                faults[number] = str(error)
        items, letters = decode_items(records)
        found.records += [(item.key, encode(item)) for item in items.records]
        for letter in letters:
            faults[letter.source.offset] = f"{letter.reason.value}: {letter.detail}"
        found.bad += [BadRow(batch[number][0], faults[number]) for number in sorted(faults)]
    return found


def _chosen(
    rows: Iterable[Row],
    names: Mapping[str, str],
    attributes: Sequence[AttributeField],
    item_type: str,
    file: Path,
    *,
    of_text: bool,
) -> Iterator[Row]:
    """Yield rows with Segue names; raises CatalogueError if no row has a required field."""
    seen: dict[str, None] = {}
    read = 0
    for place, row in rows:
        if isinstance(row, str):
            yield place, row
            continue
        read += 1
        seen.update(dict.fromkeys(row))
        try:
            ours = {
                our: typed_value(our, row[their], of_text=of_text)
                for our, their in names.items()
                if their in row
            }
            if own := {one.name: one.value(row) for one in attributes if one.theirs in row}:
                ours["attributes"] = {**(ours.get("attributes") or {}), **own}
        except ValueError as error:
            yield place, str(error)
            continue
        if item_type:
            ours["item_type"] = item_type
        yield place, ours
    if not read:
        raise CatalogueError(f"{file} has no rows that can be read as items")
    wanted = {our: names.get(our) for our in REQUIRED}
    wanted |= {f"{ATTRIBUTES}{one.name}": one.theirs for one in attributes}
    for our, their in wanted.items():
        if their is not None and their not in seen:
            raise CatalogueError(
                f"{file} has no field {their!r}, expected for {our}; it has {', '.join(seen)}. "
                f"Name it: --field {our}=COLUMN; segue catalogue {file} --check guesses it"
            )


def _names(fields: Iterable[str]) -> dict[str, str]:
    """Return the column of each Segue field."""
    names = {ours: ours for ours in (*REQUIRED, *OPTIONAL)}
    for text in fields:
        ours, separator, theirs = text.partition("=")
        if not separator or ours not in names or not theirs:
            raise CatalogueError(
                f"--field {text}: expected FIELD=COLUMN, where FIELD is one of {', '.join(names)}"
            )
        names[ours] = theirs
    return names
