"""librdkafka's producer behind an outbox: idempotent, acknowledged by all replicas."""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Awaitable
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from streams.client_thread import ClientThread
from streams.consumer_thread import CLOSE_S
from streams.log_levels import LIBRDKAFKA
from streams.outbox import BATCH_BYTES, RECORD_BYTES, Headers
from streams.security import KafkaSettings

__all__ = ["LibrdkafkaProducer", "RecordList"]

log = logging.getLogger(LIBRDKAFKA)

# Records wait this long for others; what is sent one by one shares requests.
_LINGER_MS = 2
_POLL_S = 0.1
_ANSWER_S = 10.0
# As long as aiokafka's metadata may be old.
_PARTITIONS_AGE_S = 300.0


class RecordList:
    """Records of one partition on their way together; `append` returns None when it is full."""

    def __init__(self) -> None:
        """Hold none yet."""
        self.rows: list[tuple[bytes | None, bytes | None, Headers]] = []
        self._bytes = 0

    def append(
        self, *, timestamp: None, key: bytes | None, value: bytes | None, headers: Headers
    ) -> object | None:
        """Add a record, or return None if it does not fit; the first one always does."""
        length = len(key or b"") + len(value or b"")
        if self.rows and self._bytes + length > BATCH_BYTES:
            return None
        self._bytes += length
        self.rows.append((key, value, headers))
        return self


class _Acknowledgement:
    """Counts the records of one future that are not acknowledged yet."""

    def __init__(self, records: int, loop: asyncio.AbstractEventLoop) -> None:
        self.future: asyncio.Future[None] = loop.create_future()
        self._left = records
        self._error: KafkaError | None = None
        self._loop = loop

    def told(self, error: KafkaError | None, _message: Message) -> None:
        """Take a delivery report, in the thread that polls."""
        self._error = self._error or error
        self._left -= 1
        if not self._left:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        if self.future.done():
            return
        if self._error is None:
            self.future.set_result(None)
        else:
            self.future.set_exception(KafkaException(self._error))


class LibrdkafkaProducer:
    """A `streams.outbox.Sends` on librdkafka; connects with the first record."""

    def __init__(self, kafka: KafkaSettings, *, compression: str | None) -> None:
        """Prepare a producer. compression: lz4, zstd, gzip, snappy or None."""
        self._properties = kafka.for_librdkafka() | {
            "acks": "all",
            "enable.idempotence": True,
            # Keys find the partitions that Kafka's own clients choose.
            "partitioner": "murmur2_random",
            "compression.type": compression or "none",
            "batch.size": BATCH_BYTES,
            "message.max.bytes": RECORD_BYTES,
            "linger.ms": _LINGER_MS,
            "reconnect.backoff.max.ms": 1_000,
            "log.connection.close": False,
        }
        self._made: Producer | None = None
        self._polling: threading.Thread | None = None
        self._closed = threading.Event()
        self._questions: ClientThread | None = None
        self._partitions: dict[str, tuple[float, int]] = {}

    async def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: float | None,
        headers: Headers | None,
    ) -> Awaitable[None]:
        """Queue one record; the awaitable returned is its acknowledgement."""
        acknowledgement = _Acknowledgement(1, asyncio.get_running_loop())
        more: dict[str, Any] = {} if partition is None else {"partition": partition}
        if timestamp is not None:
            more["timestamp"] = int(timestamp * 1000)
        await self._queue(acknowledgement, topic, key, value, headers, **more)
        return acknowledgement.future

    async def partitions(self, topic: str) -> int:
        """Return how many partitions a topic has. Raises KafkaException."""
        asked_at, count = self._partitions.get(topic, (0.0, 0))
        if not count or time.monotonic() - asked_at > _PARTITIONS_AGE_S:
            self._questions = self._questions or ClientThread("kafka metadata")
            found = await self._questions.call(self._producer.list_topics, topic, _ANSWER_S)
            described = found.topics[topic]
            if described.error is not None:
                raise KafkaException(described.error)
            count = len(described.partitions)
            self._partitions[topic] = time.monotonic(), count
        return count

    def create_batch(self) -> RecordList:
        """Return an empty list of records: `append` returns None when it is full."""
        return RecordList()

    async def send_batch(self, batch: RecordList, topic: str, partition: int) -> Awaitable[None]:
        """Queue records; the awaitable returned is the acknowledgement of all of them."""
        acknowledgement = _Acknowledgement(len(batch.rows), asyncio.get_running_loop())
        for key, value, headers in batch.rows:
            await self._queue(acknowledgement, topic, key, value, headers, partition=partition)
        return acknowledgement.future

    async def close(self) -> None:
        """Write what is queued, if Kafka answers within CLOSE_S, and end."""
        if self._made is not None:
            self._questions = self._questions or ClientThread("kafka metadata")
            left = await self._questions.call(self._made.flush, CLOSE_S)
            if left:
                log.warning("the producer was closed before %d last records were stored", left)
        self._closed.set()
        if self._questions is not None:
            self._questions.end()

    async def _queue(
        self,
        acknowledgement: _Acknowledgement,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Headers | None,
        **more: Any,
    ) -> None:
        while True:
            try:
                self._producer.produce(
                    topic, value, key, on_delivery=acknowledgement.told,
                    headers=list(headers) if headers else None, **more,
                )  # fmt: skip
            except BufferError:
                await asyncio.sleep(_POLL_S / 10)  # until acknowledgements have made room
            except KafkaException as error:  # refused at once, such as a record that is too long
                acknowledgement.told(error.args[0], None)
                return
            else:
                return

    @property
    def _producer(self) -> Producer:
        if self._made is None:
            self._made = Producer(self._properties, logger=log)
            self._polling = threading.Thread(
                target=self._poll, args=(self._made,), name="kafka acknowledgements", daemon=True
            )
            self._polling.start()
        return self._made

    def _poll(self, producer: Producer) -> None:
        """Call the delivery reports back until the producer is closed."""
        while not self._closed.is_set():
            producer.poll(_POLL_S)
