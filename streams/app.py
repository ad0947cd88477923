"""The app of one group of workers: the contract that agents rely on, whatever the Kafka client.

Two transports keep it. `faust` is the default: Faust's group membership on aiokafka. `librdkafka`
has the consumer protocol of KIP-848. ADR 80 compares them. tests/integration runs the same tests
over both.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from streams.batches import BatchHandler, Hooks, OnPartitions, Partitions, PassEmpty, Rewind
from streams.log_watch import CheckLog
from streams.outbox import Outbox
from streams.positions import PassOver, Positions
from streams.pulse import Pulse
from streams.security import KafkaSettings
from streams.warming import compile_record_kernels

__all__ = ["TransportError", "WorkerApp", "create_app", "require_transport"]


class TransportError(RuntimeError):
    """The transport that the settings choose cannot be used; the message says what to do."""


class WorkerApp(Protocol):
    """A member of a consumer group, whose batched topics are read by handlers of whole batches.

    Made by `create_app`. Guaranteed:

    - the batches of a partition that are handed over between two seeks are in offset order, begin
      at the position sought, and neither leave out nor repeat a record. Only committed records are
      read. Offsets without a record are reported (`pass_empty`) once what lies before is applied;
    - `on_assigned` has returned before a position of those partitions is asked for, and before
      a batch of them is handed over;
    - `on_revoked` is called when no handler is running, before the partitions can be read
      elsewhere, and no batch of them is handed over afterwards;
    - a handler that raises stops the app: no later batch is handed over and `on_revoked` is not
      called, as if the process had been killed. A new start continues from the store's positions;
    - while it runs, `pulse` has a sign of life of the thread that holds the Kafka client every few
      seconds, and `streams.running` adds one of the event loop.

    group:           name of the consumer group.
    user:            who we are to Kafka; empty where clients do not log in.
    open_partitions: those whose state is open.
    should_stop:     whether it stops, has stopped or has crashed.
    crash_reason:    why it crashed; None if it did not.
    """

    group: str
    user: str
    pulse: Pulse
    crash_reason: BaseException | None

    @property
    def open_partitions(self) -> Partitions:
        """Partitions whose state is open."""
        ...

    @property
    def should_stop(self) -> bool:
        """Whether it stops, has stopped or has crashed."""
        ...

    async def member(self) -> str:
        """Return the id of this member in its group; empty while it is in none."""
        ...

    def batches(self, *topics: str) -> Callable[[BatchHandler], BatchHandler]:
        """Register the handler of batched topics: an async function of one `Batch`.

        Batches of all the app's batched topics are handled one at a time. Raises ValueError for a
        topic that is not batched.
        """
        ...

    def outbox(self) -> Outbox:
        """Return a new outbox that writes through this app's producer."""
        ...

    async def commit_positions(
        self, positions: Mapping[tuple[str, int], int], notes: Mapping[int, str] | None = None
    ) -> bool:
        """Commit the next offset to read of partitions.

        The topics of `from_group` are read from it after a restart; for all others it only shows
        the group's lag. Returns False, without harm, during a rebalance.

        notes: by partition number, stored with its offsets; see `streams.offsets.group_notes`.
        """
        ...

    async def commit_closed(
        self, positions: Mapping[tuple[str, int], int], notes: Mapping[int, str] | None = None
    ) -> bool:
        """Commit the last positions of partitions that are being closed, inside `on_revoked`.

        Returns False, without harm, where the group does not accept it.
        """
        ...

    async def start(self) -> object:
        """Connect and join the group; call it in a running event loop."""
        ...

    async def wait(self) -> object:
        """Return, or raise, when the app has stopped or crashed."""
        ...

    async def stop(self) -> object:
        """Finish the batch in hand, close the partitions and leave the group. May be repeated."""
        ...

    async def fail(self, error: Exception) -> object:
        """Stop as if the process had been killed: no batch more, and no `on_revoked`."""
        ...

    async def crash(self, error: BaseException) -> object:
        """Note why the app stops; partitions are closed as in a stop."""
        ...

    async def wait_for_crash(self) -> None:
        """Return when the app has crashed."""
        ...


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


def create_app(
    name: str,
    kafka: KafkaSettings,
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
    the same worker. `kafka.transport` chooses the client. Raises TransportError if it is not
    installed.
    """
    # Before the group is joined: compiling in the first batch could outlast its session.
    compile_record_kernels()
    hooks = Hooks(
        batched=dict(batched),
        positions=positions,
        rewind=rewind,
        pass_over=pass_over,
        pass_empty=pass_empty,
        check_log=check_log,
        accept_gap=accept_gap,
        from_group=frozenset(from_group),
        hold=hold,
        on_assigned=on_assigned,
        on_revoked=on_revoked,
    )
    return _app_class(kafka.transport)(
        name,
        kafka,
        hooks,
        session_timeout_s=session_timeout_s,
        rebalance_timeout_s=rebalance_timeout_s,
        max_fetch_bytes=max_fetch_bytes,
        compression=compression,
        pulse=pulse or Pulse(),
    )


def require_transport(kafka: KafkaSettings) -> None:
    """Raise TransportError unless the client of `kafka.transport` is installed."""
    _app_class(kafka.transport)


def _app_class(transport: str) -> Callable[..., WorkerApp]:
    """Import the client that was chosen, and no other: each takes a part of a second."""
    if transport == "faust":
        from streams.faust_app import FaustApp  # noqa: PLC0415 see above

        return FaustApp
    try:
        from streams.librdkafka_app import LibrdkafkaApp  # noqa: PLC0415 an extra
    except ModuleNotFoundError as error:
        if error.name != "confluent_kafka":
            raise
        raise TransportError(
            'kafka.transport = "librdkafka" needs the package confluent-kafka, which is not '
            "installed: pip install segue[librdkafka]"
        ) from error
    return LibrdkafkaApp
