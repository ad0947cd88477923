"""Reading a whole topic in every process: model announcements, shared counts, settings."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from typing import Any, Protocol

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition


class ClientSettings(Protocol):
    """What a reader needs to know about Kafka; `streams.security.KafkaSettings` has it."""

    def for_aiokafka(self) -> dict[str, Any]:
        """Return the keyword arguments of AIOKafkaConsumer."""
        ...


class TopicMissingError(LookupError):
    """The topic does not exist."""


@dataclasses.dataclass(kw_only=True)
class Broadcast:
    """All records of a topic, from the beginning and without end: an async iterator of lists.

    Each list holds records of one partition in offset order and is never empty; partitions are
    interleaved. No group is joined: every process that reads gets everything.

    caught_up: set once all records that existed when the reading began were yielded *and* the next
               list was asked for, so that the receiver has dealt with them.
    """

    kafka: ClientSettings
    topic: str
    caught_up: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)

    async def __aiter__(self) -> AsyncIterator[list[ConsumerRecord]]:
        """Read until the iteration is given up. Raises TopicMissingError."""
        settings = self.kafka.for_aiokafka() | {"auto_offset_reset": "earliest"}
        # Without a group the client takes all partitions, those added later too.
        async with AIOKafkaConsumer(self.topic, enable_auto_commit=False, **settings) as consumer:
            if self.topic not in await consumer.topics():
                raise TopicMissingError(
                    f"no topic {self.topic!r} at {settings['bootstrap_servers']}: "
                    "create the topics first"
                )
            ends = await consumer.end_offsets(consumer.assignment())
            while True:
                if not self.caught_up.is_set() and await _reached(consumer, ends):
                    self.caught_up.set()
                fetched = await consumer.getmany(timeout_ms=500)
                for records in fetched.values():
                    if records:
                        yield records


async def _reached(consumer: AIOKafkaConsumer, ends: dict[TopicPartition, int]) -> bool:
    # Positions, not offsets of records: compaction may have removed the last record before an end.
    return all([await consumer.position(tp) >= end for tp, end in ends.items()])


def read_all(kafka: ClientSettings, topic: str) -> Broadcast:
    """Return the broadcast of a topic.

    `async for records in read_all(kafka, topic): ...`
    """
    return Broadcast(kafka=kafka, topic=topic)
