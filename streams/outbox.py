"""Sending many records at once and knowing when all of them are safe."""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, Protocol

Headers = Sequence[tuple[str, bytes]]
"""Of a record: name and value of each."""

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


class DeliveryError(RuntimeError):
    """Records were not acknowledged: whatever depends on them must not be committed."""


class Outbox:
    """Records on their way to Kafka, written without waiting for each other.

    `send` queues and returns (it waits only while the producer's buffer is full); `flush` returns
    when all that was sent so far is acknowledged by all replicas. Order is kept per partition.
    """

    def __init__(self, producer: Sends) -> None:
        """Write through a producer that is started, or will be."""
        self._producer = producer
        self._unacknowledged: list[asyncio.Future[Any]] = []
        self._failure: BaseException | None = None
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
        acknowledged = await self._producer.send(topic, key, value, partition, seconds, headers)
        self._unacknowledged.append(asyncio.ensure_future(acknowledged))
        self.sent += 1
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
