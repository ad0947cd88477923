"""Data sets in the canonical form, and the ways in which real files differ from it."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from evaluation import Dataset, DatasetError, dataset_of, read_dataset

EVENTS = pl.DataFrame(
    {
        "user_id": [7, 3, 7],
        "item_id": [1, 2, 9],
        "item_type": ["song", "song", "song"],
        "timestamp": [30, 10, 20],
        "session": ["x", "y", "z"],
    }
)
ITEMS = pl.DataFrame({"item_id": [2, 1], "item_type": ["song", "song"], "title": ["b", "a"]})


def test_events_are_in_order_of_time_and_name_rows(dataset: Dataset) -> None:
    assert dataset.users.tolist() == ["ann", "bob", "cat", "dan", "eve"]
    assert (np.diff(dataset.events.timestamp) >= 0).all()
    first = dataset.events.user[0], dataset.events.item[0]
    assert (dataset.users[first[0]], dataset.items["item_id"][int(first[1])]) == ("ann", "p1")
    assert dataset.item_types == ["pod", "book"]
    assert dataset.rows_of_type("book").tolist() == [4, 5, 6]
    assert dataset.events.strong.sum() == 12


def test_whole_number_ids_and_further_columns_are_tolerated() -> None:
    dataset = dataset_of(EVENTS, ITEMS)
    assert dataset.users.tolist() == ["3", "7"]
    assert dataset.events.timestamp.tolist() == [10, 20, 30]
    assert dataset.events.strong.all()  # no kinds: all are streams


def test_items_that_only_the_events_know_join_the_catalogue() -> None:
    dataset = dataset_of(EVENTS, ITEMS)
    assert dataset.items["item_id"].to_list() == ["2", "1", "9"]
    assert dataset.items["title"].to_list() == ["b", "a", None]


def test_items_of_two_types_may_share_an_id() -> None:
    events = EVENTS.with_columns(item_id=pl.lit(1), item_type=pl.Series(["song", "show", "song"]))
    dataset = dataset_of(
        events, ITEMS.with_columns(item_id=pl.lit(1), item_type=pl.Series(["song", "show"]))
    )
    assert dataset.events.item.tolist() == [1, 0, 0]


def test_files_and_folders_of_parquet_are_read(tmp_path: Path) -> None:
    (tmp_path / "events").mkdir()
    EVENTS[:2].write_parquet(tmp_path / "events" / "0.parquet")
    EVENTS[2:].write_parquet(tmp_path / "events" / "1.parquet")
    ITEMS.write_parquet(tmp_path / "items.parquet")
    assert len(read_dataset(tmp_path / "events", tmp_path / "items.parquet").events) == 3


def test_a_missing_column_is_named() -> None:
    with pytest.raises(DatasetError, match="missing: timestamp"):
        dataset_of(EVENTS.drop("timestamp"), ITEMS)


def test_timestamps_in_seconds_are_refused_and_named(tmp_path):
    second = 1_760_000_000
    events = pl.DataFrame(
        {
            "user_id": ["u", "v"],
            "item_id": ["a", "b"],
            "item_type": ["podcast", "podcast"],
            "timestamp": [second, second + 60],
        }
    )
    items = pl.DataFrame({"item_id": ["a", "b"], "item_type": ["podcast", "podcast"]})
    with pytest.raises(DatasetError, match="got seconds"):
        dataset_of(events, items)
    in_ms = events.with_columns(pl.col("timestamp") * 1000)
    assert dataset_of(in_ms, items).events.timestamp.tolist() == [
        second * 1000,
        second * 1000 + 60_000,
    ]
    # As ms these are of January 1970, and so is what comes before: a data set of days since 0.
    early = events.with_columns(timestamp=pl.Series([0, second]))
    assert len(dataset_of(early, items).events) == 2
