"""The thread that holds the Kafka client: how it starts, answers, reacts to a rebalance and ends.

Faust's own thread can wait without a limit in four places: for an answer of a thread that has
ended, for a reaction of an app that has stopped, for a start that was cancelled, and for a client
that was closed on the wrong event loop. This one does not. ADR 0028 describes the four.

Guaranteed:

- A call into the thread raises ConsumerStoppedError when the thread ends, or has ended.
- A start that does not complete raises; the reason is the app's crash reason.
- A thread that ends without being asked to crashes the app.
- From the moment the app stops, the client neither joins the group nor waits for the app.
- A stop returns within STOP_S, and the thread never keeps the process from ending.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.client import ConnectionGroup
from aiokafka.errors import (
    CommitFailedError,
    ConsumerStoppedError,
    KafkaConnectionError,
    KafkaError,
)
from aiokafka.protocol.group import LeaveGroupRequest
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from faust.types import TP
from mode import Service
from mode.threads import WorkerThread
from mode.utils.futures import all_tasks, maybe_async

from streams.record_batches import ColumnFetcher, consumer_records
from streams.security import ISOLATION

log = logging.getLogger(__name__)

FETCH_WAIT_MS = 25
"""How long the broker may hold a fetch until it has FETCH_BYTES, in milliseconds. Faust's 1,500 can
delay the records of one partition by as much when the fetch in flight was sent while it was being
read. Shorter costs an idle worker's broker more fetches; forty a second are not noticed."""
FETCH_BYTES = 64 * 1024
"""What is worth sending at once. Of one byte, Kafka's default, a worker that keeps up is given
batches of a dozen events, each of which costs as much as a hundred."""
LEAVE_S = 1.0
"""Longest wait for the broker's answer when the member leaves. Without it the group waits for the
session timeout."""
CLOSE_S = 1.5
"""Longest wait for the client to close its connections, and then for its tasks to end."""
STOP_S = LEAVE_S + 2 * CLOSE_S + 0.5
"""Longest wait of a stop for the whole thread."""


class DaemonThread(WorkerThread):
    """A thread that the process does not wait for when it ends."""

    def __init__(self, service: Any, **kwargs: Any) -> None:
        """Prepare the thread of a service."""
        super().__init__(service, **kwargs)
        self.daemon = True

    def stop(self) -> None:
        """Wait for the thread for a moment, since the event loop stands still meanwhile."""
        self.join(0.5)


class ConsumerThread(AIOKafkaConsumerThread):
    """The thread with the Kafka client in it: joins the group, sends heartbeats, fetches.

    reached: next offset that the client fetches, by partition, as of the last `getmany`.
    """

    reached: Mapping[TP, int] = {}
    Worker = DaemonThread
    shutdown_timeout = STOP_S

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Prepare a thread that has not started."""
        super().__init__(*args, **kwargs)
        self._serving: asyncio.Task[Any] | None = None
        self._running = False
        self._leaving = False
        self._ended = False
        # Calls that the app waits for, and the tasks in the thread that answer them.
        self._promises: set[asyncio.Future[Any]] = set()
        self._answers: set[asyncio.Task[None]] = set()

    # Start and end

    def _start_thread(self) -> None:
        asyncio.set_event_loop(self.thread_loop)
        reason: BaseException | None = None
        try:
            self.thread_loop.run_until_complete(self._serve())
        except BaseException as error:
            # CancelledError too: only the app's loop can do something about it.
            reason = error
        finally:
            self._on_parent(self._end, reason)
            self.thread_loop.close()

    async def _serve(self) -> None:
        self._serving = asyncio.current_task()
        beating = asyncio.ensure_future(self.app.pulse.keep("the consumer's thread"))
        try:
            await self._default_start()
            self._running = True
            self._on_parent(self._started_running)
            await self.wait_until_stopped()
        finally:
            self._leaving = True
            beating.cancel()
            await self._shutdown_thread()
            await self._gather_remaining_tasks()

    def _started_running(self) -> None:
        if self._thread_running is not None and not self._thread_running.done():
            self._thread_running.set_result(None)

    def _end(self, reason: BaseException | None) -> None:
        """On the app's loop: release everything that waits for the thread."""
        self._ended = True
        self._shutdown.set()
        stopped = ConsumerStoppedError("the consumer's thread has ended")
        error = reason if isinstance(reason, Exception) else stopped
        if self._thread_running is not None and not self._thread_running.done():
            self._thread_running.set_exception(error)
        for promise in self._promises:
            if not promise.done():
                promise.set_exception(ConsumerStoppedError())
        if not self._stopped.is_set() and not self.app.should_stop:
            self._crash_app(error)

    def _crash_app(self, error: Exception) -> None:
        asyncio.ensure_future(self.app.crash(error), loop=self.parent_loop)  # noqa: RUF006

    async def crash(self, exc: BaseException) -> None:
        """Crash the app, from any thread; its events belong to its own loop."""
        error = exc if isinstance(exc, Exception) else ConsumerStoppedError(repr(exc))
        self._on_parent(self._crash_app, error)

    def _on_parent(self, call: Callable[..., None], *args: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the app's loop is closed
            self.parent_loop.call_soon_threadsafe(call, *args)

    async def stop(self) -> None:
        """Stop the thread, also one that is still starting. Returns within STOP_S."""
        if self._thread_started.is_set():
            try:
                await Service.stop(self)
            except TimeoutError:
                log.warning("the consumer's thread does not end; the process ends without it")
            if self._thread is not None:
                self._thread.stop()

    def _stopped_set(self) -> None:
        with contextlib.suppress(RuntimeError):  # the thread's loop is closed
            self.thread_loop.call_soon_threadsafe(self._stop_serving)

    def _stop_serving(self) -> None:
        self._stopped.set()
        if self._serving is not None and not self._running:
            self._serving.cancel()  # it may be connecting, which can take minutes

    async def on_thread_stop(self) -> None:
        """Leave the group and close the client, without waiting for other members or the app."""
        consumer = self._consumer
        if consumer is None:
            return
        if consumer._coordinator is not None:
            await self._leave(consumer._coordinator)
        # aiokafka raises CancelledError when one of its tasks has not begun to run.
        with contextlib.suppress(TimeoutError, asyncio.CancelledError, KafkaError):
            await asyncio.wait_for(consumer.stop(), CLOSE_S)

    async def _leave(self, coordinator: Any) -> None:
        """Give up what the coordinator does, then leave the group by another connection.

        A member that waits for a rebalance has a request in flight, which the broker answers only
        when all members have joined; it reads no other request of that connection before.
        """
        coordination = getattr(coordinator, "_coordination_task", None)
        if coordination is not None:
            coordination.cancel()
            await asyncio.wait({coordination}, timeout=CLOSE_S)
        member, node = coordinator.member_id, coordinator.coordinator_id
        if not member or node is None:
            return
        request = LeaveGroupRequest(coordinator.group_id, member)
        try:
            await asyncio.wait_for(
                coordinator._client.send(node, request, group=ConnectionGroup.DEFAULT), LEAVE_S
            )
        except (TimeoutError, KafkaError) as error:
            log.info("the group was left without an answer of the broker: %s", _one_line(error))
        coordinator.reset_generation()  # `close` leaves a group that it thinks to be in

    async def _gather_remaining_tasks(self) -> None:
        tasks = all_tasks(loop=self.thread_loop) - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_S)

    def close(self) -> None:
        """Do nothing: the client belongs to this thread's loop, which closes it when it stops."""

    # Calls from the app

    async def on_thread_started(self) -> None:
        """Do nothing: there is no queue of calls, see `call_thread`."""

    async def call_thread(
        self, fun: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any
    ) -> Any:
        """Call a function in the thread and return its result.

        Raises what it raises, and ConsumerStoppedError when the thread has ended or ends meanwhile.
        """
        if self._ended:
            raise ConsumerStoppedError
        promise = self.parent_loop.create_future()
        self._promises.add(promise)
        promise.add_done_callback(self._promises.discard)
        try:
            self.thread_loop.call_soon_threadsafe(
                self._begin, promise, partial(fun, *args, **kwargs)
            )
        except RuntimeError as error:  # the loop was closed a moment ago
            raise ConsumerStoppedError from error
        return await promise

    def _begin(self, promise: asyncio.Future[Any], call: Callable[[], Any]) -> None:
        answer = self.thread_loop.create_task(self._answer(promise, call))
        self._answers.add(answer)
        answer.add_done_callback(self._answers.discard)

    async def _answer(self, promise: asyncio.Future[Any], call: Callable[[], Any]) -> None:
        result: Any = None
        error: Exception | None = None
        try:
            result = await maybe_async(call())
        except asyncio.CancelledError:
            # aiokafka cancels requests of a connection that is lost; that can be tried again.
            error = ConsumerStoppedError() if self._leaving else KafkaConnectionError()
        except Exception as raised:
            error = raised
        self._on_parent(_settle, promise, result, error)

    # Rebalances

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Let the app close partitions before the group is joined again."""
        await self._in_app(self.consumer.on_partitions_revoked(revoked))

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Let the app take its partitions."""
        await self._in_app(self.consumer.on_partitions_assigned(assigned, generation_id))

    async def _in_app(self, reaction: Coroutine[Any, Any, None]) -> None:
        """Wait until the app has reacted, on its own loop.

        Raises CancelledError, which ends the coordinator's work, when the app stops: a member that
        is about to leave must not join, and an app that has stopped no longer reacts.
        """
        if self.app.should_stop or self._stopped.is_set():
            reaction.close()
            raise asyncio.CancelledError
        try:
            reacting = asyncio.run_coroutine_threadsafe(reaction, self.parent_loop)
        except RuntimeError:  # the app's loop is closed
            reaction.close()
            raise asyncio.CancelledError from None
        await asyncio.wrap_future(reacting)
        if self.app.should_stop:
            raise asyncio.CancelledError

    # Commits, and how the client is made

    def _create_worker_consumer(self, transport: Any) -> AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        consumer._fetch_min_bytes = FETCH_BYTES
        consumer._isolation_level = ISOLATION
        return consumer

    async def on_start(self) -> None:
        """Start the client. It is assigned nothing yet, and so has fetched nothing."""
        await super().on_start()
        ColumnFetcher.take_over(self._ensure_consumer()._fetcher)

    async def _fetch_records(
        self, consumer: AIOKafkaConsumer, active_partitions: set[TP], **options: Any
    ) -> Mapping[TP, Sequence[Any]]:
        """Return columns of batched topics by partition, and records of others."""
        # Faust's type says otherwise of what its client returns.
        fetched: Any = await super()._fetch_records(consumer, active_partitions, **options)
        records: dict[TP, Sequence[Any]] = {
            tp: columns if tp.topic in self.app.hooks.batched else consumer_records(columns)
            for tp, columns in fetched.items()
        }
        subscription = consumer._subscription.subscription
        places = subscription.assignment if subscription else None
        found = ((tp, places.state_value(tp)) for tp in active_partitions) if places else ()
        self.reached = {
            tp: state.position for tp, state in found if state and state.has_valid_position
        }
        return records

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Do nothing: Faust's watchdog reports partitions without traffic as errors."""

    async def commit(
        self, offsets: Mapping[TP, int], notes: Mapping[int, str] | None = None
    ) -> bool:
        """Commit what is still assigned; return False when the group does not accept it.

        A commit that fails costs nothing: the next one covers it, or the records are read again.
        notes: by partition number, stored with its offsets.
        """
        return bool(await self.call_thread(self._commit, offsets, notes or {}))

    async def _commit(
        self, offsets: Mapping[TP, int], notes: Mapping[int, str] | None = None
    ) -> bool:
        assigned = self.assignment()
        entries = {
            TopicPartition(*tp): OffsetAndMetadata(offset, (notes or {}).get(tp[1], ""))
            for tp, offset in offsets.items()
            if tp in assigned
        }
        if not entries:
            return False
        try:
            await self._ensure_consumer().commit(entries)
        except CommitFailedError:
            log.debug("offsets are not committed during a rebalance; the next commit covers them")
            return False
        except KafkaError as error:
            log.info("offsets are not committed, the next commit covers them: %s", _one_line(error))
            return False
        return True


def _settle(promise: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if promise.done():
        return
    if error is None:
        promise.set_result(result)
    else:
        promise.set_exception(error)


def _one_line(error: BaseException) -> str:
    """Return an error as one line: aiokafka's messages can have several."""
    return " ".join(repr(error).split())
