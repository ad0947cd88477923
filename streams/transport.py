"""Faust's Kafka transport, with whole batches and with positions that come from a store.

Three things differ from Faust's own transport, for the topics that are called *batched*:

- The consumer hands over a `Batch`, the raw records of one partition as columns, instead of a
  message for each record: nothing is done per record, by Faust or by us.
- On assignment each partition is sought to the position that a store gives, never to the group's
  committed offset. Records below it are skipped. Batched topics without a store (`from_group`) are
  the exception: they are read from the offset that the group committed explicitly.
- Faust's acknowledgements are not used (inside a batch they would see gaps and stop advancing the
  committed offset). Offsets are committed explicitly.

Guaranteed, per batched partition: the batches handed over between two seeks are in offset order,
begin at the position sought, and neither leave out nor repeat a record. Only committed records are
read. Offsets without a record for us (markers of transactions, aborted records, compacted ones) are
reported once what lies before them is applied, so that positions do not stay behind them.
Topics that are not batched behave as in plain Faust: one message each, at least once.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping, Sequence
from typing import Any

from aiokafka.errors import ConsumerStoppedError, KafkaError
from faust import Schema
from faust.exceptions import ConsumerNotStarted
from faust.transport.drivers.aiokafka import Consumer as FaustConsumer
from faust.transport.drivers.aiokafka import Producer as FaustProducer
from faust.transport.drivers.aiokafka import Transport as FaustTransport
from faust.transport.utils import DefaultSchedulingStrategy
from faust.types import TP, ConsumerMessage

from streams.batches import Batch, BatchReading, Hooks, Partitions, cut
from streams.consumer_thread import CLOSE_S, ConsumerThread
from streams.positions import Held

log = logging.getLogger(__name__)

COMMIT_S = 1.5
"""Longest wait of a stop for the last commit of acknowledged records, in seconds."""


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

    def iterate(self, records: Mapping[TP, Sequence[Any]]) -> Iterator[tuple[TP, Any]]:
        """Yield (partition, columns) for batched topics, (partition, record) for others."""
        cut = {tp: self._cut(tp.topic, fetched) for tp, fetched in records.items()}
        pairs: Iterator[tuple[TP, Any]] = super().iterate(cut)
        return pairs

    def _cut(self, topic: str, fetched: Any) -> Sequence[Any]:
        limit = self._max_batch.get(topic)
        if limit is None:
            return list(fetched)
        return list(cut(fetched, limit))


class Consumer(FaustConsumer):
    """Reads batched topics as batches, from the positions of the app's store."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Read what the app's hooks say."""
        super().__init__(*args, **kwargs)
        self._hooks: Hooks = self.app.hooks
        self._max_batch: Mapping[str, int] = self._hooks.batched
        self.reading = BatchReading(self._hooks, self._held)
        self.scheduler = BatchScheduler(self._max_batch)
        self._read_offset = _ReadOffsets(self._max_batch)
        # Number of the last seek or revocation. Whatever was fetched before it is void.
        self._epoch = 0
        # Held while fetching and while seeking: a fetch lies wholly before or after a seek.
        self._fetching = asyncio.Lock()

    def void(self) -> None:
        """Declare void what was fetched and not yet applied, until the next seek."""
        self._epoch += 1
        self.reading.void()

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
                found = await self.reading.targets(held, sought)
                target = {TP(*place): offset for place, offset in found.items()}
                await self.seek_wait(target)
                sought |= target
                self.reading.begin(found)
            return sought

    async def _held(self, places: Partitions) -> list[Held]:
        """What the log holds of partitions."""
        tps = {TP(*place) for place in places}
        first, end = await self.earliest_offsets(*tps), await self.highwaters(*tps)
        return [
            Held(topic=tp.topic, partition=tp.partition, first=first[tp], end=end[tp])
            for tp in sorted(tps)
        ]

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:
        """Yield what one fetch brings: a message for each batch, or for each single record.

        timeout: seconds to wait for a first record. Raises PositionError when the log has deleted
        records before they were read, or was created again.
        """
        if not self.flow_active:
            await self.wait(self.can_resume_flow)
        async with self._fetching:
            if self.should_stop or not self.flow_active:
                return
            epoch = self._epoch
            epochs = {tp: self.reading.epoch(tp) for tp in self._get_active_partitions()}
            active = {tp for tp in epochs if not self._hooks.hold(tp.topic)}
            records = await self._getmany(active, timeout) if active else {}
            # Of this fetch: positions from before a seek would pass over what is read again.
            reached = self._thread.reached if active else {}
        if not active:
            await self.sleep(0.05)
        for tp, record in self.scheduler.iterate(records):
            # What is dropped here is read again: a new epoch ends with a seek.
            if epoch != self._epoch or not self.flow_active:
                return
            if tp.topic not in self._max_batch:
                yield tp, self._to_message(tp, record)
            elif (of := epochs[tp]) is not None:
                batch = await self.reading.advance(record, of)
                if batch is not None:
                    yield tp, self._batch_message(tp, batch)
        if epoch == self._epoch:
            await self.reading.pass_empty(reached, self.app.opened.pass_empty)

    def _batch_message(self, tp: TP, batch: Batch) -> ConsumerMessage:
        last = batch[-1]
        return ConsumerMessage(
            *(last.topic, last.partition, last.offset, last.timestamp / 1000, last.timestamp_type),
            *((), None, batch, None, 0, 0, tp),
            generation_id=self.app.consumer_generation_id,
        )

    def member(self) -> str:
        """Return the id of this member in its group; empty while it is in none."""
        coordinator = getattr(self._thread._consumer, "_coordinator", None)
        return str(coordinator.member_id) if coordinator is not None else ""

    async def commit_positions(
        self, offsets: Mapping[TP, int], notes: Mapping[int, str] | None = None
    ) -> bool:
        """Commit offsets of batched topics, with a note for each partition number.

        Returns False if that failed.
        """
        thread: ConsumerThread = self._thread
        try:
            return await thread.commit(offsets, notes)
        except (ConsumerStoppedError, ConsumerNotStarted, KafkaError):
            return False

    async def on_stop(self) -> None:
        """Commit what was acknowledged, if Kafka answers: what is not committed comes again.

        Never raises, since Faust would then leave the thread running.
        """
        try:
            await asyncio.wait_for(super().on_stop(), COMMIT_S)
        except (TimeoutError, ConsumerStoppedError, ConsumerNotStarted, KafkaError) as error:
            log.info("stopped without a last commit of acknowledged records: %r", error)

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

    async def on_stop(self) -> None:
        """Flush and close, if Kafka answers; what matters was flushed before."""
        try:
            await asyncio.wait_for(super().on_stop(), CLOSE_S)
        except (TimeoutError, KafkaError) as error:
            log.warning("the producer was closed before its last records were stored: %r", error)

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
