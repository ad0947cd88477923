"""Outputs of agents: Kafka through the app's outbox, or the embedded log."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from aiokafka import AIOKafkaProducer

from streams import EmbeddedLog, KafkaSettings
from streams.outbox import Headers, Outgoing
from streams.reach import require_broker

__all__ = ["EmbeddedOutputs", "NoOutputs", "Outputs", "ProducerOutputs"]


class Outputs(Protocol):
    """Output records; flushed records are stored."""

    async def send(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers | None = None
    ) -> None:
        """Queue a record, with headers if a trace continues."""

    async def send_many(self, topic: str, records: Sequence[Outgoing]) -> None:
        """Queue records that go to the partitions of their keys."""

    async def flush(self) -> None:
        """Wait until everything sent so far is stored; raises if anything was refused."""


class NoOutputs:
    """Discards outputs: another process writes them, or has written them."""

    async def send(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers | None = None
    ) -> None:
        """Drop a record."""

    async def send_many(self, topic: str, records: Sequence[Outgoing]) -> None:
        """Drop records."""

    async def flush(self) -> None:
        """Do nothing."""


class EmbeddedOutputs:
    """Writes directly to the embedded log, whose records have no headers."""

    def __init__(self, log: EmbeddedLog) -> None:
        """Write to `log`."""
        self._log = log

    async def send(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers | None = None
    ) -> None:
        """Append a record."""
        self._log.append(topic, key, value)

    async def send_many(self, topic: str, records: Sequence[Outgoing]) -> None:
        """Append records."""
        for key, value, _ in records:
            self._log.append(topic, key, value)

    async def flush(self) -> None:
        """Sync sent records to disk."""
        self._log.sync()


class ProducerOutputs:
    """Outputs of a command that writes a few records and ends. An async context manager.

    Raises UnreachableError when it is entered and no broker answers.
    """

    def __init__(self, kafka: KafkaSettings) -> None:
        """Connect when entered."""
        self._kafka = kafka
        self._producer: AIOKafkaProducer | None = None

    async def __aenter__(self) -> "ProducerOutputs":
        await asyncio.to_thread(require_broker, self._kafka)
        self._producer = AIOKafkaProducer(**self._kafka.for_aiokafka(), acks="all")
        await self._producer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._producer is not None:
            await self._producer.stop()

    async def send(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers | None = None
    ) -> None:
        """Queue a record."""
        if self._producer is None:
            raise RuntimeError("outputs are used inside of `async with`")
        await self._producer.send(topic, value=value, key=key, headers=headers)

    async def send_many(self, topic: str, records: Sequence[Outgoing]) -> None:
        """Queue records."""
        for key, value, headers in records:
            await self.send(topic, key, value, headers)

    async def flush(self) -> None:
        """Wait for the acknowledgement of everything sent."""
        if self._producer is not None:
            await self._producer.flush()
