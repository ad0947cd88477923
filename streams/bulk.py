"""Writing many records as fast as one process can: feeding a history, filling a catalogue.

Not for single answers while streaming: records wait here until a batch is full.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from streams.admin import Log, partition_counts
from streams.embedded import EmbeddedLog
from streams.partitioner import Partitioner
from streams.reach import require_broker
from streams.security import KafkaSettings
from streams.topics import ACCEPTED_BYTES

KeyValue = tuple[bytes | None, bytes | None]
Progress = Callable[[int], None]

# Measured with 400,000 events of 130 bytes on one core, records per second of processor time:
# zstd 410,000 at 64 KiB, 490,000 at 256 KiB, 550,000 at 1 MiB; lz4 250,000 to 350,000; without
# compression 600,000, with four times the bytes to send and to keep.
BATCH_BYTES = 512 * 1024
BATCHES_IN_FLIGHT = 16
EMBEDDED_BATCH = 4_096
REPORT_EVERY = 20_000


class BulkWriteError(RuntimeError):
    """The log stopped taking records; the message says after how many."""


async def bulk_write(
    log: Log,
    topic: str,
    partitions: int,
    records: Iterable[KeyValue],
    on_progress: Progress | None = None,
    *,
    compression: str | None = "zstd",
) -> int:
    """Write keys and values to the partitions that Kafka's own producer would choose.

    Returns the number of records, after all are acknowledged by all in-sync replicas; order is
    kept within a partition. Records without a key go to the partitions in turn.
    partitions:  number of partitions of the topic; checked, for a wrong number would put records
                 where no reader finds them.
    on_progress: called with the number of records taken so far, every 20,000 and at the end.
    compression: of batches on the wire and in Kafka: None, "gzip", "lz4", "zstd".
    Raises BulkWriteError when Kafka does not take them, and some may have been written then; and
    before anything is written when the topic is not there or has other partitions.
    """
    progress = on_progress or _silent
    found = (await asyncio.to_thread(partition_counts, log, [topic])).get(topic)
    if found is None:
        raise BulkWriteError(f"there is no topic {topic}; create the topics first")
    if found != partitions:
        raise BulkWriteError(f"topic {topic} has {found} partitions, expected {partitions}")
    if isinstance(log, EmbeddedLog):
        return await _write_embedded(log, topic, partitions, records, progress)
    return await _write_kafka(log, topic, partitions, records, progress, compression)


async def _write_kafka(
    kafka: KafkaSettings,
    topic: str,
    partitions: int,
    records: Iterable[KeyValue],
    progress: Progress,
    compression: str | None,
) -> int:
    await asyncio.to_thread(require_broker, kafka)
    producer = AIOKafkaProducer(
        **kafka.for_aiokafka(),
        acks="all",
        enable_idempotence=True,
        compression_type=compression,
        max_batch_size=BATCH_BYTES,
        max_request_size=ACCEPTED_BYTES * 2,
    )
    taken = 0
    try:
        await producer.start()
        partition_of = Partitioner(partitions)
        batches: list[Any] = [producer.create_batch() for _ in range(partitions)]
        in_flight: deque[asyncio.Future[Any]] = deque()

        async def send(partition: int) -> None:
            full, batches[partition] = batches[partition], producer.create_batch()
            if full.record_count():
                in_flight.append(await producer.send_batch(full, topic, partition=partition))
            if len(in_flight) > BATCHES_IN_FLIGHT:
                await in_flight.popleft()

        for key, value in records:
            partition = partition_of(key)
            if batches[partition].append(key=key, value=value, timestamp=None) is None:
                await send(partition)
                # The first record of a batch is always taken, however long it is.
                batches[partition].append(key=key, value=value, timestamp=None)
            taken += 1
            if taken % REPORT_EVERY == 0:
                progress(taken)
        for partition in range(partitions):
            await send(partition)
        while in_flight:
            await in_flight.popleft()
    except KafkaError as error:
        raise BulkWriteError(
            f"Kafka at {kafka.bootstrap_servers} stopped taking records of {topic} after {taken} "
            f"were handed over: {error!r}"
        ) from error
    finally:
        await producer.stop()
    progress(taken)
    return taken


async def _write_embedded(
    log: EmbeddedLog,
    topic: str,
    partitions: int,
    records: Iterable[KeyValue],
    progress: Progress,
) -> int:
    partition_of = Partitioner(partitions)
    taken = 0
    source = iter(records)
    while batch := list(itertools.islice(source, EMBEDDED_BATCH)):
        parts: list[list[KeyValue]] = [[] for _ in range(partitions)]
        for record in batch:
            parts[partition_of(record[0])].append(record)
        for partition, part in enumerate(parts):
            if part:
                log.append_many(topic, partition, part)
        taken += len(batch)
        progress(taken)
        await asyncio.sleep(0)  # others on this event loop may want to read meanwhile
    return taken


def _silent(_: int) -> None:
    return None
