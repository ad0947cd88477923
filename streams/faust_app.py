"""The contract of `streams.app` on Faust: batches from the store's positions, and nothing else."""

import asyncio
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import faust
from faust.types import TP

from streams.batches import (
    COMMIT_S,
    HEARTBEAT_S,
    POLL_RECORDS,
    Batch,
    BatchHandler,
    Hooks,
    Partitions,
)
from streams.log_levels import limit_client_messages
from streams.open_partitions import OpenPartitions
from streams.outbox import BATCH_BYTES, RECORD_BYTES, Outbox
from streams.pulse import Pulse
from streams.security import KafkaSettings
from streams.transport import BatchSchema, Transport

__all__ = ["FaustApp"]

# Batches read ahead of the handler, per agent: one is being applied, the next is ready.
_READ_AHEAD = 2
# A broker that has just started may answer without the topics. A leader of the group that assigns
# partitions at that moment assigns none, and no member asks again before the metadata is this old:
# with the client's five minutes, five minutes of silence (seen in a crash run, seed 777).
_METADATA_AGE_MS = 5_000


class FaustApp(faust.App):
    """A `streams.app.WorkerApp` on Faust, whose batched topics are read by handlers of batches.

    Topics that are not batched are read by ordinary Faust agents (`app.agent`), whose keys and
    values are bytes. While the app runs, `pulse` also has signs of life of the thread that holds
    the Kafka client.
    """

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
        """Set up Faust's app; see `streams.app.create_app` for the arguments."""
        self.group = group
        self.hooks = hooks
        self.user = kafka.sasl_username
        self.pulse = pulse
        self._assigned: set[TP] | None = None
        limit_client_messages()
        super().__init__(
            group,
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
            broker_max_poll_records=POLL_RECORDS,
            broker_session_timeout=session_timeout_s,
            broker_heartbeat_interval=min(session_timeout_s / 4, HEARTBEAT_S),
            broker_rebalance_timeout=rebalance_timeout_s,
            broker_request_timeout=max(90.0, rebalance_timeout_s + 30.0),
            producer_compression_type=compression,
            producer_max_batch_size=BATCH_BYTES,
            producer_max_request_size=RECORD_BYTES,
        )
        self.transport = Transport(self.conf.broker_consumer, self)
        self.on_partitions_revoked.connect(self._revoked, weak=False)
        self.on_partitions_assigned.connect(self._note_assigned, weak=False)
        self.on_rebalance_complete.connect(self._open, weak=False)
        self.on_before_shutdown.connect(self._shut, weak=False)

    @cached_property
    def opened(self) -> OpenPartitions:
        """The partitions whose state is open."""
        return OpenPartitions(self.hooks, self.consumer.reading, self.crash)

    @property
    def open_partitions(self) -> Partitions:
        """See `streams.app.WorkerApp`."""
        return self.opened.places

    async def member(self) -> str:
        """See `streams.app.WorkerApp`."""
        return self.consumer.member() if self._consumer is not None else ""

    def batches(self, *topics: str) -> Callable[[BatchHandler], BatchHandler]:
        """Register the handler of batched topics: an async function of one `Batch`.

        Batches of all the app's batched topics are handled one at a time.
        """
        if unknown := set(topics) - self.hooks.batched.keys():
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
        """Commit next offsets; see `streams.app.WorkerApp`."""
        if self.rebalancing or self.should_stop or not positions:
            return False
        return await self.commit_closed(positions, notes)

    async def commit_closed(
        self, positions: Mapping[tuple[str, int], int], notes: Mapping[int, str] | None = None
    ) -> bool:
        """Commit inside `on_revoked`; see `streams.app.WorkerApp`."""
        if not positions:
            return False
        offsets = {TP(topic, partition): offset for (topic, partition), offset in positions.items()}
        try:
            async with asyncio.timeout(COMMIT_S):
                return bool(await self.consumer.commit_positions(offsets, notes))
        except TimeoutError:
            return False

    async def _handle(self, handler: BatchHandler, batch: Batch) -> None:
        await self.opened.handle(handler, batch)

    async def _note_assigned(self, _app: Any, assigned: set[TP], **_: Any) -> None:
        self._assigned = {tp for tp in assigned if tp.topic in self.hooks.batched}

    async def _open(self, _app: Any, **_: Any) -> None:
        """Open what was assigned. Runs outside the group's protocol, so it may take its time."""
        await self.opened.open(lambda: self._assigned)

    async def _revoked(self, _app: Any, revoked: set[TP], **_: Any) -> None:
        self._assigned = None
        await self._close()

    async def _shut(self, _app: Any, **_: Any) -> None:
        self._assigned = None
        await self._close()

    async def _close(self) -> None:
        if self._consumer is not None:
            await self.opened.close()

    async def fail(self, error: Exception) -> None:
        """Stop as if the process had been killed: no batch more, and no `on_revoked`."""
        await self.opened.fail(error)

    async def wait_for_crash(self) -> None:
        """Return when the app has crashed."""
        await self._crashed.wait()

    def _create_directories(self) -> None:
        """Make none: there are no tables."""

    async def _producer_flush(self, _logger: Any) -> None:
        """Do nothing, since it waits for a dead broker without a limit.

        Outboxes are flushed before a position is committed, the producer when it is closed.
        """
