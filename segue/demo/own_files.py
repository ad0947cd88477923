"""Reads a user's files of items and events with guessed columns, for `segue try`."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pyarrow as pa

from segue.catalogue_file import BadRow, faults_of, read_columns
from segue.columns import (
    EVENT_FIELDS,
    ITEM_FIELDS,
    Column,
    ColumnError,
    guess_columns,
    named_columns,
    shared_values,
)
from segue.events_file import read_events
from segue.file_rows import ReadProgress, TableError, no_progress, sample_rows
from streams import EventRules

__all__ = [
    "FILE_ERRORS", "ITEM_TYPE", "BadRows", "OwnData", "TryFiles", "how_it_was_read", "read_files",
    "read_own_files",
]  # fmt: skip

#: Type of all items of a file that names none.
ITEM_TYPE = "item"
#: Bad rows that a message names.
NAMED = 3
#: Share of a column's values that must be known, so that it counts as ids or types of our items.
SHARED = 0.5

_KEY = ["item_type", "item_id"]

Rows = Sequence[Mapping[str, Any]]
Columns = dict[str, Column]


class BadRows(ValueError):
    """Some rows cannot be used; the message names the first ones and the remedy."""


#: Errors of the user's files, each of which is one line.
FILE_ERRORS = (BadRows, ColumnError, OSError, TableError, ValueError)


@dataclass(frozen=True, kw_only=True)
class TryFiles:
    """The user's files, and how to read them (see `read_own_files`)."""

    events: Path
    items: Path
    fields: tuple[str, ...] = ()
    item_type: str = ""
    skip_bad: bool = False
    most_events: int = 50_000
    most_items: int = 3_000


@dataclass(frozen=True, kw_only=True)
class OwnData:
    """Content of the two files.

    catalogue: the items, each once; the last row of an id wins. events: FRAME_COLUMNS, in order of
    time. items_read, events_read: good rows of the files, before limits. bad: bad rows by file.
    columns: the columns that were used, by file. unused: the other ones.
    item_type: type of all items, empty if the file has a column of types.
    notes: remarks for the user, one sentence each.
    """

    catalogue: pa.Table
    events: pl.DataFrame
    items_read: int
    events_read: int
    bad: dict[str, list[BadRow]]
    columns: dict[str, Columns]
    unused: dict[str, list[str]]
    item_type: str
    notes: tuple[str, ...] = ()


def read_own_files(
    events: Path,
    items: Path,
    *,
    options: Iterable[str] = (),
    item_type: str = "",
    rules: EventRules,
    now_ms: int,
    skip_bad: bool = False,
    most_events: int,
    most_items: int,
    progress: ReadProgress = no_progress,
) -> OwnData:
    """Read a catalogue and its events.

    options: `FIELD=COLUMN`, as `named_columns` reads them. item_type: type of all items, instead of
             a column. most_events: keep at most this many events, newest first; 0 keeps all.
             most_items: keep at most this many items, those with the most events first, then in
                         file order.
    Raises ColumnError if no column fits a required field, TableError for files that cannot be
    read, BadRows for bad rows unless skip_bad.
    """
    options = list(options)
    item_rows, event_rows = sample_rows(items), sample_rows(events)
    try:
        item_columns = _item_columns(items, item_rows, options, item_type)
    except ColumnError as error:
        raise ColumnError(f"{error}{_of_events(events, event_rows, item_rows, options)}") from error
    if "item_type" not in item_columns:
        item_type = item_type or ITEM_TYPE
    read = read_columns(items, _names(item_columns), item_type, progress=progress)
    rows = {key: msgspec.json.decode(value) for key, value in read.records}
    catalogue = list(rows.values())
    notes: list[str] = []
    if repeated := len(read.records) - len(rows):
        notes.append(f"rows of {items} that repeat an id: {repeated:,}; the last one is used")
    event_columns = _event_columns(events, event_rows, options, catalogue, item_type, rules, notes)
    types = _Types(catalogue, item_type)
    found = read_events(
        events, _names(event_columns), rules, now_ms=now_ms, kind=rules.kinds[0],
        type_of=None if "item_type" in event_columns else types, progress=progress,
    )  # fmt: skip
    bad = {str(items): read.bad, str(events): found.bad}
    _check(bad, {str(items): len(rows), str(events): found.frame.height}, skip_bad=skip_bad)
    frame = found.frame.sort("timestamp", maintain_order=True)
    unknown = frame.height - frame.join(_keys(catalogue), on=_KEY, how="semi").height
    if unknown:
        notes.append(f"events of items that {items} does not have: {unknown:,}")
    if most_events and frame.height > most_events:
        notes.append(f"the newest {most_events:,} of {frame.height:,} events are used")
        frame = frame.tail(most_events)
    if most_items and len(catalogue) > most_items:
        notes.append(
            f"{most_items:,} of {len(catalogue):,} items are used, those with the most events first"
        )
        catalogue = _busiest(catalogue, frame, most_items)
        frame = frame.join(_keys(catalogue), on=_KEY, how="semi", maintain_order="left")
    return OwnData(
        catalogue=_table(catalogue),
        events=frame,
        items_read=len(rows),
        events_read=found.frame.height,
        bad={name: faults for name, faults in bad.items() if faults},
        columns={str(items): item_columns, str(events): event_columns},
        unused={
            str(items): _others(item_rows, item_columns),
            str(events): _others(event_rows, event_columns),
        },
        item_type="" if "item_type" in item_columns else item_type,
        notes=tuple(notes),
    )


def read_files(files: TryFiles, rules: EventRules, now_ms: int, progress: ReadProgress) -> OwnData:
    """Read the files of `segue try`; raises one of FILE_ERRORS."""
    return read_own_files(
        files.events, files.items, options=files.fields, item_type=files.item_type,
        rules=rules, now_ms=now_ms, skip_bad=files.skip_bad,
        most_events=files.most_events, most_items=files.most_items, progress=progress,
    )  # fmt: skip


def how_it_was_read(data: OwnData) -> str:
    """Return lines that say how the files were read."""
    lines = []
    for file, columns in data.columns.items():
        bad = f", {len(data.bad[file]):,} bad rows skipped" if file in data.bad else ""
        rows = data.items_read if file == next(iter(data.columns)) else data.events_read
        lines.append(f"{file}: {rows:,} rows{bad}")
        lines += [
            f"  {column.field:<13}= column {column.column}"
            f"{'' if column.given else ' (guessed)'}, e.g. {column.example[:60]}"
            for column in columns.values()
        ]
        if data.unused[file]:
            lines.append(f"  not used     : {', '.join(data.unused[file])}")
    if data.item_type:
        lines.append(f"  item_type    = {data.item_type}, for all items")
    lines += data.notes
    lines.append("If a column is wrong, name it: --field FIELD=COLUMN")
    return "\n".join(lines)


def _item_columns(file: Path, rows: Rows, options: Sequence[str], item_type: str) -> Columns:
    named = named_columns("items", ITEM_FIELDS, options)
    _drop_unless_here(named, options, rows, EVENT_FIELDS)
    fields = [name for name in ITEM_FIELDS if not (item_type and name == "item_type")]
    return guess_columns(rows, fields, named, where=str(file))


def _of_events(file: Path, rows: Rows, item_rows: Rows, options: Sequence[str]) -> str:
    """Return what the file of events lacks too, as a second line; empty if nothing."""
    ids = {name for row in item_rows for name in row}
    rest = [{name: value for name, value in row.items() if name not in ids} for row in rows]
    try:
        named = named_columns("events", EVENT_FIELDS, options)
        _drop_unless_here(named, options, rows, ITEM_FIELDS)
        named.pop("item_id", None)
        fields = ("user_id", "timestamp")
        guess_columns(rest, fields, named, where=str(file))
    except ColumnError as error:
        return f"\n{error}"
    return ""


def _event_columns(
    file: Path,
    rows: Rows,
    options: Sequence[str],
    catalogue: Rows,
    item_type: str,
    rules: EventRules,
    notes: list[str],
) -> Columns:
    """Guess the columns of events; item ids and types are matched with the catalogue."""
    named = named_columns("events", EVENT_FIELDS, options)
    _drop_unless_here(named, options, rows, ITEM_FIELDS)
    given = set(named)
    where = str(file)
    if "item_id" not in named and (column := _id_column(rows, catalogue, where)):
        named["item_id"] = column
    guessed = guess_columns(rows, EVENT_FIELDS, named, where=where)
    found = {name: replace(column, given=name in given) for name, column in guessed.items()}
    if "item_type" not in given and "item_type" in found:
        known = {row["item_type"] for row in catalogue}
        column = found["item_type"].column
        if item_type or shared_values(rows, column, known) < SHARED:
            del found["item_type"]
    if "kind" not in given and "kind" in found:
        column = found["kind"].column
        if shared_values(rows, column, rules.kinds) < SHARED:
            notes.append(
                f"column {column} of {file} is not used: its values are not among the kinds "
                f"{', '.join(rules.kinds)}, so every event is {rules.kinds[0]}"
            )
            del found["kind"]
    return found


def _drop_unless_here(
    named: dict[str, str], options: Sequence[str], rows: Rows, others: Iterable[str]
) -> None:
    """Drop options without a file name that apply to the other file."""
    here = {name for row in rows for name in row}
    anywhere = {text for text in options if "." not in text.partition("=")[0]}
    for field in set(named) & set(others):
        if f"{field}={named[field]}" in anywhere and named[field] not in here:
            del named[field]


def _id_column(rows: Rows, catalogue: Rows, where: str) -> str | None:
    """Return the column whose values are catalogue ids; None if its name already tells.

    Names take precedence over values: numeric user ids can equal item ids by chance.
    """
    ids = {row["item_id"] for row in catalogue}
    usual = guess_columns(rows, ("item_id",), {}, needed=False, where=where).get("item_id")
    if usual is not None and shared_values(rows, usual.column, ids) >= SHARED:
        return None
    columns = dict.fromkeys(name for row in rows for name in row)
    shares = {column: shared_values(rows, column, ids) for column in columns}
    best = max(shares, key=lambda column: shares[column], default=None)
    return best if best is not None and shares[best] >= SHARED else None


class _Types:
    """Item id -> type, from the catalogue."""

    def __init__(self, catalogue: Rows, item_type: str) -> None:
        self._types: dict[str, set[str]] = defaultdict(set)
        for row in catalogue:
            self._types[row["item_id"]].add(row["item_type"])
        self._only = item_type or None

    def __call__(self, item_id: str) -> str:
        """Return the type of an item; raises ValueError if it is unknown."""
        if self._only is not None:
            return self._only
        types = self._types.get(item_id)
        if types is None:
            raise ValueError(
                f"unknown item: the catalogue has no item {item_id!r}, and no column "
                "holds the item's type"
            )
        if len(types) > 1:
            raise ValueError(
                f"item {item_id!r} is of several types ({', '.join(sorted(types))}): name the "
                "column of the type with --field item_type=COLUMN"
            )
        return next(iter(types))


def _others(rows: Rows, columns: Columns) -> list[str]:
    """Return the columns of a file that are not used, in its order."""
    used = {column.column for column in columns.values()}
    return [
        name for name in dict.fromkeys(name for row in rows for name in row) if name not in used
    ]


def _table(catalogue: Rows) -> pa.Table:
    """Return items as a table; a missing field is null."""
    fields = [name for name in ITEM_FIELDS if any(name in row for row in catalogue)]
    return pa.table({name: [row.get(name) for row in catalogue] for name in fields})


def _keys(catalogue: Rows) -> pl.DataFrame:
    """Return the types and ids of items."""
    keys = [(row["item_type"], row["item_id"]) for row in catalogue]
    return pl.DataFrame(keys, schema=dict.fromkeys(_KEY, pl.String), orient="row")


def _busiest(catalogue: Rows, frame: pl.DataFrame, most: int) -> list[Mapping[str, Any]]:
    counts = frame.group_by("item_type", "item_id").len()
    events = {(row[0], row[1]): row[2] for row in counts.iter_rows()}
    ranked = sorted(
        enumerate(catalogue),
        key=lambda row: (-events.get((row[1]["item_type"], row[1]["item_id"]), 0), row[0]),
    )
    return [row for _, row in ranked[:most]]


def _check(bad: Mapping[str, list[BadRow]], good: Mapping[str, int], *, skip_bad: bool) -> None:
    """Raise BadRows for rows that cannot be used, unless skip_bad is set."""
    for name, faults in bad.items():
        if faults and (not skip_bad or not good[name]):
            advice = "Correct them, or add --skip-bad" if good[name] else "Correct the file"
            raise BadRows(
                f"{name}: {len(faults):,} of {len(faults) + good[name]:,} rows are bad; "
                f"{'; '.join(faults_of(faults, NAMED).splitlines())}. {advice}"
            )
        if not good[name]:
            raise TableError(f"{name} has no rows that can be read")


def _names(columns: Columns) -> dict[str, str]:
    return {field: column.column for field, column in columns.items()}
