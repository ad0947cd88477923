"""Reading a whole topic in every process: model announcements, shared counts, settings."""

import asyncio
import dataclasses
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from streams.offsets import end_offsets
from streams.security import KafkaSettings

logger = logging.getLogger(__name__)

RETRY_S = 1.0


@dataclasses.dataclass(kw_only=True, eq=False)
class Broadcast:
    """All records of a topic, from the beginning and without end: an async iterator of lists.

    `async for records in Broadcast(kafka=kafka, topic=topic): ...`

    Each list holds records of one partition in offset order and is never empty; partitions are
    interleaved. No group is joined: every process that reads gets everything. Partitions added
    after the reading began are not read.

    caught_up: set once all records that existed when the reading began were yielded *and* the next
               list was asked for, so that the receiver has dealt with them. A waiting task must
               also watch the reading task, because it stays unset if that fails.
    """

    kafka: KafkaSettings
    topic: str
    caught_up: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)

    async def __aiter__(self) -> AsyncIterator[list[ConsumerRecord]]:
        """Read until the iteration is given up. Raises AdminError when there is no such topic."""
        found = await asyncio.to_thread(end_offsets, self.kafka, [self.topic])
        ends = {
            TopicPartition(self.topic, number): end for number, end in found[self.topic].items()
        }
        async with AIOKafkaConsumer(
            enable_auto_commit=False, **self.kafka.for_consumer()
        ) as consumer:
            consumer.assign(list(ends))
            await consumer.seek_to_beginning(*ends)
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


async def read_again(
    read: Callable[[], Awaitable[None]],
    what: str,
    *,
    retried: tuple[type[Exception], ...] = (KafkaError,),
    fatal: tuple[type[Exception], ...] = (),
) -> None:
    """Call `read`, which reads without end, again after each lost connection.

    retried: errors that are logged and waited out; fatal: those of them that are raised instead.
    """
    while True:
        try:
            await read()
        except fatal:
            raise
        except retried as error:
            logger.warning("following %s is interrupted: %r", what, error)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Not ours: aiokafka cancels its own futures when a connection goes away.
            logger.warning("following %s is interrupted by its client", what)
        await asyncio.sleep(RETRY_S)
