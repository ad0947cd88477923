"""The contract of `streams.app` on librdkafka: one task reads, one thread holds the client.

The task fetches, and fetches again while what came is handled. While a handler, an opening or a
closing takes long, it keeps the member alive: librdkafka leaves the group of an app that does not
ask for records for `max.poll.interval.ms`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from confluent_kafka import KafkaException

from streams.batches import (
    COMMIT_S,
    POLL_RECORDS,
    BatchHandler,
    BatchReading,
    Hooks,
    Partitions,
    Place,
    cut,
)
from streams.client_thread import ClientThread
from streams.consumer_thread import CLOSE_S, STOP_S
from streams.librdkafka_consumer import Fetched, LibrdkafkaConsumer, group_properties
from streams.librdkafka_log import LogEnds
from streams.librdkafka_producer import LibrdkafkaProducer
from streams.log_levels import limit_client_messages
from streams.offsets import group_positions
from streams.open_partitions import OpenPartitions
from streams.outbox import Outbox
from streams.positions import Held
from streams.pulse import Pulse
from streams.reach import UnreachableError
from streams.security import KafkaSettings

__all__ = ["LibrdkafkaApp"]

log = logging.getLogger(__name__)

# How long a fetch waits for a first record; a stop and a new assignment wait as long.
_POLL_S = 0.1
# From here on a task that takes longer does not hold up rebalances.
_LONG_S = 0.5
_AGAIN_S = 0.5
_THREAD = "the consumer's thread"

Result = TypeVar("Result")


class LibrdkafkaApp:
    """A `streams.app.WorkerApp` on librdkafka."""

    def __init__(
        self,
        group: str,
        kafka: KafkaSettings,
        hooks: Hooks,
        *,
        session_timeout_s: float,
        rebalance_timeout_s: float,
        max_fetch_bytes: int,
        compression: str | None,
        pulse: Pulse,
    ) -> None:
        """Prepare a member that has not joined; see `streams.app.create_app` for the arguments."""
        limit_client_messages()
        self.group, self.user, self.pulse = group, kafka.sasl_username, pulse
        self.crash_reason: BaseException | None = None
        self._hooks = hooks
        self._handlers: dict[str, BatchHandler] = {}
        self._reading = BatchReading(hooks, self._held)
        self._opened = OpenPartitions(hooks, self._reading, self.crash)
        self._consumer = LibrdkafkaConsumer(
            group_properties(
                kafka,
                group,
                session_timeout_s=session_timeout_s,
                rebalance_timeout_s=rebalance_timeout_s,
                max_fetch_bytes=max_fetch_bytes,
            ),
            hooks.batched,
            lambda _places: self.pulse.beat(_THREAD),
            self._revoked_in_thread,
        )
        self._producer = LibrdkafkaProducer(kafka, compression=compression)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: ClientThread | None = None
        self._kafka, self._log = kafka, LogEnds(kafka)
        self._reader: asyncio.Task[None] | None = None
        self._stopping = False
        self._crashed, self._stopped = asyncio.Event(), asyncio.Event()

    @property
    def open_partitions(self) -> Partitions:
        """See `streams.app.WorkerApp`."""
        return self._opened.places

    @property
    def should_stop(self) -> bool:
        """See `streams.app.WorkerApp`."""
        return self._stopping or self._crashed.is_set()

    async def member(self) -> str:
        """See `streams.app.WorkerApp`."""
        if self._thread is None or self.should_stop:
            return ""
        return await self._thread.call(self._consumer.member)

    def batches(self, *topics: str) -> Callable[[BatchHandler], BatchHandler]:
        """Register the handler of batched topics; see `streams.app.WorkerApp`."""
        if unknown := set(topics) - self._hooks.batched.keys():
            raise ValueError(f"not among the app's batched topics: {', '.join(sorted(unknown))}")

        def register(handler: BatchHandler) -> BatchHandler:
            self._handlers |= dict.fromkeys(topics, handler)
            return handler

        return register

    def outbox(self) -> Outbox:
        """Return a new outbox that writes through this app's producer."""
        return Outbox(self._producer)

    # Life

    async def start(self) -> None:
        """Join the group and begin to read."""
        self._loop = asyncio.get_running_loop()
        self._thread = ClientThread("kafka consumer")
        await self._thread.call(self._consumer.open)
        self._reader = asyncio.ensure_future(self._read())

    async def wait(self) -> None:
        """Return when the app has stopped; raise why it crashed."""
        ends = [asyncio.ensure_future(e.wait()) for e in (self._stopped, self._crashed)]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()
        if self.crash_reason is not None:
            raise self.crash_reason

    async def wait_for_crash(self) -> None:
        """Return when the app has crashed."""
        await self._crashed.wait()

    async def crash(self, error: BaseException) -> None:
        """Note why the app stops."""
        if self.crash_reason is None:
            self.crash_reason = error
        self._crashed.set()

    async def fail(self, error: Exception) -> None:
        """Stop as if the process had been killed."""
        await self._opened.fail(error)

    async def stop(self) -> None:
        """Finish the batch in hand, close the partitions and leave the group."""
        if self._stopping:
            await self._stopped.wait()
            return
        self._stopping = True
        try:
            await self._opened.close()
            if self._reader is not None:
                await asyncio.wait({self._reader}, timeout=CLOSE_S)
                self._reader.cancel()
            if self._thread is not None:
                closing = self._thread.call_last(self._consumer.close)
                await self._within(STOP_S, closing, "the consumer")
            await self._within(2 * CLOSE_S, self._producer.close(), "the producer")
        finally:
            self._log.close()
            if self._thread is not None:
                self._thread.end()
            self._stopped.set()

    async def _within(self, seconds: float, closing: Awaitable[Any], what: str) -> None:
        try:
            await asyncio.wait_for(closing, seconds)
        except (TimeoutError, KafkaException) as error:
            log.warning("%s was not closed in order: %r", what, error)

    # Commits

    async def commit_positions(
        self, positions: Mapping[Place, int], notes: Mapping[int, str] | None = None
    ) -> bool:
        """Commit next offsets; see `streams.app.WorkerApp`."""
        return False if self.should_stop else await self.commit_closed(positions, notes)

    async def commit_closed(
        self, positions: Mapping[Place, int], notes: Mapping[int, str] | None = None
    ) -> bool:
        """Commit inside `on_revoked`; see `streams.app.WorkerApp`."""
        if self._thread is None or not positions or self._stopped.is_set():
            return False
        try:
            async with asyncio.timeout(COMMIT_S):
                return await self._thread.call(self._consumer.commit, positions, notes or {})
        except TimeoutError:
            return False

    # Reading

    async def _read(self) -> None:
        handling: asyncio.Task[None] | None = None
        try:
            while not self.should_stop:
                hold = {topic for topic in self._hooks.batched if self._hooks.hold(topic)}
                fetched = await self._fetch(POLL_RECORDS, _POLL_S, hold)
                # What a rebalance from here on makes void, and seeks again, is another epoch.
                epochs = {place: self._reading.epoch(place) for place in fetched.records}
                if handling is not None:
                    await self._alive(handling)
                if self._consumer.assigned.keys() - self._reading.next.keys():
                    await self._alive(asyncio.ensure_future(self._open()))
                handling = asyncio.ensure_future(self._hand_over(fetched, epochs))
            if handling is not None:
                await handling
        except Exception as error:
            await self._opened.fail(error)

    async def _fetch(self, *options: Any) -> Fetched:
        self.pulse.beat(_THREAD)
        return await _running(self._thread).call(self._consumer.fetch, *options)

    async def _alive(self, task: asyncio.Task[None]) -> None:
        """Wait for a task; while it takes long, stay in the group."""
        while not (await asyncio.wait({task}, timeout=_LONG_S))[0] and not self.should_stop:
            await _running(self._thread).call(self._consumer.keep_alive)
            self.pulse.beat(_THREAD)
        await task

    async def _hand_over(self, fetched: Fetched, epochs: Mapping[Place, int | None]) -> None:
        for (topic, number), records in fetched.records.items():
            epoch = epochs[topic, number]
            if epoch is None or topic not in self._handlers:
                continue
            for part in cut(records, self._hooks.batched[topic]):
                batch = await self._reading.advance(part, epoch)
                if batch is not None and not self.should_stop:
                    await self._opened.handle(self._handlers[topic], batch)
        await self._reading.pass_empty(fetched.reached, self._opened.pass_empty)

    async def _open(self) -> None:
        """Open what was assigned, and begin to read it."""
        target: dict[Place, int] = {}
        of: dict[Place, int] = {}

        async def find_targets() -> None:
            new = {
                place: number
                for place, number in self._consumer.assigned.items()
                if place in self.open_partitions and self._reading.epoch(place) is None
            }
            from_group = {place for place in new if place[0] in self._hooks.from_group}
            committed = await self._committed(from_group)
            target.update(await self._reading.targets(set(new), committed))
            of.update(new)

        def assigned() -> Partitions | None:
            return None if self.should_stop else set(self._consumer.assigned)

        await self._opened.open(assigned, find_targets)
        if target:
            # Of a partition that was given away meanwhile, the target means nothing.
            begun = await _running(self._thread).call(self._consumer.begin, target, of)
            self._reading.begin({place: target[place] for place in begun})

    async def _held(self, places: Partitions) -> list[Held]:
        return await self._again(lambda: self._log.held(places))

    async def _committed(self, places: Partitions) -> dict[Place, int]:
        if not places:
            return {}
        return await self._again(
            lambda: asyncio.to_thread(group_positions, self._kafka, self.group)
        )

    async def _again(self, ask: Callable[[], Awaitable[Result]]) -> Result:
        """Return the broker's answer, asked again until there is one or the app stops."""
        told = False
        while True:
            try:
                return await ask()
            except (KafkaException, UnreachableError) as error:
                if self.should_stop:
                    raise
                if not told:
                    log.warning("the broker did not answer, and is asked again: %s", error)
                told = True
                await asyncio.sleep(_AGAIN_S)

    def _revoked_in_thread(self, places: Partitions) -> None:
        """Have partitions closed before they are given away."""
        loop = self._loop
        if loop is None or loop.is_closed():
            return
        closing = asyncio.run_coroutine_threadsafe(self._revoked(places), loop)
        _running(self._thread).wait_for_app(closing)

    async def _revoked(self, places: Partitions) -> None:
        self._reading.void(places)
        await self._opened.close(places)


def _running(thread: ClientThread | None) -> ClientThread:
    if thread is None:
        raise RuntimeError("the app was not started")
    return thread
