"""Reading topics from given positions without end, as one of many readers that join no group."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from streams import AdminError, EmbeddedLog, KafkaSettings, LogRecord, held_offsets
from streams.admin import partition_counts
from streams.broadcast import read_again

__all__ = ["Log", "Place", "Take", "follow", "for_ever", "read_all_whole", "read_whole"]

Log = KafkaSettings | EmbeddedLog
Place = tuple[str, int]
Take = Callable[[Sequence[LogRecord]], Awaitable[None]]

PassEmpty = Callable[[Place, int, int], None]
"""(place, first, end): no offset from `first` up to `end` holds a record."""

IDLE_S = 0.02
MISSING_S = 2.0
POLL_MS = 500
#: Records of a whole topic that are handed over at once.
WHOLE = 4_096


def _pass_nothing(_place: Place, _first: int, _end: int) -> None:
    """Take no note of offsets without records."""


def follow(
    log: Log, positions: Mapping[Place, int], limit: int, passed: PassEmpty = _pass_nothing
) -> AsyncIterator[Sequence[LogRecord]]:
    """Yield records of (topic, partition) places from positions on, in offset order, without end.

    Each list is of one place, not empty, and no longer than `limit`. Raises KafkaError when the
    connection cannot be had, OffsetOutOfRangeError when a position is gone from the log.
    passed: told of offsets without records (markers of transactions, aborted records), once the
    receiver has dealt with all that lies before them.
    """
    if isinstance(log, EmbeddedLog):
        return _follow_embedded(log, dict(positions), limit)
    return _follow_kafka(log, positions, limit, passed)


async def read_whole(
    log: Log,
    topic: str,
    take: Take,
    newest: int | None = None,
    caught_up: Callable[[], None] = lambda: None,
    *,
    optional: bool = False,
) -> None:
    """Pass on a complete topic and new records; after a lost connection from the start.

    newest: of what is there, only so many records of each partition. caught_up: called each time
    that a reading has handed over all that the topic held when it began. optional: a topic that
    does not exist, as in a log of an earlier version, is empty until it does.
    """

    async def read() -> None:
        while optional and not await asyncio.to_thread(partition_counts, log, (topic,)):
            caught_up()
            await asyncio.sleep(MISSING_S)
        held = await asyncio.to_thread(held_offsets, log, (topic,))
        left = {place: part.end for place, part in held.items() if part.end > part.first}

        def passed(place: Place, _: int, end: int) -> None:
            if left and end >= left.get(place, end + 1):
                del left[place]
                if not left:
                    caught_up()

        if not left:
            caught_up()
        first = {
            place: part.first if newest is None else max(part.first, part.end - newest)
            for place, part in held.items()
        }
        async for records in follow(log, first, WHOLE, passed):
            await take(records)
            place, end = (records[0].topic, records[0].partition), records[-1].offset + 1
            passed(place, end, end)

    await for_ever(read, topic)


def read_all_whole(
    log: Log, topics: Sequence[str], take: Take, caught_up: Callable[[], None]
) -> list[Coroutine[Any, Any, None]]:
    """Return what reads several topics as `read_whole` does.

    caught_up: called once each topic was read to the end that it had.
    """
    left = set(topics)

    def read(topic: str) -> None:
        left.discard(topic)
        if not left:
            caught_up()

    return [read_whole(log, topic, take, caught_up=partial(read, topic)) for topic in topics]


async def for_ever(read: Callable[[], Awaitable[None]], what: str) -> None:
    """Read continuously; a deleted position raises, because waiting does not help."""
    await read_again(read, what, retried=(KafkaError, AdminError), fatal=(OffsetOutOfRangeError,))


async def _follow_embedded(
    log: EmbeddedLog, at: dict[Place, int], limit: int
) -> AsyncIterator[Sequence[LogRecord]]:
    while True:
        moved = False
        for place, position in at.items():
            records = log.read(*place, max(position, log.first_offset(*place)), limit)
            if records:
                yield records
                at[place] = records[-1].offset + 1
                moved = True
        await asyncio.sleep(0 if moved else IDLE_S)


async def _follow_kafka(
    kafka: KafkaSettings, positions: Mapping[Place, int], limit: int, passed: PassEmpty
) -> AsyncIterator[Sequence[LogRecord]]:
    async with AIOKafkaConsumer(
        enable_auto_commit=False, auto_offset_reset="none", **kafka.for_consumer()
    ) as consumer:
        places = {TopicPartition(*place): offset for place, offset in positions.items()}
        consumer.assign(list(places))
        for place, offset in places.items():
            consumer.seek(place, offset)
        while True:
            fetched = await consumer.getmany(timeout_ms=POLL_MS, max_records=limit)
            for place, records in fetched.items():
                if records:
                    yield records
                    places[place] = records[-1].offset + 1
            for place, offset in places.items():
                reached = await consumer.position(place)
                if reached > offset:
                    passed((place.topic, place.partition), offset, reached)
                    places[place] = reached
