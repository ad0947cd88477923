"""Read topics of records from given offsets, in one pass or as records arrive."""

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import aclosing, asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.admin import Log
from streams.embedded import EmbeddedLog
from streams.log_record import LogRecord
from streams.offsets import end_offsets
from streams.security import KafkaSettings

__all__ = ["following", "in_parts", "read_from"]

POLL_MS = 500
#: Records that are read from the embedded log at once.
READ = 10_000


async def read_from(
    log: Log, topic: str, first: Mapping[int, int] | None = None
) -> list[LogRecord]:
    """Return the committed records of a topic up to its current end.

    first: the first offset of each partition; default: the earliest. Raises AdminError.
    """
    async with aclosing(in_parts(log, topic, first)) as parts:
        return [record async for records in parts for record in records]


async def in_parts(
    log: Log, topic: str, first: Mapping[int, int] | None = None
) -> AsyncGenerator[Sequence[LogRecord], None]:
    """Yield what `read_from` returns in lists, each of one partition in offset order."""
    starts = first or {}
    ends = (await asyncio.to_thread(end_offsets, log, [topic]))[topic]
    wanted = {p: end for p, end in ends.items() if starts.get(p, 0) < end}
    if not wanted:
        # Not in the block below: aiokafka 0.14 raises CancelledError out of `stop` when a consumer
        # is stopped before its first task has run.
        return
    if isinstance(log, EmbeddedLog):
        for partition, end in wanted.items():
            for records in _embedded(log, topic, partition, starts, end):
                yield records
        return
    async with _assigned(log, topic, {p: starts.get(p) for p in wanted}) as consumer:
        while True:
            for partition, end in list(wanted.items()):
                if await consumer.position(TopicPartition(topic, partition)) >= end:
                    del wanted[partition]
            if not wanted:
                return
            for records in (await consumer.getmany(timeout_ms=POLL_MS)).values():
                yield records


def _embedded(
    log: EmbeddedLog, topic: str, partition: int, starts: Mapping[int, int], end: int
) -> Iterator[list[LogRecord]]:
    at = max(starts.get(partition, 0), log.first_offset(topic, partition))
    while at < end and (records := log.read(topic, partition, at, READ)):
        yield [record for record in records if record.offset < end]
        at = records[-1].offset + 1


@asynccontextmanager
async def following(
    kafka: KafkaSettings, topic: str, first: Mapping[int, int]
) -> AsyncIterator[Callable[[], Awaitable[list[LogRecord]]]]:
    """Give a function that returns the records that arrived since its last call.

    It waits up to half a second for the first one.
    first: the first offset of each partition.
    """
    async with _assigned(kafka, topic, first) as consumer:

        async def poll() -> list[LogRecord]:
            found = await consumer.getmany(timeout_ms=POLL_MS)
            return [record for records in found.values() for record in records]

        yield poll


@asynccontextmanager
async def _assigned(
    kafka: KafkaSettings, topic: str, first: Mapping[int, int | None]
) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer of partitions from their first offsets; None: from the earliest."""
    async with AIOKafkaConsumer(
        enable_auto_commit=False, auto_offset_reset="earliest", **kafka.for_consumer()
    ) as consumer:
        consumer.assign([TopicPartition(topic, partition) for partition in first])
        for partition, offset in first.items():
            place = TopicPartition(topic, partition)
            if offset is None:
                await consumer.seek_to_beginning(place)
            else:
                consumer.seek(place, offset)
        yield consumer
