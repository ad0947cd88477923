"""Opens a user's Parquet files, or refuses them with a one-line reason."""

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

__all__ = ["TableError", "open_parquet", "read_parquet"]


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
