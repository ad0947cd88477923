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
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from aiokafka.errors import ConsumerStoppedError, KafkaError
from faust import Schema
from faust.exceptions import ConsumerNotStarted
from faust.transport.drivers.aiokafka import Consumer as FaustConsumer
from faust.transport.drivers.aiokafka import Producer as FaustProducer
from faust.transport.drivers.aiokafka import Transport as FaustTransport
from faust.transport.utils import DefaultSchedulingStrategy
from faust.types import TP, ConsumerMessage

from streams.consumer_thread import CLOSE_S, ConsumerThread
from streams.positions import Held, Positions
from streams.record_columns import RecordColumns

log = logging.getLogger(__name__)

COMMIT_S = 1.5
"""Longest wait of a stop for the last commit of acknowledged records, in seconds."""

Rewind = Callable[[str, int], int]
"""(topic, partition) -> records before the store's position that are handed over again."""


class Batch(RecordColumns):
    """Records of one partition, in offset order, never empty.

    epoch: number of the seek after which they were read; a newer seek voids them.
    """

    __slots__ = ("epoch",)

    def __init__(self, records: RecordColumns, epoch: int) -> None:
        """Take over the records of one partition, at least one."""
        super().__init__(records.topic, records.partition, records.data, records.table)
        self.epoch = epoch

    @property
    def next_offset(self) -> int:
        """The position after this batch."""
        return int(self.offsets[-1]) + 1


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

    def _cut(self, topic: str, fetched: Sequence[Any]) -> Sequence[Any]:
        limit = self._max_batch.get(topic)
        if limit is None:
            return fetched
        return [fetched[start : start + limit] for start in range(0, len(fetched), limit)]


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
        # First offset behind the last record handed over, where no record lies up to `_next`.
        self._empty_from: dict[TP, int] = {}
        # Held while fetching and while seeking: a fetch lies wholly before or after a seek.
        self._fetching = asyncio.Lock()

    def is_current(self, batch: Batch) -> bool:
        """Tell whether a batch may be applied: its partition is held and was not sought since."""
        return self.is_at(TP(batch.topic, batch.partition), batch.epoch)

    def is_at(self, tp: TP, epoch: int) -> bool:
        """Tell whether a partition is held and was not sought since `epoch`."""
        return epoch == self._epoch and tp in self._next

    def void(self) -> None:
        """Declare void what was fetched and not yet applied, until the next seek."""
        self._epoch += 1
        self._next.clear()
        self._empty_from.clear()

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
                target = await self._targets(held, sought)
                await self.seek_wait(target)
                sought |= target
                self._next = target
            return sought

    async def _targets(self, held: set[TP], committed: Mapping[TP, int | None]) -> dict[TP, int]:
        target: dict[TP, int] = {}
        for part in await self._held(held):
            if part.topic in self.app.from_group:
                tp = TP(part.topic, part.partition)
                target[tp] = part.nearest(committed.get(tp))
                continue
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
        records before they were read, or was created again.
        """
        if not self.flow_active:
            await self.wait(self.can_resume_flow)
        async with self._fetching:
            if self.should_stop or not self.flow_active:
                return
            epoch = self._epoch
            active = {tp for tp in self._get_active_partitions() if not self.app.hold(tp.topic)}
            records = await self._getmany(active, timeout) if active else {}
            # Of this fetch: positions from before a seek would pass over what is read again.
            reached = self._thread.reached if active else {}
        if not active:
            await self.sleep(0.05)
        for tp, record in self.scheduler.iterate(records):
            # What is dropped here is read again: a new epoch ends with a seek.
            if epoch != self._epoch or not self.flow_active:
                return
            if tp.topic in self._max_batch:
                first = int(record.offsets[0])
                expected = self._next.get(tp, first)
                if first != expected:
                    if first < expected:
                        # The client has begun again: the topic may be another one.
                        await self.app.check_log()
                    await self._check_jump(tp)
                    if epoch != self._epoch:
                        return
                unseen = self._unseen(tp, record)
                if unseen is not None:
                    yield tp, self._batch_message(tp, Batch(unseen, epoch))
            else:
                yield tp, self._to_message(tp, record)
        if epoch == self._epoch:
            await self._pass_empty(reached, epoch)

    async def _pass_empty(self, reached: Mapping[TP, int], epoch: int) -> None:
        """Have the store go on behind offsets that hold no record for it.

        reached: next offset to fetch, by partition, when all before it was handed over.
        """
        ahead = {
            tp: offset for tp, offset in reached.items() if offset > self._next.get(tp, offset)
        }
        if ahead:
            await self._check_jump(*ahead)
            if epoch != self._epoch:
                return
            for tp, offset in ahead.items():
                if offset <= self._next[tp]:
                    continue
                self._empty_from.setdefault(tp, self._next[tp])
                self._next[tp] = offset
        for tp, first in list(self._empty_from.items()):
            passed = await self.app.pass_empty(tp, first, self._next[tp], epoch)
            if epoch != self._epoch:
                return
            if passed:
                self._empty_from.pop(tp, None)

    async def _check_jump(self, *jumped: TP) -> None:
        """Tell offsets without records, which are harmless, from retention that was faster than us.

        The client answers an offset that is out of range by the earliest one there is, silently.
        A store without positions (the trainer has none) takes what comes.
        """
        expected = {
            tp: self._next[tp]
            for tp in jumped
            if tp in self._next
            and (tp.topic in self.app.from_group or self._positions(*tp) is not None)
        }
        if not expected:
            return
        for held in await self._held(set(expected)):
            tp = TP(held.topic, held.partition)
            if tp.topic not in self.app.from_group:
                held.check(expected[tp])
            elif tp in self._next:
                self._next[tp] = held.nearest(expected[tp])

    def _unseen(self, tp: TP, records: RecordColumns) -> RecordColumns | None:
        """Cut off records below the position and advance it; None if nothing is left."""
        position = self._next.get(tp)
        if position is None:
            return None
        records = records[int(np.searchsorted(records.offsets, position)) :]
        if not records:
            return None
        self._next[tp] = int(records.offsets[-1]) + 1
        self._empty_from.pop(tp, None)
        return records

    def _batch_message(self, tp: TP, batch: Batch) -> ConsumerMessage:
        last = batch[-1]
        return ConsumerMessage(
            *(last.topic, last.partition, last.offset, last.timestamp / 1000, last.timestamp_type),
            *((), None, batch, None, 0, 0, tp),
            generation_id=self.app.consumer_generation_id,
        )

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
