"""More partitions: Segue's keyed topics are written once more, each record where its key belongs.

Kafka can add partitions to a topic but moves no record: a user's next events would lie in another
partition than those before. So each topic is copied aside, created again, and copied back. Times
of the log, headers and the order of each key's records stay; offsets do not.
"""

import asyncio
import heapq
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from streams.admin import (
    add_partitions,
    create_topics,
    delete_topics,
    partition_counts,
    set_topic_config,
)
from streams.bulk import BATCH_BYTES, BATCHES_IN_FLIGHT
from streams.offsets import held_offsets
from streams.partitioner import Partitioner
from streams.reach import AdminError
from streams.security import KafkaSettings
from streams.topics import (
    ACCEPTED_BYTES,
    KEEP_FOR_EVER,
    TopicDefinition,
    TopicSettings,
    topics,
)

Progress = Callable[[str, int], None]
"""(topic, records copied of it so far)"""

TIMESTAMP_TYPE = "message.timestamp.type"
POLL_MS = 500


class GrowError(RuntimeError):
    """The topics cannot be given that many partitions; nothing was changed."""


async def grow_topics(
    kafka: KafkaSettings, settings: TopicSettings, partitions: int, progress: Progress
) -> dict[str, int]:
    """Give Segue's topics more partitions; returns by topic how many records were written again.

    No process may write to the topics or read them then. Events, impressions, catalogue and
    users are copied aside and back; examples and live popularity, which workers make again, begin
    empty; the other topics are given partitions where they are. A topic to which partitions were
    already added by other means is put right.

    May be called again after it was interrupted at any point: of each topic there is a whole copy
    at all times, and `.grown` beside a topic says that the copy aside is the whole one.
    Raises GrowError, or AdminError when Kafka does not answer or refuses.
    """
    wanted = {one.name: one for one in topics(replace(settings, partitions=partitions))}
    found = await asyncio.to_thread(partition_counts, kafka, wanted)
    more = {name: count for name, count in found.items() if count > wanted[name].partitions}
    if more:
        names = ", ".join(f"{name} has {count}" for name, count in sorted(more.items()))
        raise GrowError(f"topics never lose partitions: asked for {partitions}, but {names}")
    copied = {}
    # An installation of an earlier version has no topic of impressions.
    own = (settings.impressions,) if settings.impressions in found else ()
    for name in (settings.events, settings.catalogue, settings.users, *own):
        copied[name] = await _write_again(kafka, wanted[name], progress)
    made_again = (settings.examples, settings.demand)
    await asyncio.to_thread(delete_topics, kafka, made_again)
    await asyncio.to_thread(create_topics, kafka, wanted.values())
    for name, count in found.items():
        if name not in copied and name not in made_again and count < wanted[name].partitions:
            await asyncio.to_thread(add_partitions, kafka, name, wanted[name].partitions)
    return copied


async def _write_again(kafka: KafkaSettings, wanted: TopicDefinition, progress: Progress) -> int:
    """Write a topic once more; returns its records."""
    name, aside, whole = wanted.name, f"{wanted.name}.growing", f"{wanted.name}.grown"
    there = await asyncio.to_thread(partition_counts, kafka, (name, aside, whole))
    # By the time that the records had: the topic's own clock judges what comes later.
    timed = replace(wanted, config={**wanted.config, TIMESTAMP_TYPE: "CreateTime"})
    if whole not in there:
        if name not in there:
            raise GrowError(f"there is no topic {name}; create the topics first")
        await _create_again(
            kafka,
            replace(timed, name=aside, retention_ms=KEEP_FOR_EVER, cleanup_policy="delete"),
        )
        await _copy(kafka, name, aside, wanted.partitions, progress)
        marker = TopicDefinition(name=whole, partitions=1, replication=wanted.replication)
        await asyncio.to_thread(create_topics, kafka, (marker,))
    await _create_again(kafka, timed)
    records = await _copy(kafka, aside, name, wanted.partitions, progress)
    await asyncio.to_thread(
        set_topic_config, kafka, name, TIMESTAMP_TYPE, wanted.config[TIMESTAMP_TYPE]
    )
    # In this order: without the first the second is no copy of anything.
    await asyncio.to_thread(delete_topics, kafka, (whole,))
    await asyncio.to_thread(delete_topics, kafka, (aside,))
    return records


async def _create_again(kafka: KafkaSettings, definition: TopicDefinition) -> None:
    await asyncio.to_thread(delete_topics, kafka, (definition.name,))
    await asyncio.to_thread(create_topics, kafka, (definition,))


async def _copy(
    kafka: KafkaSettings, source: str, target: str, partitions: int, progress: Progress
) -> int:
    """Copy all records of a topic; returns how many, after all of them are acknowledged."""
    copied = 0
    producer = AIOKafkaProducer(
        **kafka.for_aiokafka(), acks="all", enable_idempotence=True, compression_type="zstd",
        max_batch_size=BATCH_BYTES, max_request_size=ACCEPTED_BYTES * 2,
    )  # fmt: skip
    partition_of = Partitioner(partitions)
    try:
        await producer.start()
        batches: list[Any] = [producer.create_batch() for _ in range(partitions)]
        in_flight: deque[asyncio.Future[Any]] = deque()

        async def send(partition: int) -> None:
            full, batches[partition] = batches[partition], producer.create_batch()
            if full.record_count():
                in_flight.append(await producer.send_batch(full, target, partition=partition))
            if len(in_flight) > BATCHES_IN_FLIGHT:
                await in_flight.popleft()

        async for record in _in_order_of_time(kafka, source):
            # Without a key it belongs nowhere in particular; every decoder refuses it.
            partition = record.partition if record.key is None else partition_of(record.key)
            fields = {
                "key": record.key,
                "value": record.value,
                "timestamp": record.timestamp if record.timestamp >= 0 else None,
                "headers": list(record.headers),
            }
            if batches[partition].append(**fields) is None:
                await send(partition)
                batches[partition].append(**fields)
            copied += 1
            if copied % 10_000 == 0:
                progress(target, copied)
        for partition in range(partitions):
            await send(partition)
        while in_flight:
            await in_flight.popleft()
    except KafkaError as error:
        raise AdminError(
            f"copying {source} to {target} stopped after {copied:,} records: {error!r}. Run segue "
            "topics grow again: it goes on from the last whole copy"
        ) from error
    finally:
        await producer.stop()
    progress(target, copied)
    return copied


async def _in_order_of_time(
    kafka: KafkaSettings, topic: str
) -> AsyncIterator[ConsumerRecord[bytes | None, bytes | None]]:
    """Yield the records of all partitions by the log's time, each partition in its own order.

    So the records of a key that added partitions have separated come in the right order.
    """
    held = await asyncio.to_thread(held_offsets, kafka, [topic])
    ends = {
        TopicPartition(*place): part.end for place, part in held.items() if part.first < part.end
    }
    if not ends:
        return
    async with AIOKafkaConsumer(
        enable_auto_commit=False, auto_offset_reset="none", **kafka.for_consumer()
    ) as consumer:
        consumer.assign(list(ends))
        for place in ends:
            consumer.seek(place, held[place.topic, place.partition].first)
        waiting: dict[TopicPartition, deque[Any]] = {place: deque() for place in ends}
        heap: list[tuple[int, int, TopicPartition]] = []

        async def show_next(place: TopicPartition) -> None:
            """Put the partition's next record's time on the heap, if there is one."""
            queue, heard = waiting[place], time.monotonic()
            while not queue and await consumer.position(place) < ends[place]:
                fetched = await consumer.getmany(place, timeout_ms=POLL_MS)
                queue.extend(r for rs in fetched.values() for r in rs if r.offset < ends[place])
                if not fetched and time.monotonic() - heard > kafka.request_timeout_ms / 1000:
                    raise AdminError(
                        f"Kafka at {kafka.bootstrap_servers} has stopped sending records of {topic}"
                    )
            if queue:
                heapq.heappush(heap, (queue[0].timestamp, place.partition, place))

        for place in ends:
            await show_next(place)
        while heap:
            _, _, place = heapq.heappop(heap)
            yield waiting[place].popleft()
            await show_next(place)
