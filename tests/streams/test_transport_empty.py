"""Offsets without a record: passed over where nothing was, refused where something was."""

from typing import Any

import pytest
from faust.types import TP

from streams.positions import Held, PositionError
from streams.transport import Consumer

EVENTS = TP("events", 0)


class Store:
    """Takes note of empty offsets once it has applied what lies before them."""

    def __init__(self, position: int) -> None:
        self.position = position
        self.from_group: frozenset[str] = frozenset()

    async def pass_empty(self, _tp: TP, first: int, end: int, _epoch: int) -> bool:
        if self.position < first:
            return False
        self.position = end
        return True


def consumer(store: Store, *, first: int = 0, end: int = 100) -> Consumer:
    """A consumer that has handed over all up to offset 10, of a log that holds [first, end)."""

    class OfLog(Consumer):
        async def _held(self, partitions: set[TP]) -> list[Held]:
            return [Held(topic=t, partition=p, first=first, end=end) for t, p in partitions]

    made: Any = object.__new__(OfLog)
    made.app, made._epoch, made._next, made._empty_from = store, 3, {EVENTS: 10}, {}
    made._positions = lambda *_: store.position
    return made  # type: ignore[no-any-return]


async def test_the_store_goes_on_behind_a_marker_once_it_has_applied_what_lies_before() -> None:
    store = Store(7)
    reading = consumer(store)
    await reading._pass_empty({EVENTS: 12}, 3)
    assert store.position == 7, "its batch is still being applied"
    assert reading._next == {EVENTS: 12}, "the next batch begins behind the marker"
    store.position = 10
    await reading._pass_empty({EVENTS: 13}, 3)
    assert store.position == 13
    assert reading._empty_from == {}


async def test_nothing_is_passed_where_the_client_stands_at_the_next_record_or_before_it() -> None:
    store = Store(10)
    reading = consumer(store)
    for reached in ({EVENTS: 10}, {EVENTS: 4}, {TP("requests", 0): 99}, {}):
        await reading._pass_empty(reached, 3)
    assert (store.position, reading._next) == (10, {EVENTS: 10})


async def test_offsets_that_the_log_has_deleted_are_no_empty_ones() -> None:
    store = Store(10)
    with pytest.raises(PositionError, match="has deleted 20 records"):
        await consumer(store, first=30)._pass_empty({EVENTS: 30}, 3)
    assert store.position == 10


async def test_what_a_seek_has_voided_is_not_passed() -> None:
    store = Store(10)
    reading = consumer(store)
    reading.void()
    await reading._pass_empty({EVENTS: 12}, 3)
    assert store.position == 10
