"""Offsets without a record: passed over where nothing was, refused where something was."""

from typing import Any

import pytest

from streams.batches import BatchReading, Partitions, Place
from streams.positions import Held, PositionError

EVENTS = ("events", 0)


class Store:
    """Takes note of empty offsets once it has applied what lies before them."""

    def __init__(self, position: int) -> None:
        self.position = position
        self.from_group: frozenset[str] = frozenset()

    def positions(self, _topic: str, _partition: int) -> int:
        return self.position

    async def pass_empty(self, _place: Place, first: int, end: int, _epoch: int) -> bool:
        if self.position < first:
            return False
        self.position = end
        return True


def reading_of(store: Store, *, first: int = 0, end: int = 100) -> BatchReading:
    """What has handed over all up to offset 10, of a log that holds [first, end)."""

    async def held(places: Partitions) -> list[Held]:
        return [Held(topic=t, partition=p, first=first, end=end) for t, p in places]

    hooks: Any = store
    made = BatchReading(hooks, held)
    made.begin({EVENTS: 10})
    return made


async def test_the_store_goes_on_behind_a_marker_once_it_has_applied_what_lies_before() -> None:
    store = Store(7)
    reading = reading_of(store)
    await reading.pass_empty({EVENTS: 12}, store.pass_empty)
    assert store.position == 7, "its batch is still being applied"
    assert reading.next == {EVENTS: 12}, "the next batch begins behind the marker"
    store.position = 10
    await reading.pass_empty({EVENTS: 13}, store.pass_empty)
    assert store.position == 13
    assert reading._empty_from == {}


async def test_nothing_is_passed_where_the_client_stands_at_the_next_record_or_before_it() -> None:
    store = Store(10)
    reading = reading_of(store)
    for reached in ({EVENTS: 10}, {EVENTS: 4}, {("requests", 0): 99}, {}):
        await reading.pass_empty(reached, store.pass_empty)
    assert (store.position, reading.next) == (10, {EVENTS: 10})


async def test_offsets_that_the_log_has_deleted_are_no_empty_ones() -> None:
    store = Store(10)
    with pytest.raises(PositionError, match="has deleted 20 records"):
        await reading_of(store, first=30).pass_empty({EVENTS: 30}, store.pass_empty)
    assert store.position == 10


async def test_what_a_seek_has_voided_is_not_passed() -> None:
    store = Store(10)
    reading = reading_of(store)
    reading.void()
    await reading.pass_empty({EVENTS: 12}, store.pass_empty)
    assert store.position == 10
