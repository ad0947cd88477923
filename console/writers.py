"""Where the console writes what people ask for, one record at a time."""

import asyncio
from typing import Protocol

from aiokafka import AIOKafkaProducer

from streams import EmbeddedLog, KafkaSettings, Source

__all__ = ["EmbeddedWriter", "KafkaWriter", "Writer"]


class Writer(Protocol):
    """Where records are written, one at a time."""

    async def append(self, topic: str, key: bytes, value: bytes | None) -> Source:
        """Write a record; returns its place once it is safe."""

    async def close(self) -> None:
        """Let go of the connection."""


class EmbeddedWriter:
    """Writes to the embedded log."""

    def __init__(self, log: EmbeddedLog) -> None:
        """Write to `log`."""
        self._log = log

    async def append(self, topic: str, key: bytes, value: bytes | None) -> Source:
        """Append a record."""
        partition, offset = self._log.append(topic, key, value)
        return Source(topic=topic, partition=partition, offset=offset)

    async def close(self) -> None:
        """Leave the log to its owner."""


class KafkaWriter:
    """Writes to Kafka; connects with the first record, since most consoles never write."""

    def __init__(self, kafka: KafkaSettings) -> None:
        """Connect when needed."""
        self._kafka = kafka
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()

    async def append(self, topic: str, key: bytes, value: bytes | None) -> Source:
        """Write a record and wait for its acknowledgement. Raises KafkaError."""
        async with self._starting:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    **self._kafka.for_aiokafka(), acks="all", enable_idempotence=True
                )
                await producer.start()
                self._producer = producer
        placed = await self._producer.send_and_wait(topic, key=key, value=value)
        return Source(topic=topic, partition=placed.partition, offset=placed.offset)

    async def close(self) -> None:
        """Close the connection."""
        if self._producer is not None:
            await self._producer.stop()
