"""A store whose next record the log no longer holds: refused with the ways out, or recorded."""

import asyncio
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from kafka import KafkaAdminClient, TopicPartition

from streams.app import WorkerApp, create_app
from streams.batches import Batch
from streams.positions import PositionError
from streams.running import serve
from streams.security import KafkaSettings
from tests.integration.conftest import fill
from tests.waiting import crash_of, until, within_patience

pytestmark = pytest.mark.integration

NewTopic = Callable[..., str]


def new_app(kafka: KafkaSettings, topic: str, **options: Any) -> WorkerApp:
    options.setdefault("batched", {topic: 100})
    return create_app(f"group-{uuid.uuid4().hex[:8]}", kafka, **options)


def delete_before(broker: str, topic: str, offset: int) -> None:
    admin = KafkaAdminClient(bootstrap_servers=broker)
    admin.delete_records({TopicPartition(topic, 0): offset})
    admin.close()


async def refusal(app: WorkerApp) -> str:
    assert await within_patience(serve(app)) == 1
    assert isinstance(app.crash_reason, PositionError), repr(app.crash_reason)
    return str(app.crash_reason)


async def test_a_gap_is_refused_and_the_message_names_it_and_the_ways_out(
    broker: str, kafka: KafkaSettings, new_topic: NewTopic
) -> None:
    topic = new_topic("gone")
    await fill(broker, topic, 0, (b"%d" % n for n in range(500)))
    delete_before(broker, topic, 200)
    applied: list[Batch] = []
    app = new_app(kafka, topic, positions=lambda *_: 150)

    @app.batches(topic)
    async def take(batch: Batch) -> None:
        applied.append(batch)

    message = await refusal(app)
    for expected in (f"{topic}/0", "150", "200", "50 records", "--accept-gap", "copy"):
        assert expected in message
    assert applied == []


async def test_an_accepted_gap_is_told_and_reading_goes_on_behind_it(
    broker: str, kafka: KafkaSettings, new_topic: NewTopic
) -> None:
    topic = new_topic("accepted")
    await fill(broker, topic, 0, (b"%d" % n for n in range(500)))
    delete_before(broker, topic, 200)
    told: list[tuple[str, int, int]] = []
    seen: list[int] = []
    done = asyncio.Event()
    app = new_app(
        kafka,
        topic,
        positions=lambda *_: 150,
        pass_over=lambda *what: told.append(what),
        accept_gap=True,
    )

    @app.batches(topic)
    async def take(batch: Batch) -> None:
        seen.extend(record.offset for record in batch)
        if batch.next_offset == 500:
            done.set()

    await within_patience(app.start())
    await until(done.is_set, "the last record", ended=crash_of(app))
    await within_patience(app.stop())
    assert told == [(topic, 0, 200)]
    assert seen == list(range(200, 500))


async def test_retention_that_overtakes_the_reading_is_not_passed_over(
    broker: str, kafka: KafkaSettings, new_topic: NewTopic
) -> None:
    """The client answers "out of range" by the earliest offset there is, silently."""
    topic = new_topic("overtaken")
    # Longer than what is read ahead, so that deleted records are still to be fetched.
    await fill(broker, topic, 0, (uuid.uuid4().bytes * 50_000 for _ in range(40)))
    position = [0]
    app = new_app(kafka, topic, batched={topic: 1}, positions=lambda *_: position[0])

    @app.batches(topic)
    async def take(batch: Batch) -> None:
        if batch[0].offset == 0:
            await asyncio.to_thread(delete_before, broker, topic, 39)
        position[0] = batch.next_offset

    message = await refusal(app)
    assert "begins at offset 39" in message
    assert position[0] < 39
