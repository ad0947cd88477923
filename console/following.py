"""Reading topics from given positions without end, as one of many readers that join no group."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition

from streams import EmbeddedLog, KafkaSettings, LogRecord

__all__ = ["Log", "Place", "follow"]

Log = KafkaSettings | EmbeddedLog
Place = tuple[str, int]

IDLE_S = 0.02
POLL_MS = 500


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
