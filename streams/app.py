"""The Faust app of a worker: batches from the store's positions, and nothing else switched on."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Protocol

import faust
from faust.types import TP

from streams.log_levels import limit_client_messages
from streams.log_source import concerning
from streams.log_watch import CheckLog
from streams.outbox import Outbox
from streams.positions import PassOver, Positions
from streams.pulse import Pulse
from streams.transport import Batch, BatchSchema, Rewind, Transport
from streams.warming import compile_record_kernels

Partitions = set[tuple[str, int]]
OnPartitions = Callable[[Partitions], Awaitable[None]]
BatchHandler = Callable[[Batch], Awaitable[None]]

# Batches read ahead of the handler, per agent: one is being applied, the next is ready.
_READ_AHEAD = 2
# A broker that has just started may answer without the topics. A leader of the group that assigns
# partitions at that moment assigns none, and no member asks again before the metadata is this old:
# with the client's five minutes, five minutes of silence (seen in a crash run, seed 777).
_METADATA_AGE_MS = 5_000
# A commit that takes longer is given up: the next one, or the next owner, makes good for it.
_COMMIT_S = 2.0
# Records that are made of fetched bytes at once. A compressed fetch can hold half a million, each
# of them 700 bytes as an object: without a limit a worker took 1.6 GB where it now takes half.
_POLL_RECORDS = 8_192


class FaustSettings(Protocol):
    """What an app needs to know about Kafka; `streams.security.KafkaSettings` has it."""

    @property
    def sasl_username(self) -> str:
        """Return the user name for Kafka; empty where clients do not log in."""
        ...

    def for_faust(self) -> dict[str, Any]:
        """Return the keyword arguments of faust.App: broker, broker_credentials, ..."""
        ...


PassEmpty = Callable[[str, int, int, int], Awaitable[bool]]
"""(topic, partition, first, end): no offset from `first` up to `end` holds a record to apply.

Returns whether the store has noted it; False if it has not yet applied all that lies before."""


async def _nothing(_partitions: Partitions) -> None:
    """Take note of partitions that come and go."""


def _forget(_topic: str, _partition: int, _offset: int) -> None:
    """Take no note of records that are passed over."""


def _never(_topic: str) -> bool:
    """Hold back no topic."""
    return False


async def _check_nothing() -> None:
    """Trust that the topics stay what they are."""


async def _pass_nothing(_topic: str, _partition: int, _first: int, _end: int) -> bool:
    """Take no note of offsets without records."""
    return True


class WorkerApp(faust.App):
    """A Faust app whose batched topics are read by handlers of whole batches.

    Made by `create_app`. Guaranteed:

    - `on_assigned` has returned before a position of those partitions is asked for, and before
      a batch of them is handed over;
    - `on_revoked` is called when no handler is running, before the partitions can be read
      elsewhere, and no batch of them is handed over afterwards;
    - a handler that raises stops the app: no later batch is handed over and `on_revoked` is not
      called, as if the process had been killed. A new start continues from the store's positions;
    - while it runs, `pulse` has a sign of life every second of the event loop and of the thread
      that holds the Kafka client.
    """

    def __init__(
        self,
        name: str,
        *,
        batched: Mapping[str, int],
        positions: Positions,
        rewind: Rewind,
        pass_over: PassOver,
        pass_empty: PassEmpty,
        check_log: CheckLog,
        accept_gap: bool,
        from_group: Collection[str],
        hold: Callable[[str], bool],
        on_assigned: OnPartitions,
        on_revoked: OnPartitions,
        user: str,
        pulse: Pulse,
        **settings: Any,
    ) -> None:
        """Set up Faust's app; see `create_app` for the arguments."""
        self.batched = dict(batched)
        self.positions = positions
        self.rewind = rewind
        self.pass_over = pass_over
        self._pass_empty = pass_empty
        self.check_log = check_log
        self.accept_gap = accept_gap
        self.from_group = frozenset(from_group)
        self.hold = hold
        self.user = user
        self.pulse = pulse
        self.open_partitions: set[TP] = set()
        self.failed = False
        self._on_assigned = on_assigned
        self._on_revoked = on_revoked
        self._assigned: set[TP] | None = None
        # One at a time: a batch being handled, partitions being opened or closed.
        self._turn = asyncio.Lock()
        limit_client_messages()
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

    async def commit_positions(
        self, positions: Mapping[tuple[str, int], int], notes: Mapping[int, str] | None = None
    ) -> bool:
        """Commit the next offset to read of partitions.

        The topics of `from_group` are read from it after a restart; for all others it only shows
        the group's lag. Returns False, without harm, during a rebalance.

        notes: by partition number, stored with its offsets; see `streams.offsets.group_notes`.
        """
        if self.rebalancing or self.should_stop or not positions:
            return False
        return await self.commit_closed(positions, notes)

    async def commit_closed(
        self, positions: Mapping[tuple[str, int], int], notes: Mapping[int, str] | None = None
    ) -> bool:
        """Commit the last positions of partitions that are being closed, inside `on_revoked`.

        Returns False, without harm, where the group does not accept it.
        """
        if not positions:
            return False
        offsets = {TP(topic, partition): offset for (topic, partition), offset in positions.items()}
        try:
            async with asyncio.timeout(_COMMIT_S):
                return bool(await self.consumer.commit_positions(offsets, notes))
        except TimeoutError:
            return False

    async def pass_empty(self, tp: TP, first: int, end: int, epoch: int) -> bool:
        """Have the store go on behind offsets without records; False while it is busy.

        epoch: number of the seek after which the consumer found them.
        """
        if self._turn.locked():
            return False  # what lies before is still being applied; the next fetch asks again
        async with self._turn:
            if self.failed or not self.consumer.is_at(tp, epoch):
                return False
            return await self._pass_empty(tp.topic, tp.partition, first, end)

    async def _handle(self, handler: BatchHandler, batch: Batch) -> None:
        async with self._turn:
            if self.failed or not self.consumer.is_current(batch):
                return
            with concerning(batch):
                try:
                    await handler(batch)
                except Exception as error:
                    await self.fail(error)
                except asyncio.CancelledError as error:
                    if _is_cancelled():
                        raise
                    # A future of the handler was cancelled. Faust would end its agent silently.
                    await self.fail(RuntimeError(f"a handler was interrupted: {error!r}"))

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
                await self.fail(error)
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
                await self.fail(error)

    async def fail(self, error: Exception) -> None:
        """Stop as if the process had been killed: no batch more, and no `on_revoked`."""
        self.failed = True
        await self.crash(error)

    async def wait_for_crash(self) -> None:
        """Return when the app has crashed."""
        await self._crashed.wait()

    def _create_directories(self) -> None:
        """Make none: there are no tables."""

    async def _producer_flush(self, _logger: Any) -> None:
        """Do nothing, since it waits for a dead broker without a limit.

        Outboxes are flushed before a position is committed, the producer when it is closed.
        """


def _is_cancelled() -> bool:
    """Return whether the current task is cancelled, and not a future that it waits for."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def create_app(
    name: str,
    kafka: FaustSettings,
    *,
    batched: Mapping[str, int],
    positions: Positions = lambda _topic, _partition: None,
    rewind: Rewind = lambda _topic, _partition: 0,
    pass_over: PassOver = _forget,
    pass_empty: PassEmpty = _pass_nothing,
    check_log: CheckLog = _check_nothing,
    accept_gap: bool = False,
    from_group: Collection[str] = (),
    hold: Callable[[str], bool] = _never,
    on_assigned: OnPartitions = _nothing,
    on_revoked: OnPartitions = _nothing,
    session_timeout_s: float = 6.0,
    rebalance_timeout_s: float = 60.0,
    max_fetch_bytes: int = 4 * 1024 * 1024,
    compression: str | None = "zstd",
    pulse: Pulse | None = None,
) -> WorkerApp:
    """Make the app of one group of workers.

    name:                the consumer group.
    batched:             topics read by batches, each with the greatest length of a batch.
    positions:           (topic, partition) -> next offset to read, None for the earliest. Asked
                         after on_assigned; the group's committed offset plays no part. The app
                         fails with PositionError if the log does not hold that offset.
    from_group:          batched topics without a store: read from the group's committed offset,
                         which `commit_positions` sets; from the earliest record where there is
                         none or the log no longer has it.
    hold:                topic -> whether its records stay in the log for now.
    rewind:              (topic, partition) -> how many records before that position to hand over
                         again, as far as they are still there.
    pass_over:           (topic, partition, offset): told where reading begins when a store
                         without a position finds a log whose first records are gone, or when a
                         gap is accepted; what lies before the offset will never come.
    pass_empty:          told of offsets that hold no record for us: markers of transactions,
                         aborted records, compacted ones. A store that goes on behind them has
                         no lag left at the end of the log.
    check_log:           raises LogChanged unless the topics are those that the stores were made
                         from; called where records come that lie before the position.
    accept_gap:          go on, without failing, behind records that the log has deleted.
    on_assigned:         opens the state of batched partitions ((topic, partition) pairs).
    on_revoked:          commits and closes it; must be done within rebalance_timeout_s.
    session_timeout_s:   a worker that is silent for so long loses its partitions to the others.
    rebalance_timeout_s: how long the others wait for a worker to finish its batch and close.
    max_fetch_bytes:     most bytes of one partition in one fetch; a larger record still passes.
    compression:         of the records produced: lz4, zstd, gzip, snappy or None.
    pulse:               takes signs of life, for a liveness probe.

    Topics with the same number of partitions are assigned together: partition n of each goes to
    the same worker. Topics that are not batched are read by ordinary Faust agents (`app.agent`),
    whose keys and values are bytes.
    """
    # Before the group is joined: compiling in the first batch could outlast its session.
    compile_record_kernels()
    return WorkerApp(
        name,
        batched=batched,
        positions=positions,
        rewind=rewind,
        pass_over=pass_over,
        pass_empty=pass_empty,
        check_log=check_log,
        accept_gap=accept_gap,
        from_group=from_group,
        hold=hold,
        on_assigned=on_assigned,
        on_revoked=on_revoked,
        user=kafka.sasl_username,
        pulse=pulse or Pulse(),
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
