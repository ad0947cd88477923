"""Faust's Kafka transport, with whole batches and with positions that come from a store.

Three things differ from Faust's own transport, for the topics that are called *batched*:

- The consumer hands over a `Batch`, a list of raw records of one partition, instead of a message
  for each record: 50 times the throughput, since nothing Faust does is done per record.
- On assignment each partition is sought to the position that a store gives, never to the group's
  committed offset. Records below it are skipped.
- Faust's acknowledgements are not used (inside a batch they would see gaps and stop advancing the
  committed offset). Offsets are committed explicitly, for lag monitoring alone.

Guaranteed, per batched partition: the batches handed over between two seeks are in offset order,
begin at the position sought, and neither leave out nor repeat a record.
Topics that are not batched behave as in plain Faust: one message each, at least once.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust import Schema
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from faust.transport.drivers.aiokafka import Consumer as FaustConsumer
from faust.transport.drivers.aiokafka import Producer as FaustProducer
from faust.transport.drivers.aiokafka import Transport as FaustTransport
from faust.transport.utils import DefaultSchedulingStrategy
from faust.types import TP, ConsumerMessage

from streams.positions import Held, Positions

log = logging.getLogger(__name__)

FETCH_WAIT_MS = 25
"""How long the broker may hold a fetch until it has FETCH_BYTES, in milliseconds. Faust's 1,500 can
delay the records of one partition by as much when the fetch in flight was sent while it was being
read. Shorter costs an idle worker's broker more fetches; forty a second are not noticed."""
FETCH_BYTES = 64 * 1024
"""What is worth sending at once. Of one byte, Kafka's default, a worker that keeps up is given
batches of a dozen events, each of which costs as much as a hundred."""

Rewind = Callable[[str, int], int]
"""(topic, partition) -> records before the store's position that are handed over again."""


class Batch(list[ConsumerRecord]):
    """Records of one partition, in offset order, never empty.

    topic, partition: where all of them come from.
    epoch:            number of the seek after which they were read; a newer seek voids them.
    """

    __slots__ = ("epoch", "partition", "topic")

    def __init__(self, records: list[ConsumerRecord], epoch: int) -> None:
        """Take over the records of one partition, at least one."""
        super().__init__(records)
        self.topic: str = records[0].topic
        self.partition: int = records[0].partition
        self.epoch = epoch

    @property
    def next_offset(self) -> int:
        """The position after this batch."""
        return int(self[-1].offset) + 1


class BatchSchema(Schema):
    """Leaves batches alone; nothing is decoded record by record."""

    def loads_key(self, app: Any, message: Any, **_options: Any) -> None:
        """Return None: a batch has no key."""

    def loads_value(self, app: Any, message: Any, **_options: Any) -> Batch:
        """Return the batch itself."""
        batch: Batch = message.value
        return batch


class BatchScheduler(DefaultSchedulingStrategy):
    """Goes round robin over topics and partitions, by whole batches where topics are batched.

    max_batch: the greatest number of records in one batch, by topic.
    """

    def __init__(self, max_batch: Mapping[str, int]) -> None:
        """Cut batches of the topics named; leave other topics alone."""
        self._max_batch = max_batch

    def iterate(self, records: Mapping[TP, list[Any]]) -> Iterator[tuple[TP, Any]]:
        """Yield (partition, list of records) for batched topics, (partition, record) for others."""
        cut = {tp: self._cut(tp.topic, fetched) for tp, fetched in records.items()}
        pairs: Iterator[tuple[TP, Any]] = super().iterate(cut)
        return pairs

    def _cut(self, topic: str, fetched: list[Any]) -> list[Any]:
        limit = self._max_batch.get(topic)
        if limit is None:
            return fetched
        return [fetched[start : start + limit] for start in range(0, len(fetched), limit)]


class ConsumerThread(AIOKafkaConsumerThread):
    """The thread with the Kafka client in it: joins the group, sends heartbeats, fetches."""

    def _create_worker_consumer(self, transport: Any) -> AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        consumer._fetch_min_bytes = FETCH_BYTES
        return consumer

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Do nothing: Faust's watchdog reports partitions without traffic as errors."""

    async def commit_quietly(self, offsets: Mapping[TP, int]) -> bool:
        """Commit what is still assigned; return False when the group would not have it."""
        return bool(await self.call_thread(self._commit_quietly, offsets))

    async def _commit_quietly(self, offsets: Mapping[TP, int]) -> bool:
        assigned = self.assignment()
        entries = {
            TopicPartition(*tp): OffsetAndMetadata(offset, "")
            for tp, offset in offsets.items()
            if tp in assigned
        }
        if not entries:
            return False
        try:
            await self._ensure_consumer().commit(entries)
        except KafkaError as error:
            log.info("offsets not committed, the next commit will: %r", error)
            return False
        return True


class Consumer(FaustConsumer):
    """Reads batched topics as batches, from the positions of the app's store."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Read the app's `batched` and `positions`."""
        super().__init__(*args, **kwargs)
        self._max_batch: Mapping[str, int] = self.app.batched
        self._positions: Positions = self.app.positions
        self._rewind: Rewind = self.app.rewind
        self.scheduler = BatchScheduler(self._max_batch)
        self._read_offset = _ReadOffsets(self._max_batch)
        # Number of the last seek or revocation. Whatever was fetched before it is void.
        self._epoch = 0
        self._next: dict[TP, int] = {}
        # Held while fetching and while seeking: a fetch lies wholly before or after a seek.
        self._fetching = asyncio.Lock()

    def is_current(self, batch: Batch) -> bool:
        """Tell whether a batch may be applied: its partition is held and was not sought since."""
        tp = TP(batch.topic, batch.partition)
        return batch.epoch == self._epoch and tp in self._next

    def void(self) -> None:
        """Declare void what was fetched and not yet applied, until the next seek."""
        self._epoch += 1
        self._next.clear()

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Void what is under way, then let the app react."""
        self.void()
        await super().on_partitions_revoked(revoked)

    async def seek_to_committed(self) -> dict[TP, int | None]:
        """Seek batched partitions to the store's positions and others to the group's offsets.

        Raises PositionError when the log does not hold what a store needs next.
        """
        async with self._fetching:
            self.void()
            held = self.app.open_partitions & self.assignment()
            sought: dict[TP, int | None] = dict(await super().seek_to_committed())
            if held:
                target = await self._targets(held)
                await self.seek_wait(target)
                sought |= target
                self._next = target
            return sought

    async def _targets(self, held: set[TP]) -> dict[TP, int]:
        target: dict[TP, int] = {}
        for part in await self._held(held):
            position = part.start(
                self._positions(part.topic, part.partition),
                self.app.pass_over,
                accept_gap=self.app.accept_gap,
            )
            again = self._rewind(part.topic, part.partition)
            target[TP(part.topic, part.partition)] = max(position - again, part.first)
        return target

    async def _held(self, partitions: set[TP]) -> list[Held]:
        """What the log holds of partitions."""
        first, end = await self.earliest_offsets(*partitions), await self.highwaters(*partitions)
        return [
            Held(topic=tp.topic, partition=tp.partition, first=first[tp], end=end[tp])
            for tp in sorted(partitions)
        ]

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:
        """Yield what one fetch brings: a message for each batch, or for each single record.

        timeout: seconds to wait for a first record. Raises PositionError when the log has deleted
        records before they were read, or was made anew.
        """
        if not self.flow_active:
            await self.wait(self.can_resume_flow)
        async with self._fetching:
            if self.should_stop or not self.flow_active:
                return
            epoch = self._epoch
            active = set(self._get_active_partitions())
            records = await self._getmany(active, timeout) if active else {}
        if not active:
            await self.sleep(0.05)
        for tp, record in self.scheduler.iterate(records):
            # What is dropped here is read again: a new epoch ends with a seek.
            if epoch != self._epoch or not self.flow_active:
                return
            if tp.topic in self._max_batch:
                if record[0].offset != self._next.get(tp):
                    await self._check_jump(tp)
                    if epoch != self._epoch:
                        return
                batch = self._unseen(tp, record)
                if batch:
                    yield tp, self._batch_message(tp, Batch(batch, epoch))
            else:
                yield tp, self._to_message(tp, record)

    async def _check_jump(self, tp: TP) -> None:
        """Tell compaction, which is harmless, from retention that has overtaken the reading.

        The client answers an offset that is out of range by the earliest one there is, silently.
        A store without positions (the trainer has none) takes what comes.
        """
        position = self._next.get(tp)
        if position is not None and self._positions(*tp) is not None:
            for held in await self._held({tp}):
                held.check(position)

    def _unseen(self, tp: TP, records: list[ConsumerRecord]) -> list[ConsumerRecord]:
        """Cut off records below the position and advance it."""
        position = self._next.get(tp)
        if position is None:
            return []
        if records[0].offset < position:
            records = [record for record in records if record.offset >= position]
        if records:
            self._next[tp] = records[-1].offset + 1
        return records

    def _batch_message(self, tp: TP, batch: Batch) -> ConsumerMessage:
        last = batch[-1]
        return ConsumerMessage(
            *(last.topic, last.partition, last.offset, last.timestamp / 1000, last.timestamp_type),
            *((), None, batch, None, 0, 0, tp),
            generation_id=self.app.consumer_generation_id,
        )

    async def commit_positions(self, offsets: Mapping[TP, int]) -> bool:
        """Commit offsets of batched topics for whoever watches the group's lag."""
        thread: ConsumerThread = self._thread
        return await thread.commit_quietly(offsets)

    def on_buffer_full(self, tp: TP) -> None:
        """Leave batched partitions in the fetch: a full queue already holds the fetcher back."""
        if tp.topic not in self._max_batch:
            super().on_buffer_full(tp)

    def on_buffer_drop(self, tp: TP) -> None:
        """Undo on_buffer_full."""
        if tp.topic not in self._max_batch:
            super().on_buffer_drop(tp)

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)


class _ReadOffsets(dict[TP, int | None]):
    """Faust's note of the last offset read, kept for single records only.

    For batches Faust would compare the last offset of one with the first of the next.
    """

    def __init__(self, batched: Mapping[str, int]) -> None:
        super().__init__()
        self._batched = batched

    def __getitem__(self, tp: TP) -> int | None:
        return None if tp.topic in self._batched else self.get(tp)


class Producer(FaustProducer):
    """Writes with acknowledgement by all replicas, in order and without doubles on a retry."""

    def _settings_extra(self) -> Mapping[str, Any]:
        return {"acks": "all", "enable_idempotence": True}

    # Faust sends single records only: batches go to the aiokafka producer inside of it.

    async def partitions(self, topic: str) -> int:
        """Return how many partitions a topic has."""
        return len(await self._ensure_producer().partitions_for(topic))

    def create_batch(self) -> Any:
        """Return an empty batch: `append` returns None when it is full."""
        return self._ensure_producer().create_batch()

    async def send_batch(self, batch: Any, topic: str, partition: int) -> Awaitable[Any]:
        """Queue a batch; the awaitable returned is its acknowledgement."""
        sent: Awaitable[Any] = await self._ensure_producer().send_batch(
            batch, topic, partition=partition
        )
        return sent


class Transport(FaustTransport):
    """Faust's aiokafka transport with our consumer and producer."""

    Consumer = Consumer
    Producer = Producer
