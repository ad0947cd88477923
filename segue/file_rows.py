"""Reads the rows of a user's table: CSV, JSON lines or Parquet, by the file name's suffix.

Cells of CSV are separated by what separates its header: commas, semicolons, tabs or bars.

An unreadable row becomes a text with its fault; the rows after it are read.
"""

import csv
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from streams.keyed_records import ITEM_MAX_BYTES

__all__ = [
    "ReadProgress",
    "Row",
    "TableError",
    "holds_text_only",
    "no_progress",
    "open_parquet",
    "read_parquet",
    "read_rows",
    "sample_rows",
]


class TableError(ValueError):
    """A file cannot be read as expected; the message names it and the reason."""

    @classmethod
    def of(cls, file: Path, error: Exception, form: str = "") -> "TableError":
        """Describe a file that cannot be opened. form: the expected format."""
        if not file.exists():
            return cls(f"file not found: {file}")
        if file.is_dir():
            return cls(f"{file} is a folder, expected a file")
        if isinstance(error, PermissionError):
            return cls(f"{file} cannot be read by this user")
        return cls(f"{file} is not a readable {form} file: {error}")


def open_parquet(file: Path, columns: Iterable[str] = ()) -> pq.ParquetFile:
    """Open a Parquet file that has these columns. Raises TableError."""
    try:
        opened = pq.ParquetFile(file)
    except (OSError, pa.ArrowException) as error:
        raise TableError.of(file, error, "Parquet") from error
    names = opened.schema_arrow.names
    if missing := [column for column in columns if column not in names]:
        raise TableError(
            f"{file} has no column {', '.join(missing)}; it has {', '.join(names) or 'none'}"
        )
    return opened


def read_parquet(file: Path, columns: Iterable[str] = ()) -> pa.Table:
    """Read a Parquet file that has these columns. Raises TableError."""
    with open_parquet(file, columns) as opened:
        try:
            return opened.read()
        except (OSError, pa.ArrowException) as error:
            raise TableError.of(file, error, "Parquet") from error


Row = tuple[str, Mapping[str, Any] | str]
"""Place of a row in its file ("line 5"), and its fields or its fault."""
ReadProgress = Callable[[str, int, int | None], None]
"""Called with what is read, the rows so far, and the rows in all or None if that is not known."""
#: Rows between two reports of progress.
REPORTED = 10_000
#: Rows of Parquet that are in memory at once.
PARQUET_ROWS = 10_000
#: Separators of the cells of CSV; a comma before others that give as many cells.
_SEPARATORS = ",;\t|"
#: Rows from which the columns of a file are guessed.
SAMPLE = 1_000


def no_progress(_stage: str, _done: int, _total: int | None) -> None:
    """Report nothing."""


def read_rows(file: Path, progress: ReadProgress = no_progress) -> Iterator[Row]:
    """Yield the rows of a file. In CSV an empty cell means no value.

    progress: called every REPORTED rows, and at the end of a file that has so many.
    Raises TableError for a file that cannot be read or has an unknown suffix.
    """
    reader = _READERS.get(file.suffix.lower())
    if file.is_dir():
        raise TableError(f"{file} is a folder; expected a file")
    if reader is None:
        raise TableError(
            f"{file}: expected a file name that ends with {', '.join(_READERS)}, got "
            f"{file.suffix!r}"
        )
    return _reported(reader(file), f"read {file.name}", progress)


def _reported(rows: Iterator[Row], stage: str, progress: ReadProgress) -> Iterator[Row]:
    number = 0
    for number, row in enumerate(rows, 1):
        yield row
        if number % REPORTED == 0:
            progress(stage, number, None)
    if number >= REPORTED:  # a short file is read at once
        progress(stage, number, number)


def holds_text_only(file: Path) -> bool:
    """Whether the format of a file holds only text, so that numbers and lists are text."""
    return _READERS.get(file.suffix.lower()) is _csv


def sample_rows(file: Path) -> list[Mapping[str, Any]]:
    """Return the first SAMPLE rows that can be read. Raises TableError."""
    rows = itertools.islice(read_rows(file), SAMPLE)
    return [row for _, row in rows if not isinstance(row, str)]


def _json_lines(file: Path) -> Iterator[Row]:
    try:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                if text.strip():
                    yield f"line {number}", _json_row(text)
    except OSError as error:
        raise TableError.of(file, error) from error


def _json_row(line: bytes) -> Mapping[str, Any] | str:
    try:
        row = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return f"is not JSON: {error}"
    return row if isinstance(row, dict) else f"expected a JSON object, got {type(row).__name__}"


def _csv(file: Path) -> Iterator[Row]:
    csv.field_size_limit(ITEM_MAX_BYTES)
    try:
        # Bytes that are no UTF-8 stay in their own row, which cannot be written as JSON.
        with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:
            first_line = next(lines, "")
            rows = csv.reader(
                itertools.chain([first_line], lines),
                delimiter=_separator(first_line),
                strict=True,
            )
            head: list[str] | None = None
            while True:
                first = rows.line_num + 1
                try:
                    cells = next(rows, None)
                except csv.Error as error:
                    yield f"line {first}", f"is not CSV: {error}"
                    continue
                if cells is None:
                    return
                if head is None:
                    head = cells
                elif cells:
                    yield f"line {first}", _csv_row(head, cells)
    except OSError as error:
        raise TableError.of(file, error) from error


def _separator(head: str) -> str:
    """Return what separates the most cells of a header; a comma if there is only one cell.

    >>> _separator("id;title, long;year"), _separator("id"), _separator('"a;b;c",d')
    (';', ',', ',')
    """
    cells = {sep: next(csv.reader([head], delimiter=sep), []) for sep in _SEPARATORS}
    return max(cells, key=lambda sep: len(cells[sep]))


def _csv_row(head: list[str], cells: list[str]) -> Mapping[str, Any] | str:
    if len(cells) != len(head):
        return f"expected {len(head)} cells, got {len(cells)}"
    return {name: cell if cell else None for name, cell in zip(head, cells, strict=True)}


def _parquet(file: Path) -> Iterator[Row]:
    with open_parquet(file) as table:
        number = 0
        try:
            for batch in table.iter_batches(batch_size=PARQUET_ROWS):
                for row in batch.to_pylist():
                    number += 1
                    yield f"row {number}", row
        except (OSError, pa.ArrowException) as error:
            raise TableError.of(file, error, "Parquet") from error


_READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".csv": _csv,
    ".tsv": _csv,
    ".parquet": _parquet,
}
