"""Reading topics from given positions without end, as one of many readers that join no group."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from streams import AdminError, EmbeddedLog, KafkaSettings, LogRecord, held_offsets
from streams.broadcast import read_again

__all__ = ["Log", "Place", "Take", "follow", "for_ever", "read_whole"]

Log = KafkaSettings | EmbeddedLog
Place = tuple[str, int]
Take = Callable[[Sequence[LogRecord]], Awaitable[None]]

IDLE_S = 0.02
POLL_MS = 500
#: Records of a whole topic that are handed over at once.
WHOLE = 4_096


def follow(
    log: Log, positions: Mapping[Place, int], limit: int
) -> AsyncIterator[Sequence[LogRecord]]:
    """Yield records of (topic, partition) places from positions on, in offset order, for ever.

    Each list is of one place, not empty, and no longer than `limit`. Raises KafkaError when the
    connection cannot be had, OffsetOutOfRangeError when a position is gone from the log.
    """
    if isinstance(log, EmbeddedLog):
        return _follow_embedded(log, dict(positions), limit)
    return _follow_kafka(log, positions, limit)


async def read_whole(log: Log, topic: str, take: Take, newest: int | None = None) -> None:
    """Hand over a whole topic, and what comes, for ever; after a lost connection once more.

    newest: of what is there, only so many records of each partition.
    """

    async def read() -> None:
        held = await asyncio.to_thread(held_offsets, log, (topic,))
        first = {
            place: part.first if newest is None else max(part.first, part.end - newest)
            for place, part in held.items()
        }
        async for records in follow(log, first, WHOLE):
            await take(records)

    await for_ever(read, topic)


async def for_ever(read: Callable[[], Awaitable[None]], what: str) -> None:
    """Read for ever; a position that is gone from the log does not come back by waiting."""
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
    kafka: KafkaSettings, positions: Mapping[Place, int], limit: int
) -> AsyncIterator[Sequence[LogRecord]]:
    async with AIOKafkaConsumer(
        enable_auto_commit=False, auto_offset_reset="none", **kafka.for_aiokafka()
    ) as consumer:
        places = {TopicPartition(*place): offset for place, offset in positions.items()}
        consumer.assign(list(places))
        for place, offset in places.items():
            consumer.seek(place, offset)
        while True:
            for records in (await consumer.getmany(timeout_ms=POLL_MS, max_records=limit)).values():
                if records:
                    yield records
