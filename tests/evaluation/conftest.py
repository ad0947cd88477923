"""A hand-made data set: five users, two types, days 0 to 9; the split is at day 8."""

import polars as pl
import pytest

from evaluation import Dataset, TimeSplit, dataset_of, time_split
from evaluation.text import TextVectors
from tests.evaluation.worlds import DAY, text_of

EVENTS = [
    # user, item, type, kind, day
    ("ann", "p1", "pod", "stream", 0),
    ("ann", "p2", "pod", "stream", 1),
    ("bob", "p1", "pod", "stream", 1),
    ("bob", "p2", "pod", "stream", 2),
    ("bob", "b1", "book", "stream", 2),
    ("cat", "p1", "pod", "stream", 3),
    ("cat", "b2", "book", "follow", 3),
    ("dan", "p3", "pod", "stream", 4),
    # --- split ---
    ("ann", "p1", "pod", "stream", 8),  # known: not a discovery
    ("ann", "b1", "book", "stream", 8),
    ("cat", "p2", "pod", "stream", 8),
    ("cat", "b2", "book", "stream", 9),  # a weak signal did not make it known
    ("dan", "p2", "pod", "preview", 9),  # weak: not held out
    ("eve", "p4", "pod", "stream", 9),
]


@pytest.fixture
def dataset() -> Dataset:
    columns = ["user_id", "item_id", "item_type", "kind", "timestamp"]
    rows = [(*row[:4], row[4] * DAY + place) for place, row in enumerate(EVENTS)]
    items = pl.DataFrame(
        {
            "item_id": ["p1", "p2", "p3", "p4", "b1", "b2", "b3"],
            "item_type": ["pod"] * 4 + ["book"] * 3,
        }
    )
    return dataset_of(pl.DataFrame(rows, schema=columns, orient="row"), items)


@pytest.fixture
def split(dataset: Dataset) -> TimeSplit:
    return time_split(dataset.events, test_days=2, end_ms=10 * DAY)


@pytest.fixture
def text(dataset: Dataset) -> TextVectors:
    return text_of(dataset)
