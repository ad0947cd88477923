"""The split in time, and what counts as held out."""

import numpy as np
import pytest

from evaluation import Dataset, TimeSplit, held_out, time_split

DAY = 86_400_000


def held(
    dataset: Dataset, split: TimeSplit, item_type: str, **options: bool
) -> dict[str, list[str]]:
    found = held_out(split, dataset.rows_of_type(item_type), **options)
    return {
        str(dataset.users[user]): [
            dataset.items["item_id"][int(row)]
            for row in found.item[found.indptr[n] : found.indptr[n + 1]]
        ]
        for n, user in enumerate(found.users)
    }


def test_no_training_event_is_later_than_the_split(dataset: Dataset, split: TimeSplit) -> None:
    assert split.at_ms == 8 * DAY
    assert split.train.timestamp.max() < split.at_ms <= split.test.timestamp.min()
    assert len(split.train) + len(split.test) == len(dataset.events)


def test_training_can_be_limited_to_the_days_before_the_split(dataset: Dataset) -> None:
    split = time_split(dataset.events, test_days=2, train_days=5, end_ms=10 * DAY)
    assert split.train.timestamp.min() >= 3 * DAY


def test_the_end_is_just_after_the_last_event_by_default(dataset: Dataset) -> None:
    assert time_split(dataset.events, test_days=1).test.timestamp.max() == (
        dataset.events.timestamp.max()
    )


def test_an_empty_side_is_refused(dataset: Dataset) -> None:
    with pytest.raises(ValueError, match="leave 0 events to train"):
        time_split(dataset.events, test_days=100)


def test_discoveries_are_streams_of_items_the_user_had_not_streamed(
    dataset: Dataset, split: TimeSplit
) -> None:
    assert held(dataset, split, "pod") == {"cat": ["p2"], "eve": ["p4"]}
    assert held(dataset, split, "book") == {"ann": ["b1"], "cat": ["b2"]}


def test_repeats_count_when_asked_for(dataset: Dataset, split: TimeSplit) -> None:
    assert held(dataset, split, "pod", repeats=True)["ann"] == ["p1"]


def test_items_without_events_do_no_harm(dataset: Dataset, split: TimeSplit) -> None:
    found = held_out(split, np.array([6]))
    assert len(found.users) == 0
    assert found.indptr.tolist() == [0]
