"""The roles as Faust apps: which topic goes to which agent, and nothing more."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from agents.settings import TrainerSettings, WorkerSettings
from agents.train import Train
from agents.worker import Worker
from streams import KafkaSettings, LogRecord, Record, TopicSettings
from streams.app import WorkerApp, create_app
from streams.broadcast import read_all
from streams.outbox import Outbox

__all__ = ["KafkaOutputs", "trainer_app", "worker_app"]

COMMIT_GROUP_S = 1.0


class KafkaOutputs:
    """Outputs through the producer of an app that is made later than the agents are."""

    def __init__(self) -> None:
        """Wait for `app`."""
        self.app: WorkerApp | None = None
        self._outbox: Outbox | None = None

    async def send(self, topic: str, key: bytes | None, value: bytes | None) -> None:
        """Queue a record."""
        await self._open().send(topic, key, value)

    async def flush(self) -> None:
        """Wait for the acknowledgement of everything sent."""
        await self._open().flush()

    def _open(self) -> Outbox:
        if self._outbox is None:
            if self.app is None:
                raise RuntimeError("the app of these outputs has not been made yet")
            self._outbox = self.app.outbox()
        return self._outbox


def worker_app(
    worker: Worker,
    outputs: KafkaOutputs,
    kafka: KafkaSettings,
    topics: TopicSettings,
    settings: WorkerSettings,
) -> WorkerApp:
    """Make the Faust app of `segue worker`."""
    keyed = (topics.events, topics.catalogue, topics.users)
    app = create_app(
        settings.group,
        kafka,
        batched=dict.fromkeys(keyed, settings.batch),
        positions=worker.partitions.position,
        on_assigned=worker.assigned,
        on_revoked=worker.revoked,
    )
    outputs.app = app
    stopping = asyncio.Event()

    app.batches(*keyed)(worker.handle)

    @app.agent(app.topic(topics.requests), name="requests")
    async def requests(stream: Any) -> None:
        async for event in stream.events():
            await worker.handle_requests([_record(event.message)])

    @app.task
    async def rhythm() -> None:
        await worker.run(stopping)

    @app.task
    async def models() -> None:
        await _follow(kafka, topics.models, worker.models.announced)

    @app.task
    async def catalogue() -> None:
        await _follow(kafka, topics.catalogue, worker.models.catalogue)

    @app.timer(COMMIT_GROUP_S)
    async def show_positions() -> None:
        await app.commit_positions(worker.positions())

    return app


def trainer_app(
    train: Train,
    outputs: KafkaOutputs,
    kafka: KafkaSettings,
    topics: TopicSettings,
    settings: TrainerSettings,
) -> WorkerApp:
    """Make the Faust app of `segue trainer`."""
    app = create_app(settings.group, kafka, batched={topics.examples: 32})
    outputs.app = app
    stopping = asyncio.Event()
    read: dict[tuple[str, int], int] = {}

    @app.batches(topics.examples)
    async def examples(records: Sequence[LogRecord]) -> None:
        await train.examples_came(records)
        read[records[0].topic, records[0].partition] = records[-1].offset + 1

    @app.task
    async def rhythm() -> None:
        await train.run(stopping)

    @app.task
    async def models() -> None:
        await _follow(kafka, topics.models, train.announced)

    @app.timer(COMMIT_GROUP_S)
    async def show_positions() -> None:
        await app.commit_positions(read)

    return app


async def _follow(
    kafka: KafkaSettings, topic: str, take: Callable[[Sequence[LogRecord]], Awaitable[None]]
) -> None:
    async for records in read_all(kafka, topic):
        await take(records)


def _record(message: Any) -> Record:
    return Record(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        timestamp=int(message.timestamp * 1000),
        key=message.key,
        value=message.value,
    )
