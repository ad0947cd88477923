"""Reading topics from given positions without end, as one of many readers that join no group."""

import asyncio
from bisect import bisect_left
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from streams.admin import Log, partition_counts
from streams.broadcast import read_again
from streams.embedded import EmbeddedLog
from streams.log_record import INT64_MAX, LogRecord
from streams.offsets import held_offsets
from streams.reach import AdminError
from streams.security import KafkaSettings

__all__ = [
    "Limit", "Log", "Place", "Take", "follow", "for_ever", "read_all_whole", "read_whole",
]  # fmt: skip

Place = tuple[str, int]
Take = Callable[[Sequence[LogRecord]], Awaitable[None]]

PassEmpty = Callable[[Place, int, int], Awaitable[None]]
"""(place, first, end): no offset from `first` up to `end` holds a record."""
Limit = Callable[[Place], int]
"""place -> first offset that is not to be handed over now."""

IDLE_S = 0.02
#: Between two looks at the limits while there is nothing below them.
WAIT_S = 0.1
MISSING_S = 2.0
POLL_MS = 500
#: Records of a whole topic that are handed over at once.
WHOLE = 4_096


async def _pass_nothing(_place: Place, _first: int, _end: int) -> None:
    """Take no note of offsets without records."""


def _no_limit(_place: Place) -> int:
    return INT64_MAX


def follow(
    log: Log,
    positions: Mapping[Place, int],
    limit: int,
    passed: PassEmpty = _pass_nothing,
    *,
    below: Limit = _no_limit,
    ended: Callable[[], bool] = lambda: False,
) -> AsyncIterator[Sequence[LogRecord]]:
    """Yield records of (topic, partition) places from positions on, in offset order.

    Each list is of one place, not empty, and no longer than `limit`. Raises KafkaError when the
    connection cannot be had, OffsetOutOfRangeError when a position is gone from the log.
    passed: told of offsets without records (markers of transactions, aborted records), once the
    receiver has dealt with all that lies before them.
    below: records from there on wait until it is greater. ended: asked several times a second; the
    reading ends when it holds.
    """
    if isinstance(log, EmbeddedLog):
        return _follow_embedded(log, dict(positions), limit, below, ended)
    return _follow_kafka(log, positions, limit, passed, below, ended)


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

        async def passed(place: Place, _: int, end: int) -> None:
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
            await passed(place, end, end)

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
    log: EmbeddedLog,
    at: dict[Place, int],
    limit: int,
    below: Limit,
    ended: Callable[[], bool],
) -> AsyncIterator[Sequence[LogRecord]]:
    while not ended():
        moved = False
        for place, position in at.items():
            first = max(position, log.first_offset(*place))
            most = min(limit, below(place) - first)
            if most > 0 and (records := log.read(*place, first, most)):
                yield records
                at[place] = records[-1].offset + 1
                moved = True
        await asyncio.sleep(0 if moved else IDLE_S)


async def _follow_kafka(
    kafka: KafkaSettings,
    positions: Mapping[Place, int],
    limit: int,
    passed: PassEmpty,
    below: Limit,
    ended: Callable[[], bool],
) -> AsyncIterator[Sequence[LogRecord]]:
    async with AIOKafkaConsumer(
        enable_auto_commit=False, auto_offset_reset="none", **kafka.for_consumer()
    ) as consumer:
        places = {TopicPartition(*place): offset for place, offset in positions.items()}
        consumer.assign(list(places))
        for place, offset in places.items():
            consumer.seek(place, offset)
        # What was fetched of a place and lies behind its limit.
        rest: dict[TopicPartition, Sequence[LogRecord]] = {}
        while not ended():
            free = [p for p, offset in places.items() if p not in rest and offset < below(p)]
            fetch = partial(consumer.getmany, timeout_ms=POLL_MS, max_records=limit)
            if not free:
                await asyncio.sleep(WAIT_S)
            fetched = rest | (await fetch(*free) if free else {})
            rest = {}
            for place, records in fetched.items():
                count = _below(records, below(place))
                if records[count:]:
                    rest[place] = records[count:]
                if count:
                    yield records[:count]
                    places[place] = records[count - 1].offset + 1
            for place, offset in places.items():
                reached = await consumer.position(place)
                if reached > offset and place not in rest:
                    await passed((place.topic, place.partition), offset, reached)
                    places[place] = reached


def _below(records: Sequence[LogRecord], end: int) -> int:
    """Count the records below an offset; they are in offset order."""
    return bisect_left(records, end, key=lambda record: record.offset)
