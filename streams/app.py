"""The Faust app of a worker: batches from the store's positions, and nothing else switched on."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import faust
from faust.types import TP

from streams.log_levels import demote_ordinary_warnings
from streams.log_source import concerning
from streams.outbox import Outbox
from streams.positions import PassOver, PositionError, Positions
from streams.rights import explained_refusal
from streams.transport import Batch, BatchSchema, Rewind, Transport

log = logging.getLogger(__name__)

Partitions = set[tuple[str, int]]
OnPartitions = Callable[[Partitions], Awaitable[None]]
BatchHandler = Callable[[Batch], Awaitable[None]]

# Batches read ahead of the handler, per agent: one is being applied, the next is ready.
_READ_AHEAD = 2
# A broker that has just started may answer without the topics. A leader of the group that assigns
# partitions at that moment assigns none, and nobody asks again before the metadata is this old:
# with the client's five minutes, five minutes of silence (seen in a crash run, seed 777).
_METADATA_AGE_MS = 5_000
# Records that are made of fetched bytes at once. A compressed fetch can hold half a million, each
# of them 700 bytes as an object: without a limit a worker took 1.6 GB where it now takes half.
_POLL_RECORDS = 8_192


class FaustSettings(Protocol):
    """What an app needs to know about Kafka; `streams.security.KafkaSettings` has it."""

    @property
    def sasl_username(self) -> str:
        """Return who we are to Kafka; empty where nobody logs in."""
        ...

    def for_faust(self) -> dict[str, Any]:
        """Return the keyword arguments of faust.App: broker, broker_credentials, ..."""
        ...


async def _nothing(_partitions: Partitions) -> None:
    """Take note of partitions that come and go."""


def _forget(_topic: str, _partition: int, _offset: int) -> None:
    """Take no note of records that are passed over."""


class WorkerApp(faust.App):
    """A Faust app whose batched topics are read by handlers of whole batches.

    Made by `create_app`. Guaranteed:

    - `on_assigned` has returned before a position of those partitions is asked for, and before
      a batch of them is handed over;
    - `on_revoked` is called when no handler is running, before the partitions can be read
      elsewhere, and no batch of them is handed over afterwards;
    - a handler that raises stops the app: no later batch is handed over and `on_revoked` is not
      called, as if the process had been killed. A new start continues from the store's positions.
    """

    def __init__(
        self,
        name: str,
        *,
        batched: Mapping[str, int],
        positions: Positions,
        rewind: Rewind,
        pass_over: PassOver,
        accept_gap: bool,
        on_assigned: OnPartitions,
        on_revoked: OnPartitions,
        user: str,
        **settings: Any,
    ) -> None:
        """Set up Faust's app; see `create_app` for the arguments."""
        self.batched = dict(batched)
        self.positions = positions
        self.rewind = rewind
        self.pass_over = pass_over
        self.accept_gap = accept_gap
        self.user = user
        self.open_partitions: set[TP] = set()
        self.failed = False
        self._on_assigned = on_assigned
        self._on_revoked = on_revoked
        self._assigned: set[TP] | None = None
        # One at a time: a batch being handled, partitions being opened or closed.
        self._turn = asyncio.Lock()
        demote_ordinary_warnings()
        super().__init__(name, **settings)
        self.transport = Transport(self.conf.broker_consumer, self)
        self.on_partitions_revoked.connect(self._revoked, weak=False)
        self.on_partitions_assigned.connect(self._note_assigned, weak=False)
        self.on_rebalance_complete.connect(self._open, weak=False)
        self.on_before_shutdown.connect(self._shut, weak=False)

    def batches(self, *topics: str) -> Callable[[BatchHandler], BatchHandler]:
        """Register the handler of batched topics: an async function of one `Batch`.

        Batches of all the app's batched topics are handled one at a time.
        """
        if unknown := set(topics) - self.batched.keys():
            raise ValueError(f"not among the app's batched topics: {', '.join(sorted(unknown))}")

        def register(handler: BatchHandler) -> BatchHandler:
            topic = self.topic(*topics, schema=BatchSchema(), acks=False, maxsize=_READ_AHEAD)

            async def agent(stream: Any) -> None:
                async for batch in stream:
                    await self._handle(handler, batch)

            self.agent(topic, name=f"{handler.__module__}.{handler.__qualname__}")(agent)
            return handler

        return register

    def outbox(self) -> Outbox:
        """Return a new outbox that writes through this app's producer."""
        return Outbox(self.producer)

    async def commit_positions(self, positions: Mapping[tuple[str, int], int]) -> bool:
        """Commit the next offset to read of partitions, for whoever watches the group's lag.

        Nothing is ever read back from it. Returns False, without harm, during a rebalance.
        """
        if self.rebalancing or self.should_stop or not positions:
            return False
        offsets = {TP(topic, partition): offset for (topic, partition), offset in positions.items()}
        return bool(await self.consumer.commit_positions(offsets))

    async def _handle(self, handler: BatchHandler, batch: Batch) -> None:
        async with self._turn:
            if self.failed or not self.consumer.is_current(batch):
                return
            with concerning(batch):
                try:
                    await handler(batch)
                except Exception as error:
                    await self._fail(error)

    async def _note_assigned(self, _app: Any, assigned: set[TP], **_: Any) -> None:
        self._assigned = {tp for tp in assigned if tp.topic in self.batched}

    async def _open(self, _app: Any, **_: Any) -> None:
        """Open what was assigned. Runs outside the group's protocol, so it may take its time."""
        async with self._turn:
            if self._assigned is None or self.failed:
                return  # revoked again meanwhile
            gained = self._assigned - self.open_partitions
            try:
                if gained:
                    await self._on_assigned({(tp.topic, tp.partition) for tp in gained})
                    self.open_partitions |= gained
            except Exception as error:
                await self._fail(error)
                raise

    async def _revoked(self, _app: Any, revoked: set[TP], **_: Any) -> None:
        self._assigned = None
        await self._close()

    async def _shut(self, _app: Any, **_: Any) -> None:
        self._assigned = None
        await self._close()

    async def _close(self) -> None:
        async with self._turn:
            if self._consumer is not None:
                self._consumer.void()
            closing, self.open_partitions = self.open_partitions, set()
            if not closing or self.failed:
                return
            try:
                await self._on_revoked({(tp.topic, tp.partition) for tp in closing})
            except Exception as error:
                await self._fail(error)

    async def _fail(self, error: Exception) -> None:
        self.failed = True
        await self.crash(error)

    def _create_directories(self) -> None:
        """Make none: there are no tables."""


def create_app(
    name: str,
    kafka: FaustSettings,
    *,
    batched: Mapping[str, int],
    positions: Positions = lambda _topic, _partition: None,
    rewind: Rewind = lambda _topic, _partition: 0,
    pass_over: PassOver = _forget,
    accept_gap: bool = False,
    on_assigned: OnPartitions = _nothing,
    on_revoked: OnPartitions = _nothing,
    session_timeout_s: float = 6.0,
    rebalance_timeout_s: float = 60.0,
    max_fetch_bytes: int = 4 * 1024 * 1024,
    compression: str | None = "zstd",
) -> WorkerApp:
    """Make the app of one group of workers.

    name:                the consumer group.
    batched:             topics read by batches, each with the greatest length of a batch.
    positions:           (topic, partition) -> next offset to read, None for the earliest. Asked
                         after on_assigned; the group's committed offset plays no part. The app
                         fails with PositionError if the log does not hold that offset.
    rewind:              (topic, partition) -> how many records before that position to hand over
                         again, as far as they are still there.
    pass_over:           (topic, partition, offset): told where reading begins when a store
                         without a position finds a log whose first records are gone, or when a
                         gap is accepted; what lies before the offset will never come.
    accept_gap:          go on, without failing, behind records that the log has deleted.
    on_assigned:         opens the state of batched partitions ((topic, partition) pairs).
    on_revoked:          commits and closes it; must be done within rebalance_timeout_s.
    session_timeout_s:   a worker that is silent for so long loses its partitions to the others.
    rebalance_timeout_s: how long the others wait for a worker to finish its batch and close.
    max_fetch_bytes:     most bytes of one partition in one fetch; a larger record still passes.
    compression:         of the records produced: lz4, zstd, gzip, snappy or None.

    Topics with the same number of partitions are assigned together: partition n of each goes to
    the same worker. Topics that are not batched are read by ordinary Faust agents (`app.agent`),
    whose keys and values are bytes.
    """
    return WorkerApp(
        name,
        batched=batched,
        positions=positions,
        rewind=rewind,
        pass_over=pass_over,
        accept_gap=accept_gap,
        on_assigned=on_assigned,
        on_revoked=on_revoked,
        user=kafka.sasl_username,
        **kafka.for_faust(),
        autodiscover=False,
        key_serializer="raw",
        value_serializer="raw",
        web_enabled=False,
        store="memory://",
        topic_disable_leader=True,
        topic_allow_declare=False,
        reply_create_topic=False,
        # More than none chooses Faust's assignor, which keeps equal partition numbers together.
        table_standby_replicas=1,
        stream_wait_empty=False,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=max_fetch_bytes,
        consumer_metadata_max_age_ms=_METADATA_AGE_MS,
        broker_max_poll_records=_POLL_RECORDS,
        broker_session_timeout=session_timeout_s,
        broker_heartbeat_interval=session_timeout_s / 4,
        broker_rebalance_timeout=rebalance_timeout_s,
        broker_request_timeout=max(90.0, rebalance_timeout_s + 30.0),
        producer_compression_type=compression,
        producer_max_batch_size=256 * 1024,
        producer_max_request_size=9 * 1024 * 1024,
    )


async def commit_positions(app: WorkerApp, positions: Mapping[tuple[str, int], int]) -> bool:
    """Commit next offsets for lag monitoring; see `WorkerApp.commit_positions`."""
    return await app.commit_positions(positions)


def run_app(app: WorkerApp) -> int:
    """Run an app until SIGTERM or SIGINT, or until it fails; return the exit status of the process.

    0: stopped by a signal; the batch in hand was finished and on_revoked called before the group
       was left. A second signal ends the process at once.
    1: it failed; the reason is in the log and in `app.crash_reason`.
    """
    return asyncio.run(serve(app))


async def serve(app: WorkerApp) -> int:
    """Do what `run_app` does, inside a running event loop of the main thread."""
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()

    def ask() -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        asked.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ask)
    running = asyncio.ensure_future(_run(app))
    waiting = asyncio.ensure_future(asked.wait())
    try:
        await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
        await app.stop()
    finally:
        for task in (running, waiting):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
    if app.crash_reason is not None:
        reason = app.crash_reason
        # Written for people; of other errors the kind says more than their text.
        told = str(reason) if isinstance(reason, PositionError) else repr(reason)
        log.error("%s stopped: %s", app.conf.id, explained_refusal(app.user, reason) or told)
        return 1
    return 0


async def _run(app: WorkerApp) -> None:
    try:
        await app.start()
        await app.wait()
    except Exception as error:
        if app.crash_reason is None:
            app.crash_reason = error
        raise
