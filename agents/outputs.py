"""Where agents write: Kafka through the app's outbox, or the embedded log."""

from collections.abc import Sequence
from typing import Protocol

from aiokafka import AIOKafkaProducer

from streams import EmbeddedLog, KafkaSettings
from streams.outbox import Headers, Outgoing

__all__ = ["EmbeddedOutputs", "NoOutputs", "Outputs", "ProducerOutputs"]


class Outputs(Protocol):
    """Records on their way out; what is flushed is safe."""

    async def send(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers | None = None
    ) -> None:
        """Queue a record, with headers where there is a trace to go on with."""

    async def send_many(self, topic: str, records: Sequence[Outgoing]) -> None:
        """Queue records that go to the partitions of their keys."""

    async def flush(self) -> None:
        """Wait until everything sent so far is stored; raises if anything was refused."""


class NoOutputs:
    """Outputs that are not written: others write them, or have written them already."""

    async def send(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers | None = None
    ) -> None:
        """Drop a record."""

    async def send_many(self, topic: str, records: Sequence[Outgoing]) -> None:
        """Drop records."""

    async def flush(self) -> None:
        """Do nothing."""


class EmbeddedOutputs:
    """Writes straight into the embedded log, whose records have no headers."""

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
        """Make what was sent survive a power cut."""
        self._log.sync()


class ProducerOutputs:
    """Outputs of a command that writes a few records and ends. An async context manager."""

    def __init__(self, kafka: KafkaSettings) -> None:
        """Connect when entered."""
        self._kafka = kafka
        self._producer: AIOKafkaProducer | None = None

    async def __aenter__(self) -> "ProducerOutputs":
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
