"""The roles as Faust apps: which topic goes to which agent, and nothing more."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any

from aiokafka.errors import KafkaError

from agents.settings import TrainerSettings, WorkerSettings
from agents.train import Train
from agents.worker import Worker
from streams import KafkaSettings, LogRecord, Record, TopicSettings, UnreachableError
from streams.app import WorkerApp, create_app, serve
from streams.broadcast import read_again, read_all
from streams.log_source import concerning
from streams.outbox import Headers, Outbox, Outgoing

__all__ = ["KafkaOutputs", "serve_trainer", "serve_worker"]

logger = logging.getLogger(__name__)

COMMIT_GROUP_S = 0.2
EXAMPLE_RECORDS = 32


class KafkaOutputs:
    """Outputs through the producer of an app that is made later than the agents are."""

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
                raise RuntimeError("the app of these outputs has not been made yet")
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
) -> int:
    """Run `segue worker` until it is told to stop or fails; returns the exit status.

    accept_gap: go on where the log has deleted records that a state needs; the state records it.
    """
    app = create_app(
        settings.group,
        kafka,
        batched=dict.fromkeys(worker.topics, settings.batch),
        positions=worker.partitions.position,
        rewind=worker.partitions.rewind,
        pass_over=worker.partitions.pass_over,
        accept_gap=accept_gap,
        on_assigned=worker.assigned,
        on_revoked=worker.revoked,
        session_timeout_s=settings.session_timeout_s,
        rebalance_timeout_s=settings.rebalance_timeout_s,
    )
    outputs.app = app
    app.batches(*worker.topics)(worker.handle)

    @app.agent(app.topic(topics.requests), name="requests")
    async def requests(stream: Any) -> None:
        async for event in stream.events():
            records = [_record(event.message)]
            with concerning(records):
                await worker.handle_requests(records)

    return await _serve(
        app,
        worker.run(asyncio.Event()),
        _follow(kafka, topics.models, worker.channels.announced),
        _follow(kafka, topics.catalogue, worker.channels.catalogue),
        _follow(kafka, topics.demand, worker.models.demand),
        _show_positions(app, worker.positions),
    )


async def serve_trainer(
    train: Train,
    outputs: KafkaOutputs,
    kafka: KafkaSettings,
    topics: TopicSettings,
    settings: TrainerSettings,
) -> int:
    """Run `segue trainer` until it is told to stop or fails; returns the exit status."""
    app = create_app(
        settings.own_group,
        kafka,
        batched={topics.examples: EXAMPLE_RECORDS},
        positions=train.position,
        pass_over=train.passed_over,
        accept_gap=True,  # examples that are gone are a loss, not an error
        on_assigned=train.assigned,
    )
    outputs.app = app
    app.batches(topics.examples)(train.examples_came)
    status = await _serve(
        app,
        train.run(asyncio.Event()),
        _follow(kafka, topics.models, train.announced),
        _follow(kafka, topics.demand, train.demand),
        _show_positions(app, train.positions),
    )
    if status == 0:
        await train.close()
    return status


async def _serve(app: WorkerApp, *jobs: Coroutine[Any, Any, None]) -> int:
    """Run an app with jobs beside it; a job that fails stops the app."""
    beside = [asyncio.ensure_future(_crash_with(app, job)) for job in jobs]
    try:
        return await serve(app)
    finally:
        for job in beside:
            job.cancel()
        await asyncio.gather(*beside, return_exceptions=True)


async def _crash_with(app: WorkerApp, job: Coroutine[Any, Any, None]) -> None:
    try:
        await job
    except Exception as error:
        logger.exception("a job beside the app failed")
        await app.crash(error)


async def _follow(
    kafka: KafkaSettings, topic: str, take: Callable[[Sequence[LogRecord]], Awaitable[None]]
) -> None:
    """Read a whole topic for ever; after a lost connection from the beginning, which is harmless.

    What is read this way is compacted or tells the latest state, so that repeats change nothing.
    """

    async def read() -> None:
        async for records in read_all(kafka, topic):
            with concerning(records):
                await take(records)

    await read_again(read, topic, retried=(KafkaError, UnreachableError))


async def _show_positions(
    app: WorkerApp, positions: Callable[[], Mapping[tuple[str, int], int]]
) -> None:
    """Commit the group's offsets for whoever watches its lag; nothing is read back from them."""
    shown: Mapping[tuple[str, int], int] = {}
    while True:
        await asyncio.sleep(COMMIT_GROUP_S)
        now = dict(positions())
        if now != shown and await app.commit_positions(now):
            shown = now


def _record(message: Any) -> Record:
    return Record(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        timestamp=int(message.timestamp * 1000),
        key=message.key,
        value=message.value,
    )
