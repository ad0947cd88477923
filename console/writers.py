"""Where the console writes records: to Kafka, or to the embedded log."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Protocol

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from streams import EmbeddedLog, KafkaSettings, Source
from streams.embedded import EmbeddedLogError
from streams.outbox import filled
from streams.partitioner import murmur2_partitions
from streams.rights import explained_refusal
from streams.topics import ACCEPTED_BYTES

__all__ = ["EmbeddedWriter", "KafkaWriter", "KeyValue", "NotWritten", "Placed", "Writer"]

logger = logging.getLogger(__name__)

KeyValue = tuple[bytes, bytes | None]
Placed = tuple[int, int]
"""(partition, offset)"""

BATCH_BYTES = 512 * 1024
#: Seconds in which records that are not acknowledged yet may still be sent when the console ends.
CLOSE_S = 5.0


class NotWritten(Exception):
    """The log did not take records, or did not say that it has them; some may be written."""


class Writer(Protocol):
    """Where records are written. All methods but `close` raise NotWritten."""

    async def append(self, topic: str, key: bytes, value: bytes | None) -> Source:
        """Write a record; returns its place once it is safe."""

    async def append_many(self, topic: str, records: Sequence[KeyValue]) -> list[Placed]:
        """Write records, each to the partition of its key, in order within a partition.

        Returns partition and offset of each once all are safe.
        """

    async def close(self) -> None:
        """Let go of the connection."""


class EmbeddedWriter:
    """Writes to the embedded log."""

    def __init__(self, log: EmbeddedLog) -> None:
        """Write to `log`."""
        self._log = log

    async def append(self, topic: str, key: bytes, value: bytes | None) -> Source:
        """Append a record."""
        return await _append(self, topic, key, value)

    async def append_many(self, topic: str, records: Sequence[KeyValue]) -> list[Placed]:
        """Append records; not on the event loop, since a disk may be slow."""
        try:
            return await asyncio.to_thread(self._append, topic, records)
        except (OSError, EmbeddedLogError) as error:
            raise NotWritten(str(error)) from error

    def _append(self, topic: str, records: Sequence[KeyValue]) -> list[Placed]:
        places: list[Placed] = [(-1, -1)] * len(records)
        for partition, rows in _by_partition(records, self._log.partitions(topic)).items():
            first = self._log.append_many(topic, partition, [records[row] for row in rows])
            for offset, row in enumerate(rows, first):
                places[row] = (partition, offset)
        return places

    async def close(self) -> None:
        """Leave the log to its owner."""


class KafkaWriter:
    """Writes to Kafka; connects with the first record, since most consoles never write.

    A record is safe once all in-sync replicas have it (acks=all). The producer is idempotent: its
    own retries write nothing twice. It retries until the broker answers, for as long as the console
    runs.
    """

    def __init__(self, kafka: KafkaSettings) -> None:
        """Connect when needed."""
        self._kafka = kafka
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()

    async def append(self, topic: str, key: bytes, value: bytes | None) -> Source:
        """Write a record and wait for its acknowledgement."""
        return await _append(self, topic, key, value)

    async def append_many(self, topic: str, records: Sequence[KeyValue]) -> list[Placed]:
        """Write records in whole batches and wait for their acknowledgement."""
        try:
            producer = await self._connected()
            parts = _by_partition(records, len(await producer.partitions_for(topic)))
        except KafkaError as error:
            raise self._not_written(error) from error
        found = await asyncio.gather(
            *(_write_part(producer, topic, n, records, rows) for n, rows in parts.items()),
            return_exceptions=True,
        )
        places: list[Placed] = [(-1, -1)] * len(records)
        for (partition, rows), offsets in zip(parts.items(), found, strict=True):
            if isinstance(offsets, BaseException):
                # After a failure the order of what comes next is not certain: connect again.
                await self._let_go(producer)
                if isinstance(offsets, KafkaError):
                    raise self._not_written(offsets) from offsets
                raise offsets
            for row, offset in zip(rows, offsets, strict=True):
                places[row] = (partition, offset)
        return places

    def _not_written(self, error: KafkaError) -> NotWritten:
        refused = explained_refusal(self._kafka.sasl_username, error)
        return NotWritten(refused or f"Kafka did not take the records: {error!r}")

    async def close(self) -> None:
        """Send what can still be sent, and close the connection."""
        if self._producer is not None:
            await self._let_go(self._producer)

    async def _connected(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    **self._kafka.for_aiokafka(), acks="all", enable_idempotence=True,
                    compression_type="zstd", max_batch_size=BATCH_BYTES,
                    max_request_size=ACCEPTED_BYTES * 2,
                )  # fmt: skip
                try:
                    await producer.start()
                except BaseException:
                    await producer.stop()
                    raise
                self._producer = producer
        return self._producer

    async def _let_go(self, producer: AIOKafkaProducer) -> None:
        if self._producer is producer:
            self._producer = None
        try:
            await asyncio.wait_for(producer.stop(), CLOSE_S)
        except (KafkaError, TimeoutError) as error:
            logger.warning("unacknowledged records may not have been written: %r", error)


async def _write_part(
    producer: AIOKafkaProducer, topic: str, partition: int,
    records: Sequence[KeyValue], rows: Sequence[int],
) -> list[int]:  # fmt: skip
    """Write some rows of records to a partition; returns the offset of each."""
    sent: list[tuple[asyncio.Future[Any], int]] = []
    none: list[tuple[str, bytes]] = []
    chosen = ((*records[row], none) for row in rows)
    for batch, held in filled(producer.create_batch, chosen):
        sent.append((await producer.send_batch(batch, topic, partition=partition), held))
    offsets: list[int] = []
    for acknowledged, held in sent:
        first = (await acknowledged).offset
        if first < 0:
            raise KafkaError(f"{topic}/{partition}: the broker gave no offset")
        offsets += range(first, first + held)
    return offsets


async def _append(writer: Writer, topic: str, key: bytes, value: bytes | None) -> Source:
    [(partition, offset)] = await writer.append_many(topic, [(key, value)])
    return Source(topic=topic, partition=partition, offset=offset)


def _by_partition(records: Sequence[KeyValue], partitions: int) -> dict[int, list[int]]:
    """Return the rows of the records of each partition, in order."""
    chosen = murmur2_partitions([key for key, _ in records], partitions).tolist()
    rows: dict[int, list[int]] = defaultdict(list)
    for row, partition in enumerate(chosen):
        rows[partition].append(row)
    return rows
