"""Seeks of the batch consumer: where reading begins, and what was fetched before is void."""

import asyncio
from collections.abc import Mapping
from typing import Any

from aiokafka import ConsumerRecord
from faust.types import TP

from streams import KafkaSettings
from streams.app import create_app
from streams.batches import Batch
from streams.faust_app import FaustApp
from streams.record_columns import RecordColumns, columns_of
from streams.transport import Consumer
from tests.waiting import within_patience

EVENTS = TP("events", 0)


def record(offset: int) -> ConsumerRecord[Any, Any]:
    return ConsumerRecord("events", 0, offset, 0, 0, None, b"v", None, 0, 1, ())


class Log:
    """In place of the thread: a partition that holds offsets `first` to `end`."""

    def __init__(self, first: int, end: int) -> None:
        self.first, self.end = first, end
        self.at = first
        self.sought: list[Mapping[TP, int]] = []

    @property
    def reached(self) -> Mapping[TP, int]:
        return {EVENTS: self.at}

    def assignment(self) -> set[TP]:
        return {EVENTS}

    async def seek_to_committed(self) -> dict[TP, int]:
        return {}

    async def earliest_offsets(self, *partitions: TP) -> dict[TP, int]:
        return dict.fromkeys(partitions, self.first)

    async def highwaters(self, *partitions: TP) -> dict[TP, int]:
        return dict.fromkeys(partitions, self.end)

    async def seek_wait(self, target: Mapping[TP, int]) -> None:
        self.sought.append(dict(target))
        self.at = target[EVENTS]

    async def getmany(self, _active: set[TP], _timeout: float) -> dict[TP, RecordColumns]:
        fetched = [record(offset) for offset in range(self.at, min(self.at + 10, self.end))]
        self.at += len(fetched)
        return {EVENTS: columns_of("events", 0, fetched)} if fetched else {}


def consumer_of(log: Log, *, position: int, rewind: int = 0) -> Consumer:
    """A consumer of batches of five records, of a store with a position."""
    app = create_app(
        "group", KafkaSettings(), batched={"events": 5},
        positions=lambda _topic, _partition: position, rewind=lambda _topic, _partition: rewind,
    )  # fmt: skip
    assert isinstance(app, FaustApp)
    app.opened.places = {EVENTS}
    consumer: Consumer = app.consumer
    consumer._thread = log  # type: ignore[assignment]
    consumer._set_active_tps({EVENTS})
    return consumer


async def batches(consumer: Consumer) -> list[Batch]:
    return [message.value async for _, message in consumer.getmany(timeout=0)]


def offsets(batch: Batch) -> list[int]:
    return [found.offset for found in batch]


async def test_reading_begins_as_far_before_the_position_as_the_store_asks() -> None:
    log = Log(first=0, end=500)
    consumer = consumer_of(log, position=100, rewind=30)

    await consumer.seek_to_committed()

    assert log.sought == [{EVENTS: 70}]
    assert [offsets(batch) for batch in await batches(consumer)] == [
        [70, 71, 72, 73, 74],
        [75, 76, 77, 78, 79],
    ]


async def test_a_rewind_ends_at_the_first_record_that_is_still_there() -> None:
    log = Log(first=90, end=500)
    consumer = consumer_of(log, position=100, rewind=30)

    await consumer.seek_to_committed()

    assert log.sought == [{EVENTS: 90}]
    assert offsets((await batches(consumer))[0])[0] == 90


async def test_what_was_fetched_before_a_seek_is_neither_handed_over_nor_skipped() -> None:
    log = Log(first=0, end=500)
    consumer = consumer_of(log, position=0)
    await consumer.seek_to_committed()
    fetched = consumer.getmany(timeout=0)
    _, first = await anext(fetched)
    assert offsets(first.value) == [0, 1, 2, 3, 4]
    assert consumer.reading.is_current(first.value)

    await consumer.seek_to_committed()  # the store still is at 0: the batch was not applied

    assert not consumer.reading.is_current(first.value)
    assert [message async for message in fetched] == []
    assert [offsets(batch) for batch in await batches(consumer)] == [
        [0, 1, 2, 3, 4],
        [5, 6, 7, 8, 9],
    ]


async def test_a_seek_while_a_jump_is_looked_into_voids_the_batch() -> None:
    log = Log(first=0, end=500)
    consumer = consumer_of(log, position=0)
    await consumer.seek_to_committed()
    log.at = 3  # compaction has removed offsets 0 to 2
    asked, go_on = asyncio.Event(), asyncio.Event()
    earliest = log.earliest_offsets

    async def wait(*partitions: TP) -> dict[TP, int]:
        asked.set()
        await go_on.wait()
        return await earliest(*partitions)

    log.earliest_offsets = wait  # type: ignore[method-assign]
    reading = asyncio.ensure_future(batches(consumer))
    await within_patience(asked.wait())
    log.earliest_offsets = earliest  # type: ignore[method-assign]
    await consumer.seek_to_committed()
    go_on.set()

    assert await within_patience(reading) == []
    assert offsets((await batches(consumer))[0]) == [0, 1, 2, 3, 4]


async def test_a_batch_of_a_revoked_partition_is_void_and_a_newer_one_is_not() -> None:
    consumer = consumer_of(Log(first=0, end=500), position=0)
    await consumer.seek_to_committed()
    (before, _) = await batches(consumer)
    consumer.void()
    assert not consumer.reading.is_current(before)

    await consumer.seek_to_committed()
    (after, _) = await batches(consumer)
    assert consumer.reading.is_current(after)
    assert not consumer.reading.is_current(before)
