"""Reading spans of partitions, from one offset up to another, once and at full speed.

No group is joined and nothing is written: the log does not notice more than that it is read.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from streams.admin import Log
from streams.embedded import EmbeddedLog
from streams.log_record import LogRecord
from streams.offsets import held_offsets
from streams.reach import UnreachableError
from streams.security import KafkaSettings

# Ten times aiokafka's own: records of several batches are decoded while the next are on their way.
FETCH_BYTES = 10 * 1024 * 1024
POLL_MS = 500


@dataclass(frozen=True, kw_only=True)
class Span:
    """The records of a partition from offset `first` up to, not including, `end`."""

    topic: str
    partition: int
    first: int
    end: int

    def __len__(self) -> int:
        return max(self.end - self.first, 0)


class SpanReader(Protocol):
    """Reads spans of one log."""

    def read(self, span: Span, limit: int) -> AsyncIterator[Sequence[LogRecord]]:
        """Yield the records of a span in offset order, in lists of at most `limit`, never empty.

        Compaction leaves gaps. Raises PositionError if the log deletes records of the span before
        they are read, UnreachableError if it stops answering.
        """


@asynccontextmanager
async def open_reader(log: Log) -> AsyncIterator[SpanReader]:
    """Open a reader of a Kafka cluster or of an embedded log."""
    if isinstance(log, EmbeddedLog):
        yield _EmbeddedReader(log)
        return
    reader = _KafkaReader(log)
    try:
        yield reader
    finally:
        await reader.close()


class _KafkaReader:
    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._started: AIOKafkaConsumer | None = None

    async def close(self) -> None:
        if self._started is not None:
            await self._started.stop()

    async def _consumer(self) -> AIOKafkaConsumer:
        """Start the consumer with the first span that has records.

        Not sooner: aiokafka 0.14 raises CancelledError out of `stop` when a consumer is stopped
        before its first task has run.
        """
        if self._started is not None:
            return self._started
        consumer = AIOKafkaConsumer(
            **self._kafka.for_consumer(),
            enable_auto_commit=False,
            # An offset that is gone is an error here, not a reason to go on elsewhere.
            auto_offset_reset="none",
            max_partition_fetch_bytes=FETCH_BYTES,
        )
        try:
            await consumer.start()
        except KafkaError as error:
            await consumer.stop()
            raise UnreachableError(
                f"no Kafka broker answers at {self._kafka.bootstrap_servers}: {error!r}"
            ) from error
        self._started = consumer
        return consumer

    async def read(self, span: Span, limit: int) -> AsyncIterator[Sequence[LogRecord]]:
        if not len(span):
            return
        place, consumer = TopicPartition(span.topic, span.partition), await self._consumer()
        consumer.assign([place])
        consumer.seek(place, span.first)
        heard = time.monotonic()
        while await consumer.position(place) < span.end:
            try:
                fetched = await consumer.getmany(place, timeout_ms=POLL_MS, max_records=limit)
            except OffsetOutOfRangeError:
                held = await asyncio.to_thread(held_offsets, self._kafka, [span.topic])
                held[span.topic, span.partition].check(await consumer.position(place))
                raise
            for records in fetched.values():
                heard = time.monotonic()
                inside = records
                if records and records[-1].offset >= span.end:
                    inside = [record for record in records if record.offset < span.end]
                if inside:
                    yield inside
            if time.monotonic() - heard > self._kafka.request_timeout_ms / 1000:
                raise UnreachableError(
                    f"Kafka at {self._kafka.bootstrap_servers} has stopped sending records of "
                    f"{span.topic}/{span.partition} at offset {await consumer.position(place)}"
                )


class _EmbeddedReader:
    def __init__(self, log: EmbeddedLog) -> None:
        self._log = log

    async def read(self, span: Span, limit: int) -> AsyncIterator[Sequence[LogRecord]]:
        at = span.first
        while at < span.end:
            records = self._log.read(span.topic, span.partition, at, min(limit, span.end - at))
            inside = [record for record in records if record.offset < span.end]
            if not inside:
                return
            yield inside
            at = inside[-1].offset + 1
            await asyncio.sleep(0)  # others on this event loop may want to go on
