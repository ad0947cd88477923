"""Sending many records at once and knowing when all of them are safe."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from streams.partitioner import murmur2_partitions

Headers = Sequence[tuple[str, bytes]]
"""Of a record: name and value of each."""

# Of every transport's producer: most bytes of a batch of one partition, and of a record.
BATCH_BYTES = 256 * 1024
RECORD_BYTES = 9 * 1024 * 1024


class Outgoing(NamedTuple):
    """A record that goes to the partition of its key."""

    key: bytes
    value: bytes
    headers: Headers | None = None


_SETTLE_EVERY = 1024


class Sends(Protocol):
    """What an outbox needs of a producer; Faust's has it, and tests write their own."""

    async def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: float | None,
        headers: Any,
    ) -> Awaitable[Any]:
        """Queue one record; the awaitable returned is its acknowledgement."""
        ...

    async def partitions(self, topic: str) -> int:
        """Return how many partitions a topic has."""
        ...

    def create_batch(self) -> Any:
        """Return an empty batch: `append` returns None when it is full."""
        ...

    async def send_batch(self, batch: Any, topic: str, partition: int) -> Awaitable[Any]:
        """Queue a batch; the awaitable returned is its acknowledgement."""
        ...


class DeliveryError(RuntimeError):
    """Records were not acknowledged: whatever depends on them must not be committed."""


class Outbox:
    """Records on their way to Kafka, written without waiting for each other.

    `send` and `send_many` queue and return (they wait only while the producer's buffer is full);
    `flush` returns when all that was sent so far is acknowledged by all replicas. Order is kept per
    partition: what is sent while others still wait to be queued comes after these.
    """

    def __init__(self, producer: Sends) -> None:
        """Write through a producer that is started, or will be."""
        self._producer = producer
        self._unacknowledged: list[asyncio.Future[Any]] = []
        self._failure: BaseException | None = None
        self._order = asyncio.Lock()
        self.sent = 0

    async def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        *,
        partition: int | None = None,
        timestamp_ms: int | None = None,
        headers: Headers | None = None,
    ) -> None:
        """Queue one record. partition: None chooses by key, as Kafka's own clients do."""
        seconds = None if timestamp_ms is None else timestamp_ms / 1000
        async with self._order:
            acknowledged = await self._producer.send(topic, key, value, partition, seconds, headers)
        self._sent(acknowledged, 1)

    async def send_many(self, topic: str, records: Sequence[Outgoing]) -> None:
        """Queue records, each to the partition of its key; cheaper than one by one."""
        if not records:
            return
        async with self._order:
            number = await self._producer.partitions(topic)
            parts: dict[int, list[Outgoing]] = defaultdict(list)
            chosen = murmur2_partitions([record.key for record in records], number).tolist()
            for partition, record in zip(chosen, records, strict=True):
                parts[partition].append(record)
            # A partition whose batch before is still on its way does not hold up the others.
            await asyncio.gather(*(self._send_part(topic, n, part) for n, part in parts.items()))

    async def _send_part(self, topic: str, partition: int, records: Sequence[Outgoing]) -> None:
        rows = ((key, value, list(headers or ())) for key, value, headers in records)
        for batch, held in filled(self._producer.create_batch, rows):
            self._sent(await self._producer.send_batch(batch, topic, partition), held)

    def _sent(self, acknowledged: Awaitable[Any], records: int) -> None:
        self._unacknowledged.append(asyncio.ensure_future(acknowledged))
        self.sent += records
        if len(self._unacknowledged) >= _SETTLE_EVERY:
            self._forget_settled()

    async def flush(self) -> None:
        """Wait until everything sent so far is acknowledged.

        Raises DeliveryError if any record since the last flush was refused or timed out.
        """
        waiting, self._unacknowledged = self._unacknowledged, []
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        failure = self._failure or next(iter(failures), None)
        self._failure = None
        if failure is not None:
            raise DeliveryError(
                f"records were not acknowledged, the first: {failure!r}"
            ) from failure

    def _forget_settled(self) -> None:
        """Keep the list short between flushes, but not the fact that something failed."""
        pending: list[asyncio.Future[Any]] = []
        for future in self._unacknowledged:
            if not future.done():
                pending.append(future)
            elif error := future.exception():
                self._failure = self._failure or error
        self._unacknowledged = pending


def filled(
    create_batch: Callable[[], Any],
    records: Iterable[tuple[bytes, bytes | None, list[tuple[str, bytes]]]],
) -> Iterator[tuple[Any, int]]:
    """Yield batches of records (key, value, headers) in order, each with how many it holds."""
    batch, held = create_batch(), 0
    for key, value, headers in records:
        if batch.append(timestamp=None, key=key, value=value, headers=headers) is None:
            yield batch, held
            batch, held = create_batch(), 0
            # The first record of a batch is always taken, however long it is.
            batch.append(timestamp=None, key=key, value=value, headers=headers)
        held += 1
    if held:
        yield batch, held
