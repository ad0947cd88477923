"""Data sets in the canonical form, as arrays.

Events: user_id, item_id, item_type, timestamp (ms UTC), and optionally kind. Items: item_id,
item_type and any of title, description, language, genres, published_at. Ids may be strings or
integers; further columns are ignored.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

STREAM = "stream"
LIKELY_SECONDS = range(100_000_000, 4_200_000_000)
"""Timestamps that are in seconds when all of a file lie here: 1973 to 2103. As milliseconds they
would be of the first weeks of 1970. `streams.dead_letters` has the same numbers; this package
does not know it."""


class DatasetError(ValueError):
    """A table does not have the canonical form."""


@dataclass(frozen=True, kw_only=True)
class Interactions:
    """Events in order of time, as rows of users and items.

    user, item: i64[n], rows of `Dataset.users` and `Dataset.items`.
    timestamp: i64[n], ms UTC. strong: bool[n], a stream rather than a weak signal.
    kind: str[n], kind of each event; None if the data set names none.
    """

    user: npt.NDArray[np.int64]
    item: npt.NDArray[np.int64]
    timestamp: npt.NDArray[np.int64]
    strong: npt.NDArray[np.bool_]
    kind: npt.NDArray[np.str_] | None = None

    def __len__(self) -> int:
        return len(self.user)

    def where(self, rows: npt.NDArray[np.bool_]) -> "Interactions":
        """The events of the named rows, bool[n]."""
        return Interactions(
            user=self.user[rows],
            item=self.item[rows],
            timestamp=self.timestamp[rows],
            strong=self.strong[rows],
            kind=None if self.kind is None else self.kind[rows],
        )


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Events on a catalogue.

    users: user ids, str[n_users], sorted.
    items: frame, one row per item: item_id and item_type as strings, and what else is known.
    events: the interactions, in order of time.
    """

    users: npt.NDArray[np.str_]
    items: pl.DataFrame
    events: Interactions

    @property
    def item_types(self) -> list[str]:
        """Names of the item types, in the order of the catalogue."""
        return list(dict.fromkeys(self.items["item_type"].to_list()))

    def type_numbers(self) -> npt.NDArray[np.int64]:
        """Place of each item's type in `item_types`, i64[n]."""
        number = {name: place for place, name in enumerate(self.item_types)}
        return np.array([number[name] for name in self.items["item_type"]], np.int64)

    def rows_of_type(self, item_type: str) -> npt.NDArray[np.int64]:
        """Rows of the items of one type, ascending, i64[m]."""
        return np.flatnonzero((self.items["item_type"] == item_type).to_numpy())


def read_dataset(
    events: Path,
    items: Path,
    *,
    strong_kinds: tuple[str, ...] = (STREAM,),
    where: str | None = None,
    order: str | None = None,
    min_events: int = 0,
) -> Dataset:
    """Read two Parquet files (or folders of them).

    where: SQL condition on the columns of the events; others are left out. order: column by
    which events of equal timestamps are sorted; otherwise they keep the file's order.
    min_events: items with fewer events are left out of events and catalogue.
    Raises `DatasetError` for a file that cannot be read or lacks a column, and where nothing
    is left.
    """
    found, catalogue = _read(events, "events"), _read(items, "items")
    if where is not None:
        try:
            found = found.filter(pl.sql_expr(where))
        except pl.exceptions.PolarsError as error:
            raise DatasetError(f"cannot keep events where {where!r}: {error}") from error
    if order is not None:
        _require(found, ("timestamp", order), "events")
        found = found.sort("timestamp", order, maintain_order=True)
    if min_events:
        _require(found, ("item_id", "item_type"), "events")
        found = found.filter(pl.len().over("item_type", "item_id") >= min_events)
        _require(catalogue, ("item_id", "item_type"), "items")
        kept = found.select(*_names("item_id", "item_type")).unique()
        catalogue = catalogue.with_columns(*_names("item_id", "item_type")).join(
            kept, on=["item_id", "item_type"], how="semi", maintain_order="left"
        )
    return dataset_of(found, catalogue, strong_kinds=strong_kinds)


def dataset_of(
    events: pl.DataFrame, items: pl.DataFrame, *, strong_kinds: tuple[str, ...] = (STREAM,)
) -> Dataset:
    """Build a data set from two frames in the canonical form.

    Events without a kind are strong. Events on items that the catalogue lacks make catalogue rows
    without text: they were listened to, so a full ranking has to hold them.
    """
    _require(events, ("user_id", "item_id", "item_type", "timestamp"), "events")
    _require(items, ("item_id", "item_type"), "items")
    _check(events)
    for frame, name in ((events, "events"), (items, "items")):
        for column in ("user_id", "item_id", "item_type"):
            kind = frame.schema.get(column)
            if kind is not None and kind.is_float():
                raise DatasetError(
                    f"{name}: expected {column} as text or whole numbers, got {kind}"
                )
    text = _names("item_id", "item_type")
    known = items.with_columns(text).unique(
        ["item_type", "item_id"], keep="last", maintain_order=True
    )
    if isinstance(events.schema["timestamp"], pl.Datetime):
        events = events.with_columns(pl.col("timestamp").dt.epoch("ms"))
    events = events.with_columns(*text, pl.col("user_id").cast(pl.String)).sort(
        "timestamp", maintain_order=True
    )
    pairs = events.select("item_id", "item_type").unique(maintain_order=True)
    missing = pairs.join(known, on=["item_id", "item_type"], how="anti")
    catalogue = pl.concat([known, missing], how="diagonal_relaxed")
    rows = catalogue.select("item_id", "item_type").with_row_index("row")
    users = events.select("user_id").unique().sort("user_id").with_row_index("user")
    joined = events.join(rows, on=["item_id", "item_type"], how="left", maintain_order="left").join(
        users, on="user_id", how="left", maintain_order="left"
    )
    strong = np.ones(len(events), dtype=bool)
    named: npt.NDArray[np.str_] | None = None
    if "kind" in events.columns:
        strong = events["kind"].is_in(list(strong_kinds)).fill_null(value=False).to_numpy()
        named = events["kind"].cast(pl.String).fill_null("").to_numpy().astype(np.str_)
    return Dataset(
        users=users["user_id"].to_numpy().astype(np.str_),
        items=catalogue,
        events=Interactions(
            user=joined["user"].to_numpy().astype(np.int64),
            item=joined["row"].to_numpy().astype(np.int64),
            timestamp=events["timestamp"].cast(pl.Int64).to_numpy(),
            strong=strong,
            kind=named,
        ),
    )


#: Suffix of a text file -> the function of polars that reads it.
_TEXT = {".csv": "read_csv", ".jsonl": "read_ndjson", ".ndjson": "read_ndjson"}


def _read(path: Path, name: str) -> pl.DataFrame:
    if path.is_dir() and not any(path.glob("*.parquet")):
        raise DatasetError(f"{name}: there are no .parquet files in {path}")
    try:
        return pl.read_parquet(path / "*.parquet" if path.is_dir() else path)
    except FileNotFoundError as error:
        raise DatasetError(f"{name}: file not found: {path}") from error
    except (OSError, pl.exceptions.PolarsError) as error:
        if path.suffix.lower() in _TEXT:
            raise DatasetError(
                f"{name}: expected a Parquet file, got {path}; convert it with "
                f'polars.{_TEXT[path.suffix.lower()]}("{path}").write_parquet(...)'
            ) from error
        raise DatasetError(f"{name}: {path} is no readable Parquet file: {error}") from error


def _names(*columns: str) -> list[pl.Expr]:
    return [pl.col(name).cast(pl.String) for name in columns]


def _check(events: pl.DataFrame) -> None:
    """Refuse events without which or when; raises DatasetError."""
    if events.is_empty():
        raise DatasetError("events: there are none")
    for name in ("user_id", "item_id", "item_type", "timestamp"):
        if missing := events[name].null_count():
            raise DatasetError(f"events: {missing:,} rows have no {name}")
    kind = events.schema["timestamp"]
    if not (kind.is_integer() or isinstance(kind, pl.Datetime)):
        raise DatasetError(f"events: expected timestamp in ms UTC as whole numbers, got {kind}")
    if (
        kind.is_integer()
        and events["timestamp"].is_between(LIKELY_SECONDS.start, LIKELY_SECONDS.stop - 1).all()
    ):
        raise DatasetError(
            "events: expected timestamp in ms UTC, got seconds (such as "
            f"{events['timestamp'][0]}): multiply the column by 1000"
        )


def _require(frame: pl.DataFrame, columns: tuple[str, ...], name: str) -> None:
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise DatasetError(
            f"{name} must have the columns {', '.join(columns)}; "
            f"missing: {', '.join(missing)}; found: {', '.join(frame.columns)}"
        )
