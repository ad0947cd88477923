"""The roles as Faust apps: connects topics with agents."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from aiokafka.errors import KafkaError

from agents.settings import TrainerSettings, WorkerSettings
from agents.train import Train
from agents.worker import Worker
from streams import (
    AdminError,
    Held,
    KafkaSettings,
    LogRecord,
    PositionError,
    TopicIdentity,
    TopicSettings,
    UnreachableError,
    held_offsets,
)
from streams.admin import partition_counts
from streams.app import WorkerApp, create_app
from streams.broadcast import RETRY_S, Broadcast, read_again
from streams.log_source import concerning
from streams.log_watch import LogWatch, SameTopics, check_again
from streams.outbox import Headers, Outbox, Outgoing
from streams.pulse import Pulse
from streams.running import serve

__all__ = ["KafkaOutputs", "serve_trainer", "serve_worker"]

logger = logging.getLogger(__name__)

COMMIT_GROUP_S = 0.2
EXAMPLE_RECORDS = 32
MISSING_S = 2.0

Taken = Callable[[Sequence[LogRecord]], None]


def _forget(_records: Sequence[LogRecord]) -> None:
    """Take no note of what was read."""


class KafkaOutputs:
    """Outputs through the producer of an app that is created after the agents."""

    def __init__(self) -> None:
        """Wait for `app`."""
        self.app: WorkerApp | None = None
        self._outbox: Outbox | None = None

    async def send(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers | None = None
    ) -> None:
        """Queue a record."""
        await self._open().send(topic, key, value, headers=headers)

    async def send_many(self, topic: str, records: Sequence[Outgoing]) -> None:
        """Queue records that go to the partitions of their keys."""
        await self._open().send_many(topic, records)

    async def flush(self) -> None:
        """Wait for the acknowledgement of everything sent."""
        await self._open().flush()

    def _open(self) -> Outbox:
        if self._outbox is None:
            if self.app is None:
                raise RuntimeError("the app of these outputs does not exist yet")
            self._outbox = self.app.outbox()
        return self._outbox


async def serve_worker(
    worker: Worker,
    outputs: KafkaOutputs,
    kafka: KafkaSettings,
    topics: TopicSettings,
    settings: WorkerSettings,
    *,
    accept_gap: bool = False,
    begin_again: bool = False,
    pulse: Pulse | None = None,
    on_stop: Callable[[], None] = lambda: None,
    stop: asyncio.Event | None = None,
    taken: Taken = _forget,
    tell_member: Callable[[str, str], None] | None = None,
) -> int:
    """Run `segue worker` until it is stopped or fails; returns the exit status.

    accept_gap: continue although the log has deleted records that a state needs; the state records
                the gap.
    begin_again: set aside states of earlier topics with the same names.
    pulse:      receives heartbeats. on_stop: called when the stop begins. stop: stops it in the
                place of a signal.
    taken:      told of records of topics that every process reads whole, once they are taken.
    tell_member: told of the group and of this process's member id in it.
    """

    watch = LogWatch(kafka)

    async def assigned(partitions: set[tuple[str, int]]) -> None:
        # A state that is not set aside would go on at a position of another topic.
        log = await watch.wait_for_topics(worker.topics, lambda: not begin_again or app.should_stop)
        await worker.assigned(partitions, log, begin_again=begin_again)

    async def revoked(partitions: Iterable[tuple[str, int]]) -> None:
        # Without this commit the next worker answers the latest requests a second time.
        positions, counts = await worker.revoked(partitions)
        await app.commit_closed(positions, _notes(counts))

    catalogue = worker.channels.items.topics
    same = SameTopics()

    async def topics_now(names: Sequence[str]) -> Mapping[str, TopicIdentity]:
        found = await watch.topics_now(names)
        worker.tally.topics.note(names, found)
        return found

    async def check_log() -> None:
        await worker.check_log(lambda: topics_now(worker.topics))
        same.check((await topics_now(worker.channels.items.watched)).values())

    app = create_app(
        settings.group,
        kafka,
        batched=dict.fromkeys((*worker.topics, topics.requests), settings.batch),
        positions=worker.partitions.position,
        rewind=worker.partitions.rewind,
        pass_over=worker.partitions.pass_over,
        pass_empty=worker.pass_empty,
        accept_gap=accept_gap,
        check_log=check_log,
        from_group={topics.requests},
        hold=worker.holds,
        on_assigned=assigned,
        on_revoked=revoked,
        session_timeout_s=settings.session_timeout_s,
        rebalance_timeout_s=settings.rebalance_timeout_s,
        pulse=pulse,
    )
    outputs.app = app
    app.batches(*worker.topics, topics.requests)(worker.handle)

    jobs: list[Coroutine[Any, Any, None]] = []
    if worker.standby is not None:
        worker.standby.begin_again = begin_again
        jobs.append(worker.standby.run(watch))
    if tell_member is not None:
        jobs.append(_tell_member(app, tell_member))
    policies, follow = worker.channels.policies, partial(_follow, kafka, taken=taken)
    policies.wait()
    status = await _serve(
        app,
        on_stop,
        stop,
        worker.run(asyncio.Event()),
        follow(topics.models, worker.channels.announced),
        *_follow_all(follow, catalogue, worker.channels.catalogue, policies.catalogue_read),
        worker.channels.keep_bringing(),
        follow(topics.policies, policies.take, policies.policies_read, optional=True),
        follow(topics.demand, worker.models.demand),
        follow(topics.rows, worker.channels.rows, optional=True),
        _show_positions(app, worker.positions, worker.counts),
        check_again(check_log),
        *jobs,
    )
    if worker.standby is not None:
        await worker.standby.stop()
    await watch.close()
    # The group was left: others read the partitions by now.
    await worker.uploaded()
    return status


async def serve_trainer(
    train: Train,
    outputs: KafkaOutputs,
    kafka: KafkaSettings,
    topics: TopicSettings,
    settings: TrainerSettings,
    *,
    pulse: Pulse | None = None,
    on_stop: Callable[[], None] = lambda: None,
    stop: asyncio.Event | None = None,
) -> int:
    """Run `segue trainer` until it is stopped or fails; returns the exit status.

    pulse:      receives heartbeats. on_stop: called when the stop begins. stop: stops it in the
                place of a signal.
    """
    # Before the group is joined: this may wait for the artifact store, and no rebalance should.
    await train.assigned()
    watch, same, examples = LogWatch(kafka), SameTopics(), (topics.examples,)
    demand_read, catalogue_read = asyncio.Event(), asyncio.Event()
    ends: dict[tuple[str, int], int] = {}
    ends_found = asyncio.Event()

    def caught_up() -> bool:
        known = demand_read.is_set() and ends_found.is_set()
        return known and all((train.position(*part) or 0) >= end for part, end in ends.items())

    async def assigned(_partitions: set[tuple[str, int]]) -> None:
        log = await watch.wait_for_topics(examples, lambda: app.should_stop)
        train.read.begin(log, await _held(kafka, examples, lambda: app.should_stop))

    async def check_log() -> None:
        train.read.check(await watch.topics_now(examples))
        same.check((await watch.topics_now(train.items.watched)).values())

    train.begin_when(caught_up, catalogue_read.is_set)
    app = create_app(
        settings.own_group,
        kafka,
        batched={topics.examples: EXAMPLE_RECORDS},
        positions=train.position,
        pass_over=train.passed_over,
        accept_gap=True,  # examples that are gone are a loss, not an error
        on_assigned=assigned,
        pulse=pulse,
    )
    outputs.app = app
    app.batches(topics.examples)(train.examples_came)
    status = await _serve(
        app,
        on_stop,
        stop,
        train.run(asyncio.Event()),
        _find_ends(kafka, topics.examples, ends, ends_found),
        _follow(kafka, topics.models, train.announced),
        _follow(kafka, topics.demand, train.demand, demand_read),
        *_follow_all(partial(_follow, kafka), train.items.topics, train.catalogue, catalogue_read),
        _show_positions(app, train.positions),
        check_again(check_log),
    )
    await watch.close()
    if status == 0:
        await train.close()
    return status


async def _serve(
    app: WorkerApp,
    on_stop: Callable[[], None],
    stop: asyncio.Event | None,
    *jobs: Coroutine[Any, Any, None],
) -> int:
    """Run an app with background jobs; a job that fails stops the app."""
    beside = [asyncio.ensure_future(_crash_with(app, job)) for job in jobs]
    try:
        return await serve(app, on_stop=on_stop, stop=stop)
    finally:
        for job in beside:
            job.cancel()
        await asyncio.gather(*beside, return_exceptions=True)


async def _crash_with(app: WorkerApp, job: Coroutine[Any, Any, None]) -> None:
    try:
        await job
    except PositionError as error:
        await app.fail(error)  # its message says it all
    except Exception as error:
        logger.exception("a background job of the app failed")
        await app.crash(error)


async def _find_ends(
    kafka: KafkaSettings, topic: str, ends: dict[tuple[str, int], int], found: asyncio.Event
) -> None:
    """Fill in where each partition of a topic ends now."""
    held = await _held(kafka, [topic])
    ends.update(((part.topic, part.partition), part.end) for part in held if part.end > part.first)
    found.set()


async def _held(
    kafka: KafkaSettings, names: Sequence[str], given_up: Callable[[], bool] = lambda: False
) -> Sequence[Held]:
    """Return what the log holds of each partition of topics; waits for a broker that is away.

    Returns nothing if it is away and `given_up` holds.
    """
    while not given_up():
        try:
            return list((await asyncio.to_thread(held_offsets, kafka, names)).values())
        except AdminError as error:
            logger.warning("what the log holds of %s is not known yet: %s", names[0], error)
            await asyncio.sleep(RETRY_S)
    return []


async def _follow(
    kafka: KafkaSettings,
    topic: str,
    take: Callable[[Sequence[LogRecord]], Awaitable[None]],
    caught_up: asyncio.Event | None = None,
    *,
    optional: bool = False,
    taken: Taken = _forget,
) -> None:
    """Read a complete topic continuously; after a lost connection again from the beginning.

    Such topics are compacted or hold the latest state, so that repeats change nothing.
    caught_up: set once all records that the topic held at the start are processed. optional: a
    topic that does not exist, as in a log of an earlier version, is empty until it does. taken:
    told of what was taken.
    """
    caught_up = caught_up or asyncio.Event()

    async def read() -> None:
        while optional and not await asyncio.to_thread(partition_counts, kafka, (topic,)):
            caught_up.set()
            await asyncio.sleep(MISSING_S)
        async for records in Broadcast(kafka=kafka, topic=topic, caught_up=caught_up):
            with concerning(records):
                await take(records)
            taken(records)

    await read_again(read, topic, retried=(KafkaError, UnreachableError))


def _follow_all(
    follow: Callable[..., Coroutine[Any, Any, None]],
    topics: Sequence[str],
    take: Callable[[Sequence[LogRecord]], Awaitable[None]],
    caught_up: asyncio.Event,
) -> list[Coroutine[Any, Any, None]]:
    """Return what reads several complete topics, and what sets `caught_up` once each is read."""
    read = [asyncio.Event() for _ in topics]

    async def wait_for_each() -> None:
        await asyncio.gather(*(one.wait() for one in read))
        caught_up.set()

    return [
        wait_for_each(),
        *(follow(topic, take, one) for topic, one in zip(topics, read, strict=True)),
    ]


async def _tell_member(app: WorkerApp, tell: Callable[[str, str], None]) -> None:
    """Tell the id of this member whenever it is another one."""
    told = ""
    while True:
        if (member := await app.member()) and member != told:
            await asyncio.to_thread(tell, app.group, member)
            told = member
        await asyncio.sleep(COMMIT_GROUP_S)


async def _show_positions(
    app: WorkerApp,
    positions: Callable[[], Mapping[tuple[str, int], int]],
    counts: Callable[[], Mapping[int, Mapping[str, int]]] = dict,
) -> None:
    """Commit the group's offsets: they show its lag, and requests are read on from them."""
    shown: Any = None
    while True:
        await asyncio.sleep(COMMIT_GROUP_S)
        now = dict(positions()), _notes(counts())
        if now != shown and await app.commit_positions(*now):
            shown = now


def _notes(counts: Mapping[int, Mapping[str, int]]) -> dict[int, str]:
    """Counts by partition as commit metadata of the group, for `segue status`."""
    return {number: json.dumps(dict(of_partition)) for number, of_partition in counts.items()}
